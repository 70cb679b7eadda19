import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ crowd: 8 })
})
afterAll(() => gateway.close())
let next = 0
beforeEach(() => {
  next++
})
afterEach(() => {
  gateway.intercept = undefined
})

const BAND_SCOPES = ['accounts:read', 'balances:band']
const EXACT_SCOPES = ['accounts:read', 'balances:exact', 'balances:threshold']
const RESULT = `__typename
  ... on ExactBalance { value { amount currency } freshness budget { remaining } }
  ... on BalanceBand { lowerBound { currency } fallbackReason { code category message retryable retryAt resolvableBy } staleReason { code } }
  ... on BalanceUnavailable { type currency reason { code resolvableBy } }`

interface Result {
  __typename: string
  value?: { amount: string; currency: string }
  lowerBound?: { currency: string }
  fallbackReason?: { code: string } | null
  currency?: string | null
  reason?: { code: string }
  budget?: { remaining: number }
}
interface Account {
  bank: { id: string }
  currencies: string[]
  balances: Result[]
  disclosureBudgets: { exact: { remaining: number } | null; threshold: { remaining: number } | null }
}

async function accountsOf(token: Token, args = '', send: TestGateway['ask'] = gateway.ask): Promise<Account[]> {
  const query = `{ customer { accounts { nodes { bank { id } currencies balances${args} { ${RESULT} }
    disclosureBudgets { exact { remaining } threshold { remaining } } } } } }`
  const { data, errors } = await send(token, query)
  expect(errors).toBeUndefined()
  return (data!['customer'] as { accounts: { nodes: Account[] } }).accounts.nodes
}

/** Ledger entries of the newest request that read balances. */
async function lastReads(): Promise<string[]> {
  const rows = await gateway.database.query<{ action: string }>(
    `select action from ledger_entry where action like 'READ_BALANCE%' and request_id =
      (select request_id from ledger_entry where action like 'READ_BALANCE%' order by sequence desc limit 1) order by action`,
  )
  return rows.map(({ action }) => action)
}

/** Rheinbank returns one account without a currency of its own, with these balances. */
function holding(...money: (readonly [currency: string, amount: string])[]): void {
  gateway.intercept = ({ url }) => {
    const respond = (body: unknown) => Promise.resolve({ status: 200, headers: {}, text: JSON.stringify(body) })
    if (url.endsWith('/card-accounts')) return respond({ cardAccounts: [] })
    if (url.endsWith('/accounts')) return respond({ accounts: [{ resourceId: `multi-${next}`, currency: 'XXX' }] })
    if (!url.endsWith('/balances')) return undefined
    const balances = money.map(([currency, amount]) => ({
      balanceType: 'interimAvailable',
      balanceAmount: { currency, amount },
    }))
    return respond({ balances })
  }
}

describe('the detail of a balance', () => {
  test('a token without `balances:exact` gets bands, even of accounts whose consent would allow exact balances', async () => {
    const browser = createBrowser()
    const { idToken } = await gateway.customer('ada', ['rheinbank'], { browser, scopes: EXACT_SCOPES })
    const token = await gateway.customer('ada', ['northbank'], { browser, scopes: BAND_SCOPES, idTokenHint: idToken })
    const accounts = await accountsOf(token)
    expect(new Set(accounts.map(({ bank }) => bank.id))).toEqual(new Set(['northbank', 'rheinbank']))
    for (const { balances } of accounts)
      expect(balances).toMatchObject([{ __typename: 'BalanceBand', fallbackReason: { code: 'NOT_CONSENTED' } }])
    expect(await lastReads()).not.toContain('READ_BALANCES')
  })

  test('a consent without `balances:exact` discloses bands, even to a token that has the scope', async () => {
    const browser = createBrowser()
    const { idToken } = await gateway.customer('finn', ['rheinbank'], { browser, scopes: BAND_SCOPES })
    const token = await gateway.customer('finn', ['northbank'], {
      browser,
      scopes: EXACT_SCOPES,
      idTokenHint: idToken,
    })
    for (const { bank, balances, disclosureBudgets } of await accountsOf(token)) {
      const isExact = bank.id === 'northbank'
      expect(balances).toMatchObject([
        isExact
          ? { __typename: 'ExactBalance' }
          : { __typename: 'BalanceBand', fallbackReason: { code: 'NOT_CONSENTED', resolvableBy: 'CUSTOMER' } },
      ])
      expect([disclosureBudgets.exact !== null, disclosureBudgets.threshold !== null]).toEqual([isExact, isExact])
    }
    expect(new Set(await lastReads())).toEqual(new Set(['READ_BALANCES', 'READ_BALANCE_BAND']))
  })

  test('a request for bands gets bands without a reason, is recorded as one, and does not count towards the limit', async () => {
    const token = await gateway.customer('bo', ['northbank'], { scopes: EXACT_SCOPES })
    for (const { balances, disclosureBudgets } of await accountsOf(token, '(detail: BAND)')) {
      expect(balances).toMatchObject([{ __typename: 'BalanceBand', fallbackReason: null }])
      expect(disclosureBudgets.exact).toEqual({ remaining: 4 })
    }
    expect(await lastReads()).toEqual(['READ_BALANCE_BAND'])
  })

  test('a band in place of an exact balance that the limit withholds is noted as a band as well', async () => {
    const token = await gateway.customer('dan', ['northbank'], { scopes: EXACT_SCOPES })
    expect((await accountsOf(token))[0]!.balances[0]!.__typename).toBe('ExactBalance')
    const [account] = await accountsOf(token, '(type: INTERIM_BOOKED)')
    expect(account!.balances).toMatchObject([
      {
        __typename: 'BalanceBand',
        fallbackReason: { code: 'OTHER_BALANCE_TYPE_DISCLOSED', category: 'LIMIT', retryable: true },
      },
    ])
    expect(await lastReads()).toEqual(['READ_BALANCES', 'READ_BALANCE_BAND'])
  })
})

describe('an account of several currencies', () => {
  test('a result is returned per currency, one request is one disclosure, and the account gains the currencies', async () => {
    holding(['EUR', '120.10'], ['USD', '30.05'])
    const token = await gateway.customer(`crowd${next % 8}`, ['rheinbank'], { scopes: EXACT_SCOPES })
    const [first] = await accountsOf(token)
    expect(first!.balances).toMatchObject([
      { value: { amount: '120.10', currency: 'EUR' }, budget: { remaining: 3 } },
      { value: { amount: '30.05', currency: 'USD' }, budget: { remaining: 3 } },
    ])
    await eventually('the currencies of the account', async () => {
      const [later] = await accountsOf(token)
      return later!.currencies.join() === 'EUR,USD'
    })

    // A currency that the bank shows later is the last, and one that it shows no more is missing with its name.
    holding(['GBP', '7.00'], ['EUR', '120.10'])
    gateway.forward(61_000)
    const [second] = await accountsOf(token)
    expect(second!.balances).toMatchObject([
      { value: { currency: 'EUR' }, budget: { remaining: 2 } },
      { __typename: 'BalanceUnavailable', currency: 'USD', reason: { code: 'BALANCE_NOT_PROVIDED' } },
      { value: { currency: 'GBP' } },
    ])
    await eventually('the new currency', async () => (await accountsOf(token))[0]!.currencies.join() === 'EUR,USD,GBP')
  })

  test('only the requested currencies of an account are returned, in its order, without those it does not hold', async () => {
    holding(['EUR', '120.10'], ['USD', '30.05'])
    const token = await gateway.customer(`crowd${next % 8}`, ['rheinbank'], { scopes: EXACT_SCOPES })
    const [account] = await accountsOf(token, '(currencies: ["JPY", "USD", "USD", "EUR"])')
    expect(account!.balances).toMatchObject([
      { value: { currency: 'EUR' } },
      { value: { currency: 'USD' } },
      { __typename: 'BalanceUnavailable', currency: 'JPY', reason: { code: 'BALANCE_NOT_PROVIDED' } },
    ])
    const bands = (await accountsOf(token, '(currencies: ["USD"], detail: BAND)'))[0]!
    expect(bands.balances).toMatchObject([{ __typename: 'BalanceBand', lowerBound: { currency: 'USD' } }])
  })

  test('a request for a currency that the account does not hold costs nothing of the limit', async () => {
    holding(['EUR', '120.10'])
    const token = await gateway.customer(`crowd${next % 8}`, ['rheinbank'], { scopes: EXACT_SCOPES })
    const [account] = await accountsOf(token, '(currencies: ["JPY"])')
    expect(account!.balances).toMatchObject([{ currency: 'JPY', reason: { code: 'BALANCE_NOT_PROVIDED' } }])
    await eventually('the whole limit', async () => {
      const [later] = await accountsOf(token, '(detail: BAND)')
      return later!.disclosureBudgets.exact!.remaining === 4
    })
  })

  test('a threshold is compared with the balance of its own currency', async () => {
    holding(['EUR', '120.10'], ['USD', '-400.00'])
    const token = await gateway.customer(`crowd${next % 8}`, ['rheinbank'], { scopes: EXACT_SCOPES })
    const outcomes = async () => {
      const { data } = await gateway.ask(
        token,
        `{ customer { accounts(first: 1) { nodes { thresholdSteps { amount currency } ${['EUR', 'USD', 'JPY']
          .map(
            (code) =>
              `in${code}: balanceAtLeast(threshold: { amount: "0", currency: "${code}" }) { ... on BalanceAtLeast { outcome } ... on BalanceUnavailable { currency reason { code } } }`,
          )
          .join(' ')} } } } }`,
      )
      return (data!['customer'] as { accounts: { nodes: Record<string, unknown>[] } }).accounts.nodes[0]!
    }
    await accountsOf(token)
    await eventually('both steps', async () => ((await outcomes())['thresholdSteps'] as unknown[]).length === 2)
    expect(await outcomes()).toEqual({
      thresholdSteps: [
        { amount: '100', currency: 'EUR' },
        { amount: '100', currency: 'USD' },
      ],
      inEUR: { outcome: 'AT_LEAST' },
      inUSD: { outcome: 'NOT_CERTAIN' },
      inJPY: { currency: 'JPY', reason: { code: 'BALANCE_NOT_PROVIDED' } },
    })
  })

  test('a bank that does not respond leaves one missing result per known currency, or one without a currency', async () => {
    const unreachable = ({ url }: { url: string }) =>
      url.endsWith('/balances') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    holding()
    const unknown = await gateway.customer(`crowd${next % 8}`, ['rheinbank'], { scopes: EXACT_SCOPES })
    gateway.intercept = unreachable
    expect((await accountsOf(unknown))[0]!.balances).toMatchObject([
      { currency: null, reason: { code: 'BANK_UNAVAILABLE', resolvableBy: 'BANK' } },
    ])
    expect((await accountsOf(unknown, '(currencies: ["CHF", "EUR"])'))[0]!.balances).toMatchObject([
      { currency: 'CHF', reason: { code: 'BANK_UNAVAILABLE' } },
      { currency: 'EUR', reason: { code: 'BANK_UNAVAILABLE' } },
    ])
  })

  test.each([0, 21])('a request for %i currencies is refused', async (count) => {
    const currencies = JSON.stringify(Array(count).fill('EUR'))
    const token = await gateway.customer('bo', ['northbank'], { scopes: EXACT_SCOPES })
    const { errors } = await gateway.ask(
      token,
      `{ customer { accounts(first: 1) { nodes { balances(currencies: ${currencies}) { __typename } } } } }`,
    )
    expect(errors!.map(({ extensions, message }) => [extensions!.code, message])).toEqual([
      ['INVALID_INPUT', '`currencies` must have 1 to 20 items.'],
    ])
  })
})
