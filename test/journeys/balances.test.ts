import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

const QUERY = `{ customer { accounts { nodes { id displayName maskedNumber type currencies bank { id }
  balances { __typename ... on ExactBalance { type value { amount currency } freshness creditLineIncluded } ... on BalanceUnavailable { currency reason { code category retryable retryAt resolvableBy } } } } } } }`

interface Row {
  id: string
  displayName: string
  maskedNumber: string
  type: string
  currencies: string[]
  bank: { id: string }
  balance: {
    __typename: string
    value?: { amount: string; currency: string }
    currency?: string
    reason?: { code: string; resolvableBy: string; retryable: boolean }
    freshness?: string
  }
}

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

/** Accounts, each with its first balance. */
const rowsOf = (answer: Awaited<ReturnType<TestGateway['ask']>>): Row[] =>
  (answer.data?.['customer'] as { accounts: { nodes: (Row & { balances: Row['balance'][] })[] } }).accounts.nodes.map(
    ({ balances, ...row }) => ({ ...row, balance: balances[0]! }),
  )

describe('a platform asks for balances', () => {
  test("one request returns the accounts and balances of both banks, with signs from the customer's view", async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    const answer = await gateway.ask(token, QUERY)
    expect(answer.errors).toBeUndefined()
    const rows = rowsOf(answer)
    expect(
      rows.map(({ bank, type, currencies, maskedNumber }) => [bank.id, type, currencies.join(), maskedNumber]),
    ).toEqual([
      ['northbank', 'CURRENT', 'GBP', '•••• 1234'],
      ['northbank', 'SAVINGS', 'GBP', '•••• 5678'],
      ['rheinbank', 'CURRENT', 'EUR', '•••• 3000'],
      ['rheinbank', 'CARD', 'EUR', '•••• 9876'],
    ])
    expect(rows[1]!.balance).toMatchObject({ value: { amount: '12500.00', currency: 'GBP' }, freshness: 'LIVE' })
    // What is owed on a card is negative, though the bank writes it as a positive debit.
    expect(Number(rows[3]!.balance.value!.amount)).toBeLessThan(0)
  })

  test('an unavailable bank affects only its own results, which have a reason and never zero', async () => {
    const token = await gateway.customer('dan', ['northbank', 'rheinbank'])
    const [north, rhein] = rowsOf(await gateway.ask(token, QUERY))
    expect(north!.balance).toMatchObject({ __typename: 'ExactBalance', value: { currency: 'GBP' } })
    expect(rhein!.balance).toMatchObject({
      __typename: 'BalanceUnavailable',
      currency: 'EUR',
      reason: { code: 'BANK_UNAVAILABLE', retryable: true, resolvableBy: 'BANK' },
    })
    expect(rhein!.balance).not.toHaveProperty('value')
  })

  test('a bank that breaks the connection does not affect the results of other banks', async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    gateway.forward(60_000)
    gateway.intercept = (request) =>
      request.url.includes('/psd2/')
        ? new Promise((_resolve, reject) => setTimeout(() => reject(new Error('hangs')), 300))
        : undefined
    const rows = rowsOf(await gateway.ask(token, QUERY))
    gateway.intercept = undefined
    expect(
      rows.filter(({ bank }) => bank.id === 'northbank').every(({ balance }) => balance.__typename === 'ExactBalance'),
    ).toBe(true)
    expect(
      rows
        .filter(({ bank }) => bank.id === 'rheinbank')
        .every(({ balance }) => balance.__typename === 'BalanceUnavailable'),
    ).toBe(true)
  })

  test('banks are called in parallel, and each account is fetched once for concurrent requests', async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    gateway.forward(60_000)
    let under = 0
    let most = 0
    gateway.intercept = (request) => {
      if (!request.url.endsWith('/balances')) return undefined
      most = Math.max(most, ++under)
      return undefined
    }
    gateway.sent.length = 0
    const answers = await Promise.all(Array.from({ length: 20 }, () => gateway.ask(token, QUERY)))
    gateway.intercept = undefined
    expect(
      answers.every((answer) => rowsOf(answer).every(({ balance }) => balance.__typename === 'ExactBalance')),
    ).toBe(true)
    const calls = gateway.sent.filter(({ url }) => url.endsWith('/balances')).map(({ url }) => url)
    // Northbank tells of all accounts in one look; Rheinbank of each by itself.
    expect(new Set(calls).size).toBe(3)
    expect(calls).toHaveLength(3)
    expect(most).toBe(3)
  })

  test('every read is in the ledger with client, consent, account and purpose before its response', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    const before = await gateway.database.query<{ n: number }>('select count(*)::int n from ledger_entry')
    await gateway.ask(token, QUERY)
    const rows = await gateway.database.query<{
      action: string
      client_id: string
      account_ids: string[]
      purposes: string[]
      request_id: string
    }>('select action, client_id, account_ids, purposes, request_id from ledger_entry order by sequence offset $1', [
      before[0]!.n,
    ])
    expect(rows.map(({ action }) => action)).toEqual(['READ_ACCOUNTS', 'READ_BALANCES'])
    expect(
      rows.every(({ client_id, purposes }) => client_id === 'chatterbox' && purposes.includes('ANSWER_CUSTOMER')),
    ).toBe(true)
    expect(new Set(rows.map(({ request_id }) => request_id)).size).toBe(1)
    expect(rows[1]!.account_ids).toEqual([expect.stringMatching(/^acct_/), expect.stringMatching(/^acct_/)])
  })

  test('no balance is read if the ledger cannot be written', async () => {
    await gateway.customer('bo', ['northbank'])
    // Nothing is remembered that would be young enough.
    gateway.forward(7 * 3_600_000)
    const token = await gateway.customer('bo', ['northbank'])
    const taken = () => gateway.database.query('select sum(cardinality(exact_at))::int as amounts from disclosure')
    const before = await taken()
    await eventually('an idle outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
    await gateway.database.query('alter table ledger_entry rename to ledger_entry_away')
    try {
      gateway.sent.length = 0
      const answer = await gateway.ask(token, QUERY)
      expect(answer.errors?.[0]?.extensions?.code).toBe('INTERNAL')
      expect(JSON.stringify(answer)).not.toMatch(/amount|ledger/)
      expect(gateway.sent).toHaveLength(0)
      // Nor does it cost the customer anything, or keep anybody else from looking.
      expect(await taken()).toEqual(before)
      await expect.poll(() => gateway.database.query('select 1 from snapshot where claimed_until > now()')).toEqual([])
    } finally {
      await gateway.database.query('alter table ledger_entry_away rename to ledger_entry')
    }
  })

  test('the database refuses to change or delete a ledger entry', async () => {
    for (const change of [
      "update ledger_entry set client_id = 'x'",
      'delete from ledger_entry',
      'truncate ledger_entry',
    ])
      await expect(gateway.database.query(change)).rejects.toThrow(/only grows/)
  })

  test('a band changes at most every six hours, and only if the amount is a quarter of its width outside', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] })
    const query =
      '{ customer { accounts { nodes { balances { ... on BalanceBand { lowerBound { amount } upperBound { amount } } } } } } }'
    const bandAt = async (one: Token, amount: string) => {
      gateway.intercept = (request) =>
        request.url.endsWith('/balances')
          ? Promise.resolve({
              status: 200,
              headers: {},
              text: JSON.stringify({
                balances: [{ balanceType: 'interimAvailable', balanceAmount: { currency: 'EUR', amount } }],
              }),
            })
          : undefined
      const [row] = rowsOf(await gateway.ask(one, query)) as unknown as {
        balance: { lowerBound: { amount: string }; upperBound: { amount: string } }
      }[]
      gateway.intercept = undefined
      const { lowerBound, upperBound } = row!.balance
      return { lower: lowerBound.amount, upper: upperBound.amount }
    }
    const first = await bandAt(token, '1000.00')
    expect(Number(first.upper) - Number(first.lower)).toBe(50)
    expect(Number(first.lower)).toBeLessThanOrEqual(1000)
    expect(Number(first.upper)).toBeGreaterThan(1000)
    expect(await bandAt(token, '5000.00')).toEqual(first)
    gateway.forward(6 * 3_600_000 + 1_000)
    const later = await gateway.renew(token)
    expect(await bandAt(later, String(Number(first.upper) + 12))).toEqual(first)
    gateway.forward(6 * 3_600_000 + 1_000)
    const muchLater = await gateway.renew(token)
    expect(Number((await bandAt(muchLater, '5000.00')).lower)).toBeGreaterThan(4_900)
  })

  test('a balance in an unsupported currency is absent with a reason, and small units have a wide band', async () => {
    const query = `{ customer { accounts(first: 1) { nodes { currencies thresholdSteps { amount currency }
      balances { __typename ... on ExactBalance { value { amount } } ... on BalanceUnavailable { currency reason { code } } }
      bands: balances(detail: BAND) { __typename ... on BalanceBand { lowerBound { amount } upperBound { amount } } ... on BalanceUnavailable { currency reason { code } } }
      balanceAtLeast(threshold: { amount: "0", currency: "XAU" }) { __typename ... on BalanceUnavailable { currency reason { code } } } } } } }`
    const scopes = ['accounts:read', 'balances:threshold', 'balances:band', 'balances:exact']
    const inCurrency = async (currency: string) => {
      gateway.intercept = ({ url }) => {
        const answer = (body: unknown) => Promise.resolve({ status: 200, headers: {}, text: JSON.stringify(body) })
        const account = { resourceId: `in-${currency}`, currency }
        if (url.endsWith('/card-accounts')) return answer({ cardAccounts: [] })
        if (url.endsWith('/accounts')) return answer({ accounts: [account] })
        if (!url.endsWith('/balances')) return undefined
        return answer({
          balances: [{ balanceType: 'interimAvailable', balanceAmount: { currency, amount: '81234.5' } }],
        })
      }
      const token = await gateway.customer('ada', ['rheinbank'], { scopes })
      const answer = await gateway.ask(token, query)
      gateway.intercept = undefined
      return (answer.data!['customer'] as { accounts: { nodes: Record<string, unknown>[] } }).accounts.nodes[0]!
    }
    const unavailable = { __typename: 'BalanceUnavailable', currency: null, reason: { code: 'CURRENCY_NOT_SUPPORTED' } }
    for (const code of ['XAU', 'ZZZ'])
      expect(await inCurrency(code)).toMatchObject({
        currencies: [],
        thresholdSteps: [],
        balances: [unavailable],
        bands: [unavailable],
        balanceAtLeast: { ...unavailable, currency: 'XAU' },
      })
    const forint = await inCurrency('HUF')
    expect(forint).toMatchObject({
      thresholdSteps: [{ amount: '40000', currency: 'HUF' }],
      balances: [{ value: { amount: '81234.50' } }],
    })
    const [band] = forint['bands'] as { lowerBound: { amount: string }; upperBound: { amount: string } }[]
    expect(Number(band!.upperBound.amount) - Number(band!.lowerBound.amount)).toBe(20_000)
  })

  test('the banks are asked for accounts and balances only, and never for transactions', async () => {
    await eventually('some calls', () => Promise.resolve(gateway.sent.length > 0))
    const paths = new Set(
      gateway.sent.map(({ url }) =>
        new URL(url).pathname.replace(/[0-9a-f-]{36}|(nb|eb)-\d+|[a-z]+-consent-[0-9a-f]+/g, '{id}'),
      ),
    )
    expect(
      [...paths].filter((path) => /transaction|statement|beneficiar|standing|direct-debit|party/i.test(path)),
    ).toEqual([])
    const consents = gateway.sent
      .filter(({ url, method }) => method === 'POST' && url.endsWith('consents'))
      .map(({ body }) => body ?? '')
    expect(consents.length).toBeGreaterThan(0)
    expect(consents.filter((body) => /transaction/i.test(body))).toEqual([])
  })
})
