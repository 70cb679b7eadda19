import { describe, expect, test } from 'vitest'
import { addMs } from '../../src/kernel/clock.ts'
import { GatewayError, type ErrorCode } from '../../src/kernel/errors.ts'
import type { AccountFetch, BalanceFetch, FetchOutcome } from '../../src/modules/accounts/balance-fetch.ts'
import { createFlights, type FlightResult } from '../../src/modules/accounts/flights.ts'
import type { Snapshot } from '../../src/modules/accounts/model.ts'
import type { AccountAccess, SharedAccount } from '../../src/modules/consents/index.ts'
import { createFakeTime } from '../support/fake-time.ts'

const customer = { ip: '192.0.2.1', userAgent: null }
const atConnection = (connectionId: string) => ({ grant: { connectionId } }) as unknown as AccountAccess

/** A fetch whose outcome and end the test decides. */
interface StartedFetch {
  readonly accountFetch: AccountFetch
  /** Passes the outcome to the reads that share it and notifies them; the fetch stays in flight. */
  share(outcome: FetchOutcome): Promise<FlightResult>
  /** Ends the fetch, as if its snapshot was saved. */
  end(): Promise<void>
}

function createFetches() {
  const { clock } = createFakeTime()
  const started: StartedFetch[] = []
  const endings = new Map<AccountFetch, { shared: (result: FlightResult) => void; saved: Promise<true> }>()
  const flights = createFlights({
    clock,
    cacheEpoch: () => 1,
    fetchBalances(accountFetch) {
      const fetched = Promise.withResolvers<FetchOutcome>()
      const shared = Promise.withResolvers<FlightResult>()
      const saved = Promise.withResolvers<true>()
      endings.set(accountFetch, { shared: shared.resolve, saved: saved.promise })
      started.push({
        accountFetch,
        share(outcome) {
          fetched.resolve(outcome)
          return shared.promise
        },
        async end() {
          saved.resolve(true)
          await new Promise(setImmediate)
        },
      })
      return fetched.promise
    },
    complete(accountFetch, result) {
      const { shared, saved } = endings.get(accountFetch)!
      result.notify()
      shared(result)
      return saved
    },
  })
  const snapshotOf = (ageMs = 0, disclosedType: Snapshot['disclosedType'] = null): Snapshot => ({
    balances: [],
    invalidTypes: [],
    bands: {},
    fetchedAt: addMs(clock.now(), -ageMs),
    disclosedType,
  })
  return {
    flights,
    started,
    snapshotOf,
    fetched: (ageMs?: number): FetchOutcome => ({ fetched: { snapshot: snapshotOf(ageMs), freshness: 'LIVE' } }),
    /** Reads an account; the value is what the reads before it disclosed. */
    read(balanceFetch: Partial<BalanceFetch> = {}, account: Partial<SharedAccount> = {}): Promise<unknown> {
      const result = new Promise((resolve, reject) => {
        flights.join({
          account: { bankAccountKey: 'bank/1', disclosureKey: 'bank/number', ...account } as SharedAccount,
          balanceFetch: {
            access: atConnection('one'),
            maxAgeMs: 60_000,
            customer: null,
            exactType: null,
            ledgerWritten: undefined,
            ...balanceFetch,
          },
          disclose: ({ snapshot }) => ({
            value: snapshot.disclosedType,
            snapshot: { ...snapshot, disclosedType: balanceFetch.exactType ?? snapshot.disclosedType },
          }),
          onFailure: (_error, saved) => (saved.disclosedType ? 'SAVED' : undefined),
          resolve,
          reject,
        })
      })
      result.catch(() => undefined)
      return result
    },
  }
}

describe('fetches of one account', () => {
  test('one fetch serves all concurrent reads, and each sees what the one before it disclosed', async () => {
    const { started, fetched, read } = createFetches()
    const reads = [read({ exactType: 'CLOSING_BOOKED' }), read(), read({ exactType: 'CLOSING_BOOKED' })]
    expect(started).toHaveLength(1)
    const result = await started[0]!.share(fetched())
    expect(await Promise.all(reads)).toEqual([null, 'CLOSING_BOOKED', 'CLOSING_BOOKED'])
    expect(result).toMatchObject({
      snapshot: { disclosedType: 'CLOSING_BOOKED' },
      needsSave: true,
      isNewDisclosure: true,
    })
  })

  test('other accounts are fetched at the same time', () => {
    const { started, read } = createFetches()
    void read()
    void read({}, { bankAccountKey: 'bank/2' })
    expect(started.map(({ accountFetch }) => accountFetch.account.bankAccountKey)).toEqual(['bank/1', 'bank/2'])
  })

  test('a read after the outcome waits until it is saved, and then starts the next fetch', async () => {
    const { started, fetched, read } = createFetches()
    void read()
    await started[0]!.share(fetched())
    const late = [read(), read()]
    expect(started).toHaveLength(1)
    await started[0]!.end()
    expect(started).toHaveLength(2)
    await started[1]!.share(fetched())
    expect(await Promise.all(late)).toEqual([null, null])
  })

  test('a read that is not in the ledger yet gets no value, and uses the next fetch once it is', async () => {
    const { started, fetched, read } = createFetches()
    const written = Promise.withResolvers()
    void read({ ledgerWritten: Promise.resolve() })
    let isNotified = false
    const waiting = read({ ledgerWritten: written.promise })
    void waiting.then(() => (isNotified = true))
    await started[0]!.share(fetched())
    await started[0]!.end()
    expect([started.length, isNotified]).toEqual([1, false])
    written.resolve(true)
    await new Promise(setImmediate)
    await started[1]!.share(fetched())
    expect(await waiting).toBeNull()
  })

  test('a read whose ledger entry fails is rejected, even if the fetch succeeds', async () => {
    const { started, fetched, read } = createFetches()
    const first = read({ ledgerWritten: Promise.resolve() })
    const unrecorded = read({ ledgerWritten: Promise.reject(new GatewayError('INTERNAL')) })
    await started[0]!.share(fetched())
    await started[0]!.end()
    expect(await first).toBeNull()
    await expect(unrecorded).rejects.toMatchObject({ code: 'INTERNAL' })
    expect(started).toHaveLength(1)
  })

  test('a read that fails does not affect other reads', async () => {
    const { flights, started, fetched, read } = createFetches()
    const others = [read(), read()]
    const broken = new Promise((resolve, reject) => {
      const disclose = (): never => {
        throw new Error('broken')
      }
      const { account, balanceFetch } = started[0]!.accountFetch
      flights.join({ account, balanceFetch, disclose, onFailure: () => undefined, resolve, reject })
    })
    broken.catch(() => undefined)
    await started[0]!.share(fetched())
    await expect(broken).rejects.toThrow('broken')
    expect(await Promise.all(others)).toEqual([null, null])
  })

  test('idle is reached when the fetches that are in flight have ended', async () => {
    const { flights, started, fetched, read } = createFetches()
    await flights.waitUntilIdle()
    void read()
    let isIdle = false
    const idle = flights.waitUntilIdle().then(() => (isIdle = true))
    await started[0]!.share(fetched())
    await new Promise(setImmediate)
    expect(isIdle).toBe(false)
    await started[0]!.end()
    await idle
  })

  interface Case {
    readonly who: string
    readonly first?: Partial<BalanceFetch>
    readonly other?: Partial<BalanceFetch>
    readonly account?: Partial<SharedAccount>
    readonly error?: ErrorCode
    /** How old the snapshot is that was fetched, or that is saved if the fetch failed. */
    readonly ageMs?: number
    readonly isShared: boolean
  }
  const anotherRequest = { ledgerWritten: Promise.resolve() }
  const exact = { exactType: 'CLOSING_BOOKED' } as const
  test.each<Case>([
    { who: 'another request for the same', other: anotherRequest, isShared: true },
    { who: 'another customer with the same account', other: { access: atConnection('two') }, isShared: true },
    { who: 'a read of bands beside exact values', first: exact, isShared: true },
    {
      who: 'a read of exact values of the same type',
      first: exact,
      other: { ...exact, ...anotherRequest },
      isShared: true,
    },
    { who: 'a read of exact values, for which no disclosure was reserved', other: exact, isShared: false },
    { who: 'exact values of another type', first: exact, other: { exactType: 'EXPECTED' }, isShared: false },
    {
      who: 'exact values that count against another limit',
      first: exact,
      other: { ...exact, ...anotherRequest },
      account: { disclosureKey: 'bank/other' },
      isShared: false,
    },
    { who: 'a read that needs a younger snapshot', other: { maxAgeMs: 1_000 }, ageMs: 2_000, isShared: false },
  ])('the snapshot of $who is shared: $isShared', async ({ first, other, account, ageMs, isShared }) => {
    const { started, fetched, read } = createFetches()
    void read(first)
    const result = read(other, account)
    await new Promise(setImmediate)
    await started[0]!.share(fetched(ageMs))
    await started[0]!.end()
    expect(started).toHaveLength(isShared ? 1 : 2)
    if (isShared) await result
  })

  test.each<Case>([
    { who: 'another request', other: anotherRequest, error: 'BANK_TIMEOUT', isShared: true },
    { who: 'exact values beside bands', other: exact, error: 'BANK_UNAVAILABLE', isShared: true },
    { who: 'a present customer', other: { customer }, error: 'BANK_QUOTA_EXHAUSTED', isShared: false },
    {
      who: 'a read for which what is saved is young enough',
      other: { maxAgeMs: 300_000 },
      error: 'BANK_TIMEOUT',
      isShared: false,
    },
    { who: 'the same request', error: 'RECONNECT_REQUIRED', isShared: true },
    { who: 'another connection', other: { access: atConnection('two') }, error: 'RECONNECT_REQUIRED', isShared: false },
    {
      who: 'another request for the same exact values',
      first: exact,
      other: { ...exact, ...anotherRequest },
      error: 'DISCLOSURE_BUDGET_EXHAUSTED',
      isShared: true,
    },
    { who: 'a read of bands', first: exact, error: 'DISCLOSURE_BUDGET_EXHAUSTED', isShared: false },
    { who: 'another request after the gateway failed', other: anotherRequest, error: 'INTERNAL', isShared: false },
  ])('the error $error is shared with $who: $isShared', async ({ first, other, error, isShared }) => {
    const { started, snapshotOf, read } = createFetches()
    const own = read(first)
    const result = read(other)
    started[0]!.accountFetch.cached = snapshotOf(120_000)
    await started[0]!.share({ error: new GatewayError(error!) })
    await started[0]!.end()
    await expect(own).rejects.toMatchObject({ code: error })
    expect(started).toHaveLength(isShared ? 1 : 2)
    if (isShared) await expect(result).rejects.toMatchObject({ code: error })
  })

  test('a fetch that fails returns the saved snapshot to every read that can use it', async () => {
    const { started, snapshotOf, read } = createFetches()
    const reads = [read(), read(anotherRequest)]
    started[0]!.accountFetch.cached = snapshotOf(120_000, 'CLOSING_BOOKED')
    await started[0]!.share({ error: new GatewayError('BANK_TIMEOUT') })
    expect(await Promise.all(reads)).toEqual(['SAVED', 'SAVED'])
  })
})
