import { SignJWT, exportJWK, generateKeyPair, importJWK } from 'jose'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { subjectOf, createPresenceStatement, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { parseDecimal, toScaledUnits, type CurrencyCode, type Decimal } from '../../src/kernel/money.ts'
import {
  EXACT_DISCLOSURES_PER_WINDOW,
  bandOf,
  disclosureBudgetsOf,
  isCertainlyAtLeast,
  isAllowedThreshold,
  THRESHOLD_CHECKS_PER_WINDOW,
  thresholdStep,
  findExactDenial,
} from '../../src/modules/accounts/disclosure.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const EUR = 'EUR' as CurrencyCode
const decimal = (text: string): Decimal => parseDecimal(text)!

describe('the rules of disclosure', () => {
  test('AT_LEAST is never wrong for any amount within or beside its band', () => {
    let previous = bandOf({ amount: decimal('1000'), currency: EUR }, 0.37, undefined)
    let yes = 0
    for (let cents = 100_000; cents > -100_000; cents -= 317) {
      const amount = decimal((cents / 100).toFixed(2))
      previous = bandOf({ amount, currency: EUR }, 0.37, previous)
      for (let threshold = -1_000; threshold <= 1_000; threshold += 100) {
        const asked = decimal(String(threshold))
        if (!isCertainlyAtLeast(previous, asked)) continue
        yes++
        expect(toScaledUnits(amount) >= toScaledUnits(asked)).toBe(true)
      }
    }
    expect(yes).toBeGreaterThan(1_000)
  })

  test('a threshold comparison reveals no more than the band: amounts of one band have one outcome', () => {
    const first = bandOf({ amount: decimal('430.10'), currency: EUR }, 0.2, undefined)
    for (const amount of ['430.10', '433.33', '449.99']) {
      const band = bandOf({ amount: decimal(amount), currency: EUR }, 0.2, undefined)
      if (band.lowerBound !== first.lowerBound) continue
      expect(isCertainlyAtLeast(band, decimal('400'))).toBe(isCertainlyAtLeast(first, decimal('400')))
    }
    expect(isCertainlyAtLeast.length).toBe(2)
  })

  test('thresholds must be multiples of twice the width of a band', () => {
    expect(thresholdStep(EUR)).toBe('100')
    expect(thresholdStep('JPY' as CurrencyCode)).toBe('20000')
    expect(['0', '100', '-300', '1000.00'].map((text) => isAllowedThreshold(decimal(text), EUR))).toEqual([
      true,
      true,
      true,
      true,
    ])
    expect(['1', '50', '100.01', '-99.99'].map((text) => isAllowedThreshold(decimal(text), EUR))).toEqual([
      false,
      false,
      false,
      false,
    ])
  })

  test('within 24 hours, the exact balances of one type and the threshold comparisons stay within their limits', () => {
    const now = new Date('2026-11-23T00:01:00Z')
    const at = (hoursAgo: number): Date => new Date(now.getTime() - hoursAgo * 3_600_000)
    const one = { exactAt: [at(2)], exactType: 'INTERIM_BOOKED', thresholdAt: [] }
    expect(findExactDenial(one, 'INTERIM_BOOKED', now)).toBeUndefined()
    expect(findExactDenial(one, 'INTERIM_AVAILABLE', now)).toEqual({
      reason: 'OTHER_BALANCE_TYPE_DISCLOSED',
      retryAt: at(-22),
    })
    const all = { ...one, exactAt: [at(23), at(9), at(2), at(1)] }
    expect(all.exactAt).toHaveLength(EXACT_DISCLOSURES_PER_WINDOW)
    expect(findExactDenial(all, 'INTERIM_BOOKED', now)).toEqual({
      reason: 'DISCLOSURE_BUDGET_EXHAUSTED',
      retryAt: at(-1),
    })
    expect(findExactDenial(all, 'INTERIM_AVAILABLE', now)).toMatchObject({ retryAt: at(-23) })
    // A time that is a whole window old no longer counts. A time in the future, after a clock was set back, does.
    expect(findExactDenial({ ...one, exactAt: [at(24)] }, 'INTERIM_AVAILABLE', now)).toBeUndefined()
    expect(findExactDenial({ ...one, exactAt: [at(-48)] }, 'INTERIM_AVAILABLE', now)).toBeDefined()

    const { exact, threshold: questions } = disclosureBudgetsOf({ ...one, exactAt: [at(25), at(2), at(1)] }, now)
    expect(exact).toEqual({ limit: EXACT_DISCLOSURES_PER_WINDOW, remaining: 2, nextAvailableAt: at(-22) })
    expect(questions).toEqual({
      limit: THRESHOLD_CHECKS_PER_WINDOW,
      remaining: THRESHOLD_CHECKS_PER_WINDOW,
      nextAvailableAt: null,
    })
  })
})

const AMOUNT = (
  type = 'INTERIM_AVAILABLE',
  maxAgeSeconds = 60,
) => `{ customer { accounts(first: 1) { nodes { balances(type: ${type}, maxAgeSeconds: ${maxAgeSeconds}) {
  __typename ... on ExactBalance { value { amount } asOf freshness budget { limit remaining nextAvailableAt } staleReason { code } }
  ... on BalanceBand { lowerBound { amount } fallbackReason { code resolvableBy retryable retryAt } }
  ... on BalanceUnavailable { reason { code } } } } } } }`
const AT_LEAST = (
  amount: string,
) => `{ customer { accounts(first: 1) { nodes { thresholdSteps { amount } balanceAtLeast(threshold: { amount: "${amount}", currency: "EUR" }) {
  __typename ... on BalanceAtLeast { outcome threshold { amount currency } budget { remaining } } ... on BalanceUnavailable { reason { code resolvableBy } } } } } } }`

interface Answered {
  __typename: string
  value?: { amount: string }
  asOf?: string
  freshness?: string
  outcome?: string
  reason?: { code: string }
  budget?: { limit: number; remaining: number; nextAvailableAt: string | null }
  fallbackReason?: { code: string } | null
  staleReason?: { code: string } | null
}

describe('what is disclosed of a balance', () => {
  let gateway: TestGateway
  beforeAll(async () => {
    gateway = await startGateway()
  })
  afterAll(() => gateway.close())

  const ALL = ['accounts:read', 'balances:threshold', 'balances:band', 'balances:exact', 'alerts:read']
  const first = (answer: Awaited<ReturnType<TestGateway['ask']>>, field: 'balances' | 'balanceAtLeast'): Answered => {
    const { accounts } = answer.data!['customer'] as { accounts: { nodes: Record<string, Answered | Answered[]>[] } }
    return [accounts.nodes[0]![field]!].flat()[0]!
  }
  const told = async (token: Token, query = AMOUNT()) => first(await gateway.ask(token, query), 'balances')

  test('an exact balance is disclosed only while the customer is present; otherwise a band with the reason', async () => {
    const token = await gateway.customer('ada', ['rheinbank'], { scopes: ALL })
    expect(await told(token)).toMatchObject({ __typename: 'ExactBalance', staleReason: null })
    const unattended = first(await gateway.askUnattended(token, AMOUNT()), 'balances')
    expect(unattended).toMatchObject({
      __typename: 'BalanceBand',
      fallbackReason: { code: 'CUSTOMER_PRESENCE_REQUIRED', resolvableBy: 'CLIENT', retryable: false },
    })
    expect(unattended).not.toHaveProperty('value')
  })

  test.each<[string, (token: Token) => Promise<string>, string]>([
    [
      'one that is older than a minute',
      (token) =>
        createPresenceStatement(
          gateway.issuer,
          gateway.client('chatterbox'),
          subjectOf(token)!,
          new Date(Date.now() - 62_000),
        ),
      'CUSTOMER_PRESENCE_REQUIRED',
    ],
    [
      'one from the future',
      (token) =>
        createPresenceStatement(
          gateway.issuer,
          gateway.client('chatterbox'),
          subjectOf(token)!,
          new Date(Date.now() + 60_000),
        ),
      'INVALID_PRESENCE_STATEMENT',
    ],
    [
      'one about another customer',
      () => createPresenceStatement(gateway.issuer, gateway.client('chatterbox'), 'somebody-else'),
      'INVALID_PRESENCE_STATEMENT',
    ],
    [
      'one for another gateway',
      (token) => createPresenceStatement('https://other.example', gateway.client('chatterbox'), subjectOf(token)!),
      'INVALID_PRESENCE_STATEMENT',
    ],
    [
      'one of another client',
      (token) => createPresenceStatement(gateway.issuer, gateway.client('chatterbox-bearer'), subjectOf(token)!),
      'INVALID_PRESENCE_STATEMENT',
    ],
    [
      'one signed by a key of nobody',
      async (token) => {
        const key = {
          ...(await exportJWK((await generateKeyPair('ES256', { extractable: true })).privateKey)),
          kid: 'chatterbox-1',
        }
        return createPresenceStatement(gateway.issuer, { clientId: 'chatterbox', key }, subjectOf(token)!)
      },
      'INVALID_PRESENCE_STATEMENT',
    ],
    [
      'one that is another kind of token of the same key',
      async (token) => {
        const { key } = gateway.client('chatterbox')
        return new SignJWT({})
          .setProtectedHeader({ alg: 'ES256', kid: key.kid! })
          .setIssuer('chatterbox')
          .setSubject(subjectOf(token)!)
          .setAudience(gateway.issuer)
          .setIssuedAt()
          .sign(await importJWK(key, 'ES256'))
      },
      'INVALID_PRESENCE_STATEMENT',
    ],
    ['one that is no token at all', () => Promise.resolve('present, honestly'), 'INVALID_PRESENCE_STATEMENT'],
  ])('a statement that does not count: %s', async (_what, statementOf, reason) => {
    const token = await gateway.customer('ada', ['northbank'], { scopes: ALL })
    const answer = await gateway.askUnattended(token, AMOUNT(), {}, await statementOf(token))
    expect(first(answer, 'balances')).toMatchObject({ __typename: 'BalanceBand', fallbackReason: { code: reason } })
    expect(gateway.log.join('\n')).not.toContain('honestly')
  })

  test('each account has four exact disclosures in 24 hours for all clients, and a repeated read does not count', async () => {
    const token = await gateway.customer('bo', ['northbank'], { scopes: ALL })
    const before = await told(token)
    expect(before).toMatchObject({ freshness: 'LIVE', budget: { limit: 4, remaining: 3 } })
    const reservedAt = new Date(Date.parse(before.budget!.nextAvailableAt!) - 24 * 3_600_000).toISOString()
    expect(Date.parse(before.asOf!) - Date.parse(reservedAt)).toBeGreaterThanOrEqual(0)
    expect(await told(token)).toMatchObject({ asOf: before.asOf, freshness: 'CACHED', budget: { remaining: 3 } })
    for (const remaining of [2, 1, 0]) {
      gateway.forward(61_000)
      expect(await told(token)).toMatchObject({ __typename: 'ExactBalance', budget: { remaining } })
    }
    gateway.forward(61_000)
    expect(await told(token)).toMatchObject({
      __typename: 'BalanceBand',
      fallbackReason: {
        code: 'DISCLOSURE_BUDGET_EXHAUSTED',
        retryable: true,
        retryAt: new Date(Date.parse(reservedAt) + 24 * 3_600_000).toISOString(),
      },
    })
    // A result of up to six hours ago is accepted, so the disclosed value is returned again without counting.
    expect(await told(token, AMOUNT('INTERIM_AVAILABLE', 3_600))).toMatchObject({ freshness: 'CACHED' })

    const budgets = await gateway.ask(
      token,
      '{ customer { accounts { nodes { disclosureBudgets { exact { remaining } threshold { remaining nextAvailableAt } } } } } }',
    )
    const { nodes } = (budgets.data!['customer'] as { accounts: { nodes: unknown[] } }).accounts
    expect(nodes[0]).toEqual({
      disclosureBudgets: { exact: { remaining: 0 }, threshold: { remaining: 6, nextAvailableAt: null } },
    })

    gateway.forward(24 * 3_600_000)
    expect(await told(await gateway.renew(token))).toMatchObject({ budget: { remaining: 3 } })
  })

  test('two clients share the budget of one account', async () => {
    const browser = (await import('../../src/entrypoints/cli/browser.ts')).createBrowser()
    const one = await gateway.customer('cleo', ['rheinbank'], { scopes: ALL, browser })
    const other = await gateway.customer('cleo', ['rheinbank'], { scopes: ALL, browser, clientId: 'chatterbox-bearer' })
    expect(await told(one)).toMatchObject({ budget: { remaining: 3 } })
    gateway.forward(61_000)
    expect(await told(other)).toMatchObject({ budget: { remaining: 2 } })
    expect(await told(one)).toMatchObject({ freshness: 'CACHED', budget: { remaining: 2 } })
  })

  test('the holders of one account share its budget, its band and the time of the band', async () => {
    // The two customers have nothing in common but the account at the bank.
    const [one, other] = [
      await gateway.customer('cleo', ['rheinbank'], { scopes: ALL }),
      await gateway.customer('dan', ['rheinbank'], { scopes: ALL }),
    ]
    const BANDS =
      '{ customer { accounts(first: 1) { nodes { id maskedNumber balances(detail: BAND) { __typename ... on BalanceBand { lowerBound { amount } upperBound { amount } asOf } } } } } }'
    const bandOf = async (token: Token) =>
      (
        (await gateway.askUnattended(token, BANDS)).data!['customer'] as {
          accounts: { nodes: { id: string; maskedNumber: string; balances: object[] }[] }
        }
      ).accounts.nodes[0]!
    const [first, second] = [await bandOf(one), await bandOf(other)]
    expect(second.maskedNumber).toBe(first.maskedNumber)
    expect(second.id).not.toBe(first.id)
    expect(first.balances).toMatchObject([{ __typename: 'BalanceBand' }])
    expect(second.balances).toEqual(first.balances)
  })

  test('a second balance type is withheld, because the difference of booked and available reveals pending purchases', async () => {
    const token = await gateway.customer('ada', ['northbank'], { scopes: ALL })
    expect(await told(token)).toMatchObject({ __typename: 'ExactBalance' })
    expect(await told(token, AMOUNT('INTERIM_BOOKED'))).toMatchObject({
      __typename: 'BalanceBand',
      fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED' },
    })
    const both = await gateway.ask(
      token,
      '{ customer { accounts(first: 1) { nodes { a: balances { __typename } b: balances(type: INTERIM_BOOKED) { __typename } } } } }',
    )
    expect(JSON.stringify(both.data).match(/ExactBalance/g)).toHaveLength(1)
  })

  test('forty concurrent reads reserve no more disclosures than the limit allows', async () => {
    const token = await gateway.customer('dan', ['northbank'], { scopes: ALL })
    const [{ id }] = (await gateway.database.query<{ id: string }>(
      "select a.bank_id || '/' || coalesce(a.number_digest, a.ref_digest) as id from account a join consent_account s on s.account_id = a.id join consent c on c.id = s.consent_id where c.status = 'ACTIVE' order by c.created_at desc limit 1",
    )) as [{ id: string }]
    const service = gateway.app.services.accounts
    const answers = await Promise.all(
      Array.from({ length: 40 }, (_, index) => gateway.ask(token, AMOUNT('INTERIM_AVAILABLE', 60 + index))),
    )
    expect(answers.filter((answer) => first(answer, 'balances').__typename === 'ExactBalance').length).toBeGreaterThan(
      0,
    )
    const [row] = await gateway.database.query<{ amount_count: number }>(
      'select cardinality(exact_at) as amount_count from disclosure where disclosure_key = $1',
      [id],
    )
    expect(row!.amount_count).toBeLessThanOrEqual(EXACT_DISCLOSURES_PER_WINDOW)
    expect((await service.disclosureBudgets([id]))[0]!.exact.remaining).toBe(
      EXACT_DISCLOSURES_PER_WINDOW - row!.amount_count,
    )
  })

  test('a bank that does not respond costs no budget, and the last disclosed value is returned as STALE', async () => {
    const token = await gateway.customer('ada', ['rheinbank'], { scopes: ALL })
    const before = await told(token)
    gateway.forward(120_000)
    gateway.intercept = (request) =>
      request.url.endsWith('/balances') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    const stale = await told(token)
    gateway.intercept = undefined
    expect(stale).toMatchObject({
      value: before.value,
      asOf: before.asOf,
      freshness: 'STALE',
      staleReason: { code: 'BANK_UNAVAILABLE' },
      budget: { remaining: before.budget!.remaining },
    })
  })

  test('balanceAtLeast has six outcomes in 24 hours, accepts only multiples of the step, and states who must act', async () => {
    const token = await gateway.customer('ada', ['rheinbank'], { scopes: ALL })
    const ask = async (amount: string) => first(await gateway.askUnattended(token, AT_LEAST(amount)), 'balanceAtLeast')
    expect(await ask('150')).toMatchObject({
      reason: { code: 'THRESHOLD_NOT_A_MULTIPLE', resolvableBy: 'CLIENT' },
    })
    expect(await ask('0')).toMatchObject({ outcome: 'AT_LEAST', threshold: { amount: '0', currency: 'EUR' } })
    expect(await ask('900000')).toMatchObject({ outcome: 'NOT_CERTAIN' })
    const { budget } = await ask('100')
    for (let left = budget!.remaining; left > 0; left--) expect((await ask('200')).budget!.remaining).toBe(left - 1)
    expect(await ask('200')).toMatchObject({
      __typename: 'BalanceUnavailable',
      reason: { code: 'DISCLOSURE_BUDGET_EXHAUSTED' },
    })
  })

  test('two clients of one account see the same band with the same time', async () => {
    const browser = (await import('../../src/entrypoints/cli/browser.ts')).createBrowser()
    const one = await gateway.customer('bo', ['northbank'], { scopes: ALL, browser })
    const other = await gateway.customer('bo', ['northbank'], { scopes: ALL, browser, clientId: 'chatterbox-bearer' })
    const query =
      '{ customer { accounts { nodes { balances(detail: BAND) { ... on BalanceBand { lowerBound { amount } upperBound { amount } asOf } } } } } }'
    const [first, second] = [await gateway.askUnattended(one, query), await gateway.askUnattended(other, query)]
    expect(second.data).toEqual(first.data)
  })

  test('one operation that reads every field of one account calls the bank once', async () => {
    const token = await gateway.customer('cody', ['southbank'], { scopes: ALL })
    gateway.sent.length = 0
    const answer = await gateway.ask(
      token,
      `{ customer { accounts(first: 1) { nodes {
        booked: balances(type: INTERIM_BOOKED) { __typename }
        available: balances(type: INTERIM_AVAILABLE) { __typename ... on BalanceBand { fallbackReason { code } } }
        again: balances(type: INTERIM_BOOKED, maxAgeSeconds: 3600) { __typename }
        range: balances(type: INTERIM_AVAILABLE, detail: BAND) { __typename }
        other: balances(type: INTERIM_BOOKED, detail: BAND) { __typename }
        enough: balanceAtLeast(threshold: { amount: "0", currency: "AUD" }) { __typename } } } } }`,
    )
    const { nodes } = (answer.data!['customer'] as { accounts: { nodes: unknown[] } }).accounts
    expect(nodes[0]).toMatchObject({
      booked: [{ __typename: 'ExactBalance' }],
      available: [{ __typename: 'BalanceBand', fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED' } }],
      again: [{ __typename: 'ExactBalance' }],
      range: [{ __typename: 'BalanceBand' }],
      other: [{ __typename: 'BalanceBand' }],
      enough: { __typename: 'BalanceAtLeast' },
    })
    expect(gateway.sent.filter(({ url }) => url.includes('/balance'))).toHaveLength(1)
  })
})
