import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { ACCESS, ok } from '../support/scripted-bank.ts'
import { eventTools } from '../support/event-tools.ts'
import { ADDRESS, accountsOf, balancesOf, codeOf, connect, EXAMPLES } from '../support/standards.ts'

const list = (...balances: Record<string, unknown>[]) => ok({ data: { balances }, links: { self: 'https://x' } })

describe('CDR', () => {
  test('several accounts are fetched in one call, with their sign, and in AUD if no currency is given', async () => {
    const { bank } = connect('CDR', () =>
      list(
        { accountId: 's1', currentBalance: '1523.10', availableBalance: '1500.10', currency: 'AUD' },
        { accountId: 'cc', currentBalance: '-1250.55', availableBalance: '8749.45', creditLimit: '10000.00' },
        { accountId: 'z', currentBalance: '0.00', availableBalance: '0.00', creditLimit: '0.00' },
        { accountId: 'other', currentBalance: '5.00', availableBalance: '5.00' },
      ),
    )
    const told = await bank.bulkBalances!(ACCESS, ['s1', 'cc', 'z', 'missing'], null)
    expect([...told.keys()]).toEqual(['s1', 'cc', 'z'])
    expect(told.get('cc')).toEqual({
      invalidTypes: [],
      balances: [
        {
          type: 'INTERIM_BOOKED',
          amount: '-1250.55',
          currency: 'AUD',
          creditLineIncluded: null,
          creditLimit: '10000.00',
        },
        {
          type: 'INTERIM_AVAILABLE',
          amount: '8749.45',
          currency: 'AUD',
          creditLineIncluded: true,
          creditLimit: '10000.00',
        },
      ],
    })
    expect(told.get('z')).toMatchObject({ balances: [{ creditLimit: null }, { creditLineIncluded: null }] })
  })

  test('each purse is a balance in its own currency and is not added to another balance', async () => {
    const { bank } = connect('CDR', () =>
      ok({
        data: {
          accountId: 'a1',
          currentBalance: '250.00',
          availableBalance: '250.00',
          purses: [
            { amount: '100.00', currency: 'USD' },
            { amount: '-2.50', currency: 'EUR' },
            { amount: '15000', currency: 'JPY' },
            { amount: '7.00' },
          ],
        },
      }),
    )
    expect((await balancesOf(bank)).map(({ amount, currency }) => `${amount} ${currency}`)).toEqual([
      '250.00 AUD',
      '250.00 AUD',
      '100.00 USD',
      '-2.50 EUR',
      '15000 JPY',
    ])
  })

  test("CDR requests the versions that it can parse, and sends the time of the customer's last sign-in", async () => {
    const { bank, sent } = connect('CDR', ({ url }) =>
      url.includes('/balances')
        ? list()
        : ok(url.endsWith('/balance') ? EXAMPLES.CDR.balances() : EXAMPLES.CDR.accounts()),
    )
    const access = { ...ACCESS, signedInAt: '2026-11-22T10:00:00.000Z' }
    await bank.accounts(access, null)
    await bank.balances(access, 'a1', null)
    await bank.bulkBalances!(access, ['a1'], { ip: '203.0.113.9', userAgent: 'Chat/1.0' })
    expect(sent.map(({ headers }) => [headers!['x-v'], headers!['x-min-v']])).toEqual([
      ['3', '2'],
      ['1', '1'],
      ['2', '1'],
    ])
    for (const { headers } of sent) expect(headers!['x-fapi-auth-date']).toBe('Sun, 22 Nov 2026 10:00:00 GMT')
    expect(Buffer.from(sent[2]!.headers!['x-cds-client-headers']!, 'base64').toString()).toBe('User-Agent: Chat/1.0')
  })

  test('a link to more accounts is followed with its cursor as it is written', async () => {
    const many = Array.from({ length: 1_000 }, (_, index) => ({
      accountId: `n${index}`,
      productCategory: 'TERM_DEPOSITS',
    }))
    const { bank, sent } = connect('CDR', ({ url }) =>
      url.includes('cursor')
        ? ok({ data: { accounts: [{ accountId: 'last' }] }, links: {} })
        : ok({
            data: { accounts: many },
            links: { next: 'https://api.bank.example/base/banking/accounts?cursor=eyJwIjoyfQ%3D%3D' },
          }),
    )
    expect(await accountsOf(bank)).toHaveLength(1_001)
    expect(sent[1]!.url).toMatch(/\?cursor=eyJwIjoyfQ%3D%3D$/)
  })
})

describe('the revocation of an arrangement by a CDR bank', () => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const stranger = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const issuer = 'https://bank.example'
  const audience = 'https://gateway.example/bank-events/cnct_1'
  const url = `${audience}/arrangements/revoke`
  const registration = STANDARDS.CDR.registration(ADDRESS).parse({
    ...EXAMPLES.CDR.registration,
    events: { issuer, keys: { keys: [{ ...publicKey.export({ format: 'jwk' }), kid: 'e', alg: 'ES256' }] } },
  })

  interface Change {
    claims?: Record<string, unknown>
    key?: typeof privateKey
    audience?: string
    issuer?: string
    life?: string
  }
  const token = (claims: Record<string, unknown>, change: Change = {}) =>
    new SignJWT({ jti: randomUUID(), ...claims, ...change.claims })
      .setProtectedHeader({ alg: 'ES256', kid: 'e' })
      .setIssuer(change.issuer ?? issuer)
      .setSubject(issuer)
      .setAudience(change.audience ?? url)
      .setIssuedAt()
      .setExpirationTime(change.life ?? '2m')
      .sign(change.key ?? privateKey)
  const deliver = async (bearer?: Change | 'NONE', arrangement: Change = {}, sender = registration) =>
    STANDARDS.CDR.readEvent(
      {
        contentType: 'application/x-www-form-urlencoded',
        headers: bearer === 'NONE' ? {} : { authorization: `Bearer ${await token({}, bearer)}` },
        body: new URLSearchParams({
          cdr_arrangement_jwt: await token({ cdr_arrangement_id: 'arr-1' }, arrangement),
        }).toString(),
        url,
        audience,
      },
      sender,
      eventTools(),
    )

  test('a revocation by a CDR bank ends the arrangement that it names', async () => {
    expect((await deliver()).payloads).toEqual([{ kind: 'CONSENT_REVOKED', consentRef: 'arr-1' }])
  })

  test('a revocation by a CDR bank is accepted if its clock is ahead within the tolerance', async () => {
    const ahead = (seconds: number): Change => {
      const now = Math.floor(Date.now() / 1_000) + seconds
      return { claims: { nbf: now }, life: `${600 + seconds}s` }
    }
    expect((await deliver(ahead(50), ahead(50))).payloads).toHaveLength(1)
    expect(await codeOf(deliver(ahead(90), ahead(90)))).toBe('EVENT_REJECTED')
    const tolerant = { ...registration, events: { ...registration.events!, clockToleranceSeconds: 300 } }
    expect((await deliver(ahead(290), ahead(290), tolerant)).payloads).toHaveLength(1)
  })

  test.each([
    ['without a bearer token', 'NONE', {}],
    ['with a bearer token of a stranger', { key: stranger.privateKey }, {}],
    ['with an arrangement that a stranger signed', {}, { key: stranger.privateKey }],
    ['meant for somebody else', {}, { audience: 'https://elsewhere.example' }],
    ['of another issuer', {}, { issuer: 'https://other.example' }],
    ['that is over', {}, { life: '-2m' }],
    ['that lives for a year', {}, { life: '1y' }],
    ['without an arrangement', {}, { claims: { cdr_arrangement_id: undefined } }],
    ['with a line break for an arrangement', {}, { claims: { cdr_arrangement_id: 'a\nb' } }],
    ['without a name of its own', {}, { claims: { jti: undefined } }],
  ] as const)('%s is refused', async (_what, bearer, arrangement) => {
    expect(await codeOf(deliver(bearer as Change, arrangement as Change))).toBe('EVENT_REJECTED')
  })
})
