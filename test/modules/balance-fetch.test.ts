import { describe, expect, test } from 'vitest'
import type { BankInterface } from '../../src/connectors/index.ts'
import { addMs } from '../../src/kernel/clock.ts'
import { GatewayError } from '../../src/kernel/errors.ts'
import { createMetrics } from '../../src/kernel/metrics.ts'
import { createBalanceFetcher, type AccountFetch, type BalanceFetch } from '../../src/modules/accounts/balance-fetch.ts'
import type { Snapshot } from '../../src/modules/accounts/model.ts'
import type { Claim, ClaimRequest } from '../../src/modules/accounts/store.ts'
import type { AccountAccess, Consents, SharedAccount } from '../../src/modules/consents/index.ts'
import { createFakeTime } from '../support/fake-time.ts'

const BALANCES = { balances: [], invalidTypes: [] }
const claimed: Claim = { snapshot: undefined, claimedUntil: new Date(5_000), isDisclosureReserved: false }
const elsewhere: Claim = { snapshot: undefined, claimedUntil: null, isDisclosureReserved: false }

function createFetcher() {
  const { clock, timers, advance } = createFakeTime()
  const statements: (readonly ClaimRequest[])[] = []
  /** The accounts of each call to a bank. */
  const calls: string[][] = []
  const test = {
    claimOf: (_request: ClaimRequest): Claim => claimed,
    claimTakesMs: 0,
    readDeadlineMs: 1_400,
    bank: { balances: () => Promise.resolve(BALANCES) } as unknown as BankInterface,
  }
  const callBank = (async (accesses, call) => {
    const refs = accesses.map(({ accountId }) => accountId)
    calls.push(refs)
    return call(test.bank, {} as never, refs)
  }) as Consents['callBank']
  const metrics = createMetrics()
  const fetchBalances = createBalanceFetcher({
    clock,
    timers,
    banks: { readDeadlineMs: () => test.readDeadlineMs },
    consents: { callBank },
    metrics,
    store: {
      async claim(requests) {
        statements.push(requests)
        if (test.claimTakesMs > 0) await timers.sleep(test.claimTakesMs)
        return requests.map((request) => test.claimOf(request))
      },
    },
  })
  /** Lets time pass in steps that are short enough for the work between two timers. */
  async function pass(ms: number): Promise<void> {
    for (let passedMs = 0; passedMs < ms; passedMs++) await advance(1)
  }
  const accountFetch = (id: string, balanceFetch: Partial<BalanceFetch> = {}, connectionId = 'one'): AccountFetch => ({
    account: { bankAccountKey: id, disclosureKey: id } as SharedAccount,
    balanceFetch: {
      access: { accountId: id, grant: { connectionId } } as unknown as AccountAccess,
      maxAgeMs: 60_000,
      customer: null,
      exactType: null,
      ledgerWritten: undefined,
      ...balanceFetch,
    },
    waitedMs: 0,
    cached: undefined,
    disclosureReservedAt: undefined,
    claimedUntil: null,
  })
  const snapshot = (ageMs: number): Snapshot => ({
    ...BALANCES,
    bands: {},
    fetchedAt: addMs(clock.now(), -ageMs),
    disclosedType: null,
  })
  const waitingCount = async () => (await metrics.balanceFetchesWaiting.get()).values[0]!.value
  return { fetchBalances, accountFetch, snapshot, statements, calls, pass, test, waitingCount }
}

describe('the fetch of an account', () => {
  test('concurrent accounts are claimed in one statement, and fetched by request and connection', async () => {
    const { fetchBalances, accountFetch, statements, calls } = createFetcher()
    const [one, other] = [Promise.resolve('one'), Promise.resolve('other')]
    const outcomes = await Promise.all([
      fetchBalances(accountFetch('a', { ledgerWritten: one })),
      fetchBalances(accountFetch('b', { ledgerWritten: one }, 'two')),
      fetchBalances(accountFetch('c', { ledgerWritten: one, maxAgeMs: 1_000 })),
      fetchBalances(accountFetch('d', { ledgerWritten: other })),
    ])
    expect(outcomes).toMatchObject(Array.from({ length: 4 }, () => ({ fetched: { freshness: 'LIVE' } })))
    expect(statements.map((requests) => requests.map(({ bankAccountKey }) => bankAccountKey))).toEqual([
      ['a', 'b', 'c', 'd'],
    ])
    expect(calls.sort()).toEqual([['a', 'c'], ['b'], ['d']])
  })

  test('a bank that hangs does not delay the accounts of another bank', async () => {
    const { fetchBalances, accountFetch, test } = createFetcher()
    test.bank = {
      balances: (_access: unknown, ref: string) =>
        ref === 'a' ? new Promise(() => undefined) : Promise.resolve(BALANCES),
    } as unknown as BankInterface
    void fetchBalances(accountFetch('a'))
    expect(await fetchBalances(accountFetch('b', {}, 'two'))).toMatchObject({ fetched: { freshness: 'LIVE' } })
  })

  test('an account whose fetch fails does not affect other accounts', async () => {
    const { fetchBalances, accountFetch, test } = createFetcher()
    test.bank = {
      balances: (_access: unknown, ref: string) =>
        ref === 'a' ? Promise.reject(new GatewayError('BANK_TIMEOUT')) : Promise.resolve(BALANCES),
    } as unknown as BankInterface
    const fetches = [accountFetch('a'), accountFetch('b')]
    expect(await Promise.all(fetches.map(fetchBalances))).toMatchObject([
      { error: { code: 'BANK_TIMEOUT' } },
      { fetched: { freshness: 'LIVE' } },
    ])
    // What was fetched is saved, which ends the claim; the other claim is to be released.
    expect(fetches.map(({ claimedUntil }) => claimedUntil !== null)).toEqual([true, false])
  })

  test('no bank is called before the read is in the ledger, nor if it cannot be written', async () => {
    const { fetchBalances, accountFetch, calls, pass } = createFetcher()
    const written = Promise.withResolvers()
    const outcome = fetchBalances(accountFetch('a', { ledgerWritten: written.promise }))
    await pass(100)
    expect(calls).toEqual([])
    written.reject(new GatewayError('INTERNAL'))
    expect(await outcome).toMatchObject({ error: { code: 'INTERNAL' } })
    expect(calls).toEqual([])
  })

  test('a snapshot that is young enough is not fetched again', async () => {
    const { fetchBalances, accountFetch, snapshot, calls, test } = createFetcher()
    test.claimOf = () => ({ ...elsewhere, snapshot: snapshot(59_000) })
    expect(await fetchBalances(accountFetch('a'))).toMatchObject({ fetched: { freshness: 'CACHED' } })
    expect(calls).toEqual([])
  })

  test('exact values for which no disclosure could be reserved are not fetched', async () => {
    const { fetchBalances, accountFetch, calls } = createFetcher()
    expect(await fetchBalances(accountFetch('a', { exactType: 'EXPECTED' }))).toMatchObject({
      error: { code: 'DISCLOSURE_BUDGET_EXHAUSTED' },
    })
    expect(calls).toEqual([])
  })

  test('an account that another process fetches is polled until its snapshot is saved', async () => {
    const { fetchBalances, accountFetch, snapshot, statements, calls, pass, test, waitingCount } = createFetcher()
    test.claimOf = () => elsewhere
    const outcome = fetchBalances(accountFetch('a'))
    await pass(50)
    expect(statements.length).toBeGreaterThan(1)
    expect(await waitingCount()).toBe(1)
    test.claimOf = () => ({ ...elsewhere, snapshot: snapshot(0) })
    await pass(30)
    expect(await outcome).toMatchObject({ fetched: { freshness: 'CACHED' } })
    expect(await waitingCount()).toBe(0)
    expect(calls).toEqual([])
  })

  test('an account that another process released is fetched within 100 ms, and not after that', async () => {
    for (const [waitMs, expected] of [
      [60, { fetched: { freshness: 'LIVE' } }],
      [160, { error: { code: 'BANK_TIMEOUT' } }],
    ] as const) {
      const { fetchBalances, accountFetch, pass, test } = createFetcher()
      test.claimOf = () => elsewhere
      const outcome = fetchBalances(accountFetch('a'))
      await pass(waitMs)
      test.claimOf = () => claimed
      await pass(30)
      expect(await outcome).toMatchObject(expected)
    }
  })

  test('an account that another process never saves is given up after the deadline of a bank call', async () => {
    const { fetchBalances, accountFetch, pass, test } = createFetcher()
    test.claimOf = () => elsewhere
    const outcome = fetchBalances(accountFetch('a'))
    await pass(1_450)
    expect(await outcome).toMatchObject({ error: { code: 'BANK_TIMEOUT' } })
  })

  test.each([
    { readDeadlineMs: 1_400, leaseMs: 5_000 },
    { readDeadlineMs: 10_000, leaseMs: 13_600 },
  ])('the claim outlasts a bank that may take $readDeadlineMs ms by 3.6 s', async ({ readDeadlineMs, leaseMs }) => {
    const { fetchBalances, accountFetch, statements, test } = createFetcher()
    test.readDeadlineMs = readDeadlineMs
    await fetchBalances(accountFetch('a'))
    expect(statements.map((requests) => requests.map((request) => request.leaseMs))).toEqual([[leaseMs]])
  })

  test('a process waits for another one as long as the bank may take', async () => {
    const { fetchBalances, accountFetch, snapshot, pass, test, waitingCount } = createFetcher()
    test.readDeadlineMs = 3_000
    test.claimOf = () => elsewhere
    const outcomes = [fetchBalances(accountFetch('a')), fetchBalances(accountFetch('b', {}, 'two'))]
    await pass(2_900)
    expect(await waitingCount()).toBe(2)
    test.claimOf = ({ bankAccountKey }) =>
      bankAccountKey === 'a' ? { ...elsewhere, snapshot: snapshot(0) } : elsewhere
    await pass(200)
    expect(await Promise.all(outcomes)).toMatchObject([
      { fetched: { freshness: 'CACHED' } },
      { error: { code: 'BANK_TIMEOUT' } },
    ])
  })

  test('a slow claim does not count as a wait for another process, and the bank is called', async () => {
    const { fetchBalances, accountFetch, pass, test } = createFetcher()
    test.claimTakesMs = 1_000
    const outcome = fetchBalances(accountFetch('a'))
    await pass(1_000)
    expect(await outcome).toMatchObject({ fetched: { freshness: 'LIVE' } })
  })
})
