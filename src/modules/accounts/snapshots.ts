import { createBatcher, type BatchOptions } from '../../kernel/batch.ts'
import { MINUTE_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { createLoadingCache, type LoadingCache } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents, SharedAccount } from '../consents/index.ts'
import { createBalanceFetcher, type AccountFetch, type BalanceFetch, type FetchedSnapshot } from './balance-fetch.ts'
import { newCurrencies } from './currencies.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { DisclosureReservation, DisclosureStore } from './disclosure-store.ts'
import { createFlights, type Disclosure, type FlightResult } from './flights.ts'
import type { Snapshot } from './model.ts'
import { snapshotStore, type ClaimRelease, type SnapshotStore, type SnapshotWrite } from './store.ts'

/** The newest balances of each account, shared by all readers of the account at its bank. */
export interface Snapshots {
  /** What this process has cached. */
  peek(account: SharedAccount): Snapshot | undefined
  /** What is saved, synchronously if this process has it cached. */
  find(account: SharedAccount): MaybePromise<Snapshot | undefined>
  /**
   * Calls `disclose` with a snapshot that is young enough and saves the one that it returns. Reads of one account run one after
   * the other, so that each sees the snapshot that the one before returned. An account is fetched once for all reads that need
   * it at that moment, in all processes, and together with the other accounts of the request at the same connection. If the
   * fetch fails, `onFailure` may return a value from what is saved, however old; otherwise the error of the bank is thrown to all
   * of these reads. If exact values are to be disclosed, one disclosure is reserved against the account's limit, unless they were
   * already disclosed from the same snapshot, and released if `disclose` discloses none. If none is left, throws
   * `DISCLOSURE_BUDGET_EXHAUSTED`.
   */
  read<A>(
    balanceFetch: BalanceFetch,
    account: SharedAccount,
    disclose: (fetched: FetchedSnapshot) => Disclosure<A>,
    onFailure: (error: unknown, saved: Snapshot) => A | undefined,
  ): Promise<A>
  /** Resolves when everything that was read is saved. */
  waitUntilIdle(): Promise<void>
  /** Deletes claims that ended long ago; returns how many. */
  deleteStaleClaims(): Promise<number>
}

/** What snapshots are fetched and saved with. */
export type SnapshotsDependencies = Pick<
  AccountsDependencies,
  'database' | 'world' | 'seal' | 'signals' | 'metrics'
> & {
  banks: Pick<Banks, 'readDeadlineMs'>
  consents: Pick<Consents, 'callBank' | 'addCurrencies'>
}
type SnapshotCache = LoadingCache<{ customerId: string; snapshot: Snapshot | undefined }>

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 5 * MINUTE_MS }
/** What banks return within this time is saved in one statement. No response waits for it. */
const SAVE_DELAY_MS = 20
const MAX_WRITES_PER_STATEMENT = 1_000

/** Fetches each account once for all reads that need it at that moment, and saves what was fetched. */
export function createSnapshots(dependencies: SnapshotsDependencies, disclosures: DisclosureStore): Snapshots {
  const { clock, timers } = dependencies.world
  const store = snapshotStore(dependencies.database, dependencies.seal)
  const cache = createSnapshotCache(dependencies)
  const loadSnapshot = createBatcher((ids: readonly string[]) => store.find(ids))
  const fetchBalances = createBalanceFetcher({
    clock,
    timers,
    banks: dependencies.banks,
    consents: dependencies.consents,
    store,
    metrics: dependencies.metrics,
  })
  const complete = createCompletion(dependencies, store, cache, disclosures)
  const flights = createFlights({ clock, cacheEpoch: () => cache.epoch(), fetchBalances, complete })
  return {
    peek: ({ bankAccountKey }) => cache.getIfPresent(bankAccountKey)?.snapshot,

    find({ bankAccountKey, customerId }) {
      const load = async () => ({ customerId, snapshot: await loadSnapshot(bankAccountKey) })
      return chain(cache.get(bankAccountKey, load, [customerId]), ({ snapshot }) => snapshot)
    },

    read: <A>(
      balanceFetch: BalanceFetch,
      account: SharedAccount,
      disclose: (fetched: FetchedSnapshot) => Disclosure<A>,
      onFailure: (error: unknown, saved: Snapshot) => A | undefined,
    ) =>
      new Promise<A>((resolve, reject) => {
        flights.join({
          account,
          balanceFetch,
          disclose,
          onFailure,
          resolve: resolve as (value: unknown) => void,
          reject,
        })
      }),

    waitUntilIdle: flights.waitUntilIdle,
    deleteStaleClaims: () => store.deleteStaleClaims(),
  }
}

function createSnapshotCache({ world, signals }: SnapshotsDependencies): SnapshotCache {
  const cache: SnapshotCache = createLoadingCache({
    clock: world.clock,
    ...CACHE_OPTIONS,
    tagsOf: ({ customerId }) => [customerId],
    coherence: signals.coherence,
  })
  signals.onSignal((signal) => {
    if (signal.kind === 'CONSENT' && signal.customerId !== null) cache.invalidateTag(signal.customerId)
  })
  return cache
}

/**
 * Returns a function that completes a flight: it notifies the reads, saves what was fetched, releases a reserved disclosure if
 * nothing was disclosed, and releases a claim for which nothing was fetched. It never rejects.
 */
function createCompletion(
  { world: { timers, log }, consents }: SnapshotsDependencies,
  store: SnapshotStore,
  cache: SnapshotCache,
  disclosures: DisclosureStore,
) {
  const options = { maxBatchSize: MAX_WRITES_PER_STATEMENT }
  const releaseDisclosure = createWriter(
    (reservations: readonly DisclosureReservation[]) => disclosures.releaseExact(reservations),
    options,
  )
  const releaseClaim = createWriter((claims: readonly ClaimRelease[]) => store.releaseClaims(claims), options)
  const save = createWriter((writes: readonly SnapshotWrite[]) => store.save(writes), {
    ...options,
    spacing: { timers, windowMs: SAVE_DELAY_MS },
  })

  return async function complete(
    { account, disclosureReservedAt, claimedUntil }: AccountFetch,
    { notify, fail, snapshot, needsSave, isNewDisclosure }: FlightResult,
    cacheEpoch: number,
  ): Promise<void> {
    const { bankAccountKey, customerId, disclosureKey } = account
    try {
      // A client that has the result, and then reads what is left of the limit, must see the release.
      if (disclosureReservedAt && !isNewDisclosure) await releaseDisclosure({ disclosureKey, at: disclosureReservedAt })
      // No response waits for the rest.
      notify()
      if (claimedUntil) await releaseClaim({ bankAccountKey, claimedUntil })
      if (!snapshot) return
      cache.put(bankAccountKey, { customerId, snapshot }, cacheEpoch)
      if (needsSave) await save({ bankAccountKey, snapshot })
      const added = newCurrencies(account, snapshot)
      if (added.length > 0) await consents.addCurrencies(account, added)
    } catch (error) {
      fail(error)
      log.warn('snapshot.write_failed', { code: toGatewayError(error).code })
    }
  }
}

/** Writes items of many fetches in one statement. */
function createWriter<T>(
  write: (items: readonly T[]) => Promise<void>,
  options: BatchOptions,
): (item: T) => Promise<true> {
  return createBatcher(async (items: readonly T[]) => {
    await write(items)
    return items.map(() => true as const)
  }, options)
}
