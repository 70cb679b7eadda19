import { describe, expect, test } from 'vitest'
import { planRequests, STANDARDS, type StandardId } from '../../src/connectors/index.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import { codeOf, connectTo, halfHash, HYBRID, ISSUER, METADATA, request, sign } from '../support/oauth-bank.ts'
import { ok } from '../support/scripted-bank.ts'
import { completeSignIn } from '../support/sign-in.ts'
import { accountsOf, ADDRESS, balancesOf, connect, EXAMPLES } from '../support/standards.ts'

describe('what a bank returns for an authorization request', () => {
  const scopeWith = async (standard: StandardId, ConsentId: string): Promise<string> => {
    const oauth = { scope: 'AIS:{consentId}', requestObject: null, usesPar: false }
    const body = { consentId: ConsentId, Data: { ConsentId }, _links: {}, access_token: 'a', token_type: 'bearer' }
    const { bank } = connect(standard, ({ url }) => ok(url.includes('/.well-known/') ? METADATA : body), { oauth })
    const pending = bank.requestConsent(request).then((step) => (step.kind === 'REDIRECT' ? step.url : step.kind))
    const url = await pending.catch((error: unknown) => (error as GatewayError).code)
    return new URL(url, ISSUER).searchParams.get('scope') ?? url
  }

  test.each(['OBIE', 'BERLIN_GROUP'] as const)(
    'the id of a consent becomes part of the scope as it is, with any pattern: %s',
    async (standard) => {
      for (const id of ['a$&b', 'a$$b', "$'", '$1', '{consentId}'])
        expect(await scopeWith(standard, id)).toBe(`AIS:${id}`)
    },
  )

  test.each(['OBIE', 'BERLIN_GROUP'] as const)(
    'the id of a consent cannot widen the scope by a space: %s',
    async (standard) => {
      expect(await scopeWith(standard, 'c1 payments')).toBe('BANK_RESPONSE_INVALID')
    },
  )

  test.each(['a\r\nx-injected: 1', 'a b', 'ä', '\u0000', '\u{1f600}'])(
    'the token %j, which no header can hold, is a fault of the bank: for customers, for the gateway and renewed',
    async (access_token) => {
      const oauth = { ...HYBRID, idTokenNamesConsent: false }
      const { bank } = connectTo({ oauth, algorithm: 'PS256', tokens: { access_token } })
      expect(await codeOf(bank.requestConsent(request))).toBe('BANK_RESPONSE_INVALID')
      const access = { consentRef: 'c', accessToken: 'a', refreshToken: 'r', expiresAt: '' }
      expect(await codeOf(bank.refresh(access))).toBe('BANK_RESPONSE_INVALID')
      const claims = { nonce: 'n', c_hash: halfHash('x'), s_hash: halfHash('s') }
      const callback = new URLSearchParams({ code: 'x', state: 's', id_token: await sign(claims) })
      const pending = { consentRef: 'c1', state: 's', codeVerifier: 'v'.repeat(43), nonce: 'n' }
      const completed = completeSignIn(bank, new URL(`https://gateway.example/?${callback.toString()}`), pending)
      expect(await codeOf(completed)).toBe('BANK_RESPONSE_INVALID')
    },
  )

  test('a token of another type than bearer is a fault of the bank', async () => {
    const access = { consentRef: 'c', accessToken: 'a', refreshToken: 'r', expiresAt: '' }
    for (const [token_type, code] of [
      ['DPoP', 'BANK_RESPONSE_INVALID'],
      ['mac', 'BANK_RESPONSE_INVALID'],
      ['BEARER', 'NONE'],
    ] as const)
      expect(await codeOf(connectTo({ tokens: { token_type } }).bank.refresh(access))).toBe(code)
  })

  test('a token without an end in sight ends at a date that can be stored', async () => {
    const access = { consentRef: 'c', accessToken: 'a', refreshToken: 'r', expiresAt: '' }
    for (const expires_in of [1e9, 1e12]) {
      const { expiresAt } = await connectTo({ tokens: { expires_in } }).bank.refresh(access)
      expect(expiresAt).toMatch(/^20\d\d-/)
    }
  })

  test('the plan of a registration shows a parameter that is named like an inherited property', () => {
    const oauth = { requestObject: null, authorizationParameters: { constructor: 'x', toString: 'y' } }
    const registration = STANDARDS.OBIE.registration(ADDRESS).parse({ ...EXAMPLES.OBIE.registration, oauth })
    const signIn = planRequests(STANDARDS.OBIE, registration).find(({ method }) => method === 'BROWSER')
    expect(signIn?.parameters).toEqual(expect.arrayContaining(['constructor', 'toString']))
  })
})

test.each(Object.keys(STANDARDS) as StandardId[])(
  'IDs whose bytes are no UTF-8 identify nothing, so that two of them are never one account: %s',
  async (id) => {
    const text = (body: unknown): string => JSON.stringify(body).replaceAll('"a1"', '"a\uFFFD"')
    const { bank } = connect(id, ({ url }) =>
      ok(text(url.includes('balance') ? EXAMPLES[id].balances() : EXAMPLES[id].accounts())),
    )
    expect(await accountsOf(bank)).toEqual([])
    expect(await balancesOf(bank, 'a\uFFFD').catch(() => [])).toEqual([])
  },
)
