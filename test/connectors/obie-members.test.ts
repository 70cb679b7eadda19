import { describe, expect, test } from 'vitest'
import { planRequests, STANDARDS, type OpenSignInStep } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ACCESS, ok, scriptedBank } from '../support/scripted-bank.ts'
import { CUSTOMER } from '../support/sign-in.ts'
import { ADDRESS, codeOf, connect, EXAMPLES } from '../support/standards.ts'

const OWN = 'https://api.bank.example/base'
const SISTER = 'https://secure-api.sister.example/prod/lyds/aisp'
const accounts = (ids: string[], Next?: string) => ({
  Data: { Account: ids.map((AccountId) => ({ AccountId, Currency: 'GBP' })) },
  Links: { Self: 'x', Next },
})

describe('links that a bank writes with the address of a sister brand', () => {
  const read = async (next: string, members: Record<string, unknown>) => {
    const { bank, sent, problems } = connect(
      'OBIE',
      ({ url }) => ok(url.includes('page=2') ? accounts(['b']) : accounts(['a'], next)),
      members,
    )
    const refs = (await bank.accounts(ACCESS, null)).map(({ ref }) => ref)
    return { refs, sent, problems }
  }

  test("a link below a registered base is followed, and the token goes to the bank's own address only", async () => {
    for (const base of [SISTER, `${SISTER}/`]) {
      const { refs, sent, problems } = await read(`${SISTER}/accounts?page=2`, { linkBases: [base] })
      expect(refs).toEqual(['a', 'b'])
      expect(sent.map(({ url }) => url)).toEqual([`${OWN}/accounts`, `${OWN}/accounts?page=2`])
      expect(problems).toEqual([])
    }
  })

  test.each([
    ['without a registered base', `${SISTER}/accounts?page=2`, {}],
    [
      'to a host that is not registered',
      'https://evil.example/prod/lyds/aisp/accounts?page=2',
      { linkBases: [SISTER] },
    ],
    [
      'to a subdomain of it',
      'https://x.secure-api.sister.example/prod/lyds/aisp/accounts?page=2',
      { linkBases: [SISTER] },
    ],
    ['to another path', 'https://secure-api.sister.example/accounts?page=2', { linkBases: [SISTER] }],
    ['to another operation', `${SISTER}/balances?page=2`, { linkBases: [SISTER] }],
    ['below the operation', `${SISTER}/accounts/a/transactions?page=2`, { linkBases: [SISTER] }],
    ['that leaves the path', `${SISTER}/accounts/../transactions?page=2`, { linkBases: [SISTER] }],
    [
      'to another port',
      'https://secure-api.sister.example:8443/prod/lyds/aisp/accounts?page=2',
      { linkBases: [SISTER] },
    ],
  ])('a link %s keeps the pages before it and is reported', async (_what, next, members) => {
    const { refs, sent, problems } = await read(next, members)
    expect([refs, sent.length, problems]).toEqual([['a'], 1, ['INVALID_NEXT_PAGE']])
  })

  test('a base must follow the rules of every registered address', () => {
    const parse = (linkBases: unknown) =>
      STANDARDS.OBIE.registration(ADDRESS).safeParse({ ...EXAMPLES.OBIE.registration, linkBases }).success
    expect(parse([SISTER])).toBe(true)
    for (const base of ['http://sister.example', 'https://127.0.0.1/x', 'sister.example'])
      expect(parse([base])).toBe(false)
    expect(parse(Array.from({ length: 9 }, () => SISTER))).toBe(false)
  })
})

/** A bank with an authorization server, which answers requests for the consent as the test says. */
function obieBank(members: Record<string, unknown>, respondToConsent: (request: OutboundRequest) => OutboundResponse) {
  const issuer = String(EXAMPLES.OBIE.registration['authorizationServer'])
  let nowMs = Date.now()
  const { tools, sent } = scriptedBank((request) => {
    if (request.url.includes('/.well-known/'))
      return ok({
        issuer,
        authorization_endpoint: `${issuer}/authorize`,
        token_endpoint: `${issuer}/token`,
        jwks_uri: `${issuer}/jwks`,
      })
    if (request.url.endsWith('/token')) return ok({ access_token: 't', token_type: 'Bearer', expires_in: 300 })
    return respondToConsent(request)
  })
  const registration = STANDARDS.OBIE.registration(ADDRESS).parse({ ...EXAMPLES.OBIE.registration, ...members })
  const bank = STANDARDS.OBIE.connect(registration, { ...tools, clock: { now: () => new Date(nowMs) } })
  return {
    bank,
    polls: () => sent.filter(({ method, url }) => method === 'GET' && url.includes('account-access-consents')),
    sent,
    forward: (seconds: number) => void (nowMs += seconds * 1_000),
    start: () => bank.requestConsent({ expiresAt: new Date(nowMs + 86_400_000), state: 's', customer: CUSTOMER }),
    poll: async ({ pending }: OpenSignInStep) => bank.continueSignIn({ kind: 'POLL', customer: CUSTOMER }, pending),
  }
}
const consent = (Status: string) => ok({ Data: { ConsentId: 'c/1', Status } })
const unknown = (status: number): OutboundResponse => ({ status, headers: {}, text: '{}' })

describe('a bank whose new consents cannot be used immediately', () => {
  test('a customer is sent to the bank immediately if no time is stated, and no consent is read', async () => {
    const { start, polls } = obieBank({}, () => consent('AWAU'))
    expect((await start()).kind).toBe('REDIRECT')
    expect(polls()).toEqual([])
  })

  test('the customer waits until the bank knows the consent, and then signs in there', async () => {
    let isKnown = false
    const { start, poll, polls } = obieBank({ consentReadyAfterSeconds: 30 }, ({ method }) =>
      method === 'POST' || isKnown ? consent('AWAU') : unknown(404),
    )
    const waiting = await start()
    expect(waiting).toMatchObject({ kind: 'WAIT', waitsFor: 'SIGN_IN_PAGE', pollAfterSeconds: 3 })
    expect(await poll(waiting)).toEqual(waiting)
    isKnown = true
    const step = (await poll(waiting)) as OpenSignInStep
    expect(step).toMatchObject({ kind: 'REDIRECT', pending: { consentRef: 'c/1', state: 's' } })
    expect(polls().map(({ url }) => url)).toEqual(
      Array.from({ length: 2 }, () => `${OWN}/account-access-consents/c%2F1`),
    )
  })

  test.each([400, 401, 403, 404])('a bank that answers %i for a consent is still waited for', async (status) => {
    const { start, poll } = obieBank({ consentReadyAfterSeconds: 30 }, ({ method }) =>
      method === 'POST' ? consent('AWAU') : unknown(status),
    )
    expect((await poll(await start())).kind).toBe('WAIT')
  })

  test('after the stated time the customer is sent on even if the bank never showed the consent', async () => {
    const { start, poll, polls, forward } = obieBank({ consentReadyAfterSeconds: 30 }, ({ method }) =>
      method === 'POST' ? consent('AWAU') : unknown(404),
    )
    const waiting = await start()
    for (let second = 0; second < 27; second += 3) {
      forward(3)
      expect((await poll(waiting)).kind).toBe('WAIT')
    }
    forward(3)
    expect((await poll(waiting)).kind).toBe('REDIRECT')
    expect(polls()).toHaveLength(9)
  })

  test.each(['Rejected', 'RJCT', 'Revoked', 'EXPD'])('a consent that is %s ends the sign-in', async (status) => {
    const { start, poll } = obieBank({ consentReadyAfterSeconds: 30 }, ({ method }) =>
      consent(method === 'POST' ? 'AWAU' : status),
    )
    expect(await codeOf(poll(await start()))).toBe('BANK_REFUSED')
  })

  test('a bank that is unavailable for a moment fails the poll and not the sign-in', async () => {
    const { start, poll } = obieBank({ consentReadyAfterSeconds: 30 }, ({ method }) =>
      method === 'POST' ? consent('AWAU') : unknown(503),
    )
    // The step is repeated after a retryable error.
    expect(await codeOf(poll(await start()))).toBe('BANK_UNAVAILABLE')
  })
})

describe('the financial id of a UK bank', () => {
  test('x-fapi-financial-id is sent with every request to the account API, and only if it is registered', async () => {
    for (const [members, expected] of [
      [{ financialId: '001580000103UAvAAM', consentReadyAfterSeconds: 9 }, '001580000103UAvAAM'],
      [{ consentReadyAfterSeconds: 9 }, undefined],
    ] as const) {
      const { bank, sent, start, poll } = obieBank({ ...members, eventsApi: `${OWN}/events-api` }, ({ url, method }) =>
        url.includes('account-access-consents') ? consent('AWAU') : ok(method === 'POST' ? { sets: {} } : { Data: {} }),
      )
      await poll(await start())
      await bank.accounts(ACCESS, CUSTOMER)
      await bank.bulkBalances!(ACCESS, ['a'], null)
      await codeOf(bank.balances(ACCESS, 'a', null))
      await bank.pollEvents!({ acknowledged: [], rejected: [] })
      await bank.revokeConsent({ consentRef: 'c1' })
      const calls = sent.filter(({ url }) => url.startsWith(OWN))
      expect(calls).toHaveLength(9)
      for (const { url, headers } of calls) expect(headers!['x-fapi-financial-id'], url).toBe(expected)
    }
  })

  test('the plan shows the headers and the operations that the members lead to', () => {
    const planned = (members: Record<string, unknown>) =>
      planRequests(
        STANDARDS.OBIE,
        STANDARDS.OBIE.registration(ADDRESS).parse({ ...EXAMPLES.OBIE.registration, ...members }),
      )
    const bare = planned({})
    expect(bare.map(({ purpose }) => purpose)).not.toContain('consent')
    expect(bare.flatMap(({ headers }) => headers)).not.toContain('x-fapi-financial-id')
    const all = planned({
      financialId: 'f',
      consentReadyAfterSeconds: 30,
      eventsApi: `${OWN}/events-api`,
      messageSigning: { issuer: 'a/b' },
    })
    const api = all.filter(({ authentication }) => authentication === 'bearer token')
    expect(api.every(({ headers }) => headers.includes('x-fapi-financial-id'))).toBe(true)
    expect(all.find(({ purpose }) => purpose === 'consent')).toMatchObject({
      method: 'GET',
      url: `${OWN}/account-access-consents/{consent}`,
    })
    expect(all.find(({ purpose }) => purpose === 'subscribe')?.headers).toContain('x-jws-signature')
  })
})
