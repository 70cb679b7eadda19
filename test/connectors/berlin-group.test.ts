import { describe, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { eventTools } from '../support/event-tools.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'
import { ADDRESS, accountsOf, balancesOf, EXAMPLES } from '../support/standards.ts'
import { completeSignIn, redirectOf } from '../support/sign-in.ts'

describe('Berlin Group', () => {
  const withCards = { ...EXAMPLES.BERLIN_GROUP.registration, cardAccounts: true }
  const bankOf = (answer: (request: OutboundRequest) => OutboundResponse) => {
    const { tools, sent } = scriptedBank(answer)
    return {
      bank: STANDARDS.BERLIN_GROUP.connect(STANDARDS.BERLIN_GROUP.registration(ADDRESS).parse(withCards), tools),
      sent,
    }
  }
  const card = (debitAccounting: boolean | undefined, amount: string) =>
    balancesOf(
      bankOf(() =>
        ok({
          debitAccounting,
          balances: [{ balanceType: 'interimBooked', balanceAmount: { amount, currency: 'EUR' } }],
        }),
      ).bank,
      'card:c1',
    )

  test('card accounts have their own path, and their sign is inverted if the bank counts debits as positive', async () => {
    const { bank, sent } = bankOf(({ url }) =>
      ok(
        url.endsWith('/card-accounts')
          ? { cardAccounts: [{ resourceId: 'c1', maskedPan: '525412xxxxxx9876', currency: 'EUR' }] }
          : { accounts: [] },
      ),
    )
    expect(await accountsOf(bank)).toMatchObject([{ ref: 'card:c1', type: 'CARD', lastFourDigits: '9876' }])
    await balancesOf(bank, 'card:c1').catch(() => undefined)
    expect(sent.at(-1)!.url).toMatch(/\/v1\/card-accounts\/c1\/balances$/)
    expect(await card(true, '100.00')).toMatchObject([{ amount: '-100.00' }])
    expect(await card(false, '-100.00')).toMatchObject([{ amount: '-100.00' }])
  })

  test('a card balance whose sign the bank leaves open is absent, unless it is zero', async () => {
    expect(await card(undefined, '100.00')).toEqual([])
    expect(await card(undefined, '0.00')).toMatchObject([{ amount: '0.00' }])
  })

  test('a repeated balance counts once, and two different amounts of one type are both dropped', async () => {
    const balance = (amount: string, more = {}) => ({
      balanceType: 'interimAvailable',
      balanceAmount: { amount, currency: 'EUR' },
      ...more,
    })
    const told = (...balances: object[]) => {
      const { tools, problems } = scriptedBank(() => ok({ balances }))
      const bank = STANDARDS.BERLIN_GROUP.connect(STANDARDS.BERLIN_GROUP.registration(ADDRESS).parse(withCards), tools)
      return bank.balances(ACCESS, 'a1', null).then((answer) => ({ ...answer, problems }))
    }
    expect(await told(balance('3.00'), balance('3.00'))).toMatchObject({
      balances: [{ amount: '3.00' }],
      invalidTypes: [],
    })
    expect(await told(balance('3.00'), balance('4.00'))).toEqual({
      balances: [],
      invalidTypes: ['INTERIM_AVAILABLE'],
      problems: ['CONFLICTING_BALANCES'],
    })
    // With and without the credit line they are two things.
    expect((await told(balance('300.00'), balance('5300.00', { creditLimitIncluded: true }))).balances).toHaveLength(2)
  })

  test('the currency XXX gives an account no currency, and a balance in XXX is dropped', async () => {
    const { bank } = bankOf(({ url }) =>
      url.endsWith('/accounts')
        ? ok({ accounts: [{ resourceId: 'a1', iban: 'DE1234', currency: 'XXX' }] })
        : ok({
            cardAccounts: [],
            balances: [{ balanceType: 'expected', balanceAmount: { amount: '1', currency: 'XXX' } }],
          }),
    )
    expect((await accountsOf(bank))[0]!.currency).toBeNull()
    expect(await balancesOf(bank, 'a1')).toEqual([])
  })
})

describe('Berlin Group with redirect SCA', () => {
  const issuer = EXAMPLES.BERLIN_GROUP.registration['authorizationServer'] as string
  const bankWith = (consentStatus: string, href: string | undefined) => {
    const { tools, sent } = scriptedBank(({ url, method }) => {
      if (url.includes('/.well-known/')) return ok({ issuer, token_endpoint: `${issuer}/token` })
      if (url.endsWith('/token')) return ok({ access_token: 'own', token_type: 'Bearer', expires_in: 300 })
      if (method === 'POST')
        return ok({ consentStatus: 'received', consentId: 'c-1', _links: { ...(href && { scaRedirect: { href } }) } })
      return ok({ consentStatus })
    })
    const registration = STANDARDS.BERLIN_GROUP.registration(ADDRESS).parse({
      ...EXAMPLES.BERLIN_GROUP.registration,
      sca: 'REDIRECT',
      authorizationOrigins: ['https://www.testbank.example'],
    })
    const http = { ...tools.http, isAllowedUrl: (url: string) => url.startsWith('https://') && !url.includes('127.') }
    return { bank: STANDARDS.BERLIN_GROUP.connect(registration, { ...tools, http }), sent }
  }
  const consentRequest = {
    expiresAt: new Date('2027-05-01T00:00:00Z'),
    state: 'st-1',
    customer: { ip: '203.0.113.9', userAgent: null },
  }
  const back = (search: string) => new URL(`https://gateway.example/bank/callback${search}`)

  test("the customer is redirected to the bank's URL and returns by a URL that names the sign-in", async () => {
    const { bank, sent } = bankWith('valid', 'https://www.testbank.example/authentication/1234')
    const { url, pending } = await redirectOf(bank.requestConsent(consentRequest))
    expect(url).toBe('https://www.testbank.example/authentication/1234')
    const { headers } = sent.find(({ method, url: to }) => method === 'POST' && to.endsWith('/v1/consents'))!
    expect(headers!['tpp-redirect-uri']).toBe('https://gateway.example/bank/callback?state=st-1')
    expect(headers!['tpp-nok-redirect-uri']).toBe(
      'https://gateway.example/bank/callback?state=st-1&error=access_denied',
    )

    const access = await completeSignIn(bank, back('?state=st-1'), pending)
    expect(access).toMatchObject({ consentRef: 'c-1', accessToken: 'own', refreshToken: null })
    // There is nothing of the customer's to renew: the gateway's own token is asked for again.
    expect(await bank.refresh(access)).toMatchObject({ consentRef: 'c-1', accessToken: 'own' })
  })

  test.each([
    ['the customer said no', 'valid', '?state=st-1&error=access_denied'],
    ['the way back is of another sign-in', 'valid', '?state=st-2'],
    ['the way back names none', 'valid', ''],
    ['the consent was rejected', 'rejected', '?state=st-1'],
    ['somebody else has to agree as well', 'partiallyAuthorised', '?state=st-1'],
  ])('a sign-in opens no connection if %s', async (_what, status, search) => {
    const { bank } = bankWith(status, 'https://www.testbank.example/a')
    const { pending } = await bank.requestConsent(consentRequest)
    await expect(completeSignIn(bank, back(search), pending)).rejects.toMatchObject({ code: 'BANK_REFUSED' })
  })

  test.each([undefined, 'https://127.0.0.1/admin', 'javascript:alert(1)', 'http://bank.example/'])(
    'the customer is never redirected to %s',
    async (href) => {
      const { bank } = bankWith('valid', href)
      await expect(bank.requestConsent(consentRequest)).rejects.toMatchObject({ code: 'BANK_RESPONSE_INVALID' })
    },
  )
})

describe('a status notification of a Berlin Group bank', () => {
  test('a status notification with a byte order mark is read', async () => {
    const url = 'https://gateway.example/bank-events/cnct_1'
    const body = `\uFEFF${JSON.stringify({ consentId: 'c1', consentStatus: 'revokedByPsu' })}`
    const registration = STANDARDS.BERLIN_GROUP.registration(ADDRESS).parse({
      ...EXAMPLES.BERLIN_GROUP.registration,
      events: { issuer: 'https://bank.example', keysUrl: 'https://bank.example/keys' },
    })
    const received = { contentType: 'application/json', headers: {}, body, url, audience: url }
    const { payloads } = await STANDARDS.BERLIN_GROUP.readEvent(received, registration, eventTools())
    expect(payloads).toEqual([{ kind: 'CONSENT_CHECK_REQUIRED', consentRef: 'c1' }])
  })
})
