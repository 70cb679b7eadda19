import { createBatcher, type BatchOptions } from '../../kernel/batch.ts'
import { MINUTE_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { createLoadingCache, type LoadingCache } from '../../kernel/loading-cache.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { Consents, SharedAccount } from '../consents/index.ts'
import {
  createBalanceFetcher,
  type AccountFetch,
  type BalanceFetch,
  type FetchedSnapshot,
  type FetchOutcome,
} from './balance-fetch.ts'
import { newCurrencies } from './currencies.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { Charge, DisclosureStore } from './disclosure-store.ts'
import type { Snapshot } from './model.ts'
import { serve, sharesOutcome, whenRecorded, type Reader, type ReadResult } from './readers.ts'
import { snapshotStore, type SnapshotStore, type SnapshotWrite } from './store.ts'

/** The newest balances of each account at its bank, shared by everybody who reads them, whoever shares the account. */
export interface Snapshots {
  /** What this process has cached. */
  peek(account: SharedAccount): Snapshot | undefined
  /** What is saved, synchronously if this process has it cached. */
  find(account: SharedAccount): MaybePromise<Snapshot | undefined>
  /**
   * Calls `read` with a snapshot that is young enough and saves the one that it returns. Reads of one account run one after the
   * other, so that each sees the snapshot that the one before returned. An account is fetched once for everybody who needs it
   * at that moment, in all processes, and together with the other accounts of the request at the same connection. If the fetch
   * fails, `onFailure` may return a value from what is saved, however old; otherwise the error of the bank is thrown, to
   * everybody who waited for the same. If exact values are to be disclosed, one disclosure is charged to the account's limit,
   * unless they were already disclosed from the same snapshot, and refunded if `read` discloses none. If none is left, throws
   * `DISCLOSURE_BUDGET_EXHAUSTED`.
   */
  read<A>(
    balanceFetch: BalanceFetch,
    account: SharedAccount,
    read: (fetched: FetchedSnapshot) => ReadResult<A>,
    onFailure: (error: unknown, saved: Snapshot) => A | undefined,
  ): Promise<A>
  /** Resolves when everything that was read is saved. */
  waitUntilIdle(): Promise<void>
  /** Deletes claims that ended long ago; returns how many. */
  deleteStaleClaims(): Promise<number>
}

/** What snapshots are fetched and saved with. */
export type SnapshotsDependencies = Pick<AccountsDependencies, 'database' | 'world' | 'seal' | 'signals'> & {
  consents: Pick<Consents, 'callBank' | 'addCurrencies'>
}
type SnapshotCache = LoadingCache<{ customerId: string; snapshot: Snapshot | undefined }>

/** The fetch of an account that is in flight, until its snapshot is saved. */
interface Flight extends AccountFetch {
  /** Whoever waits for it, the one it was started for first. */
  readers: Reader[]
  /** The epoch of the cache when it started. */
  readonly epoch: number
  ended: Promise<unknown>
}

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 5 * MINUTE_MS }
/** What banks return within this time is saved in one statement. No response waits for it. */
const SAVE_DELAY_MS = 20
const MAX_WRITES_PER_STATEMENT = 1_000

/** One fetch at a time for each account: whoever needs the account meanwhile shares it, or starts another when it has ended. */
export function createSnapshots(dependencies: SnapshotsDependencies, disclosures: DisclosureStore): Snapshots {
  const { clock, timers } = dependencies.world
  const store = snapshotStore(dependencies.database, dependencies.seal)
  const cache = createSnapshotCache(dependencies)
  const loadSnapshot = createBatcher((ids: readonly string[]) => store.find(ids))
  const fetchBalances = createBalanceFetcher({ clock, timers, consents: dependencies.consents, store })
  const settle = createSettling(dependencies, store, cache, disclosures)
  /** By `bankAccountKey`. */
  const inFlight = new Map<string, Flight>()

  function join(reader: Reader): void {
    const flight = inFlight.get(reader.account.bankAccountKey)
    if (!flight) {
      startFlight(reader)
      return
    }
    flight.readers.push(reader)
    const { ledgerWritten } = reader.balanceFetch
    // The flight itself waits for the ledger of its first reader.
    reader.isRecorded = ledgerWritten === undefined || ledgerWritten === flight.balanceFetch.ledgerWritten
    if (!reader.isRecorded) whenRecorded(reader, () => (reader.isRecorded = true))
  }

  function startFlight(reader: Reader): void {
    const { account, balanceFetch } = reader
    const flight: Flight = {
      account,
      balanceFetch,
      readers: [reader],
      startedAtMs: timers.monotonicMs(),
      epoch: cache.epoch(),
      cached: undefined,
      chargedAt: undefined,
      hasClaim: false,
      ended: Promise.resolve(),
    }
    inFlight.set(account.bankAccountKey, flight)
    flight.ended = fetchBalances(flight)
      .then((outcome) => settle(flight, outcome))
      .then(() => {
        inFlight.delete(account.bankAccountKey)
        for (const remaining of flight.readers)
          whenRecorded(remaining, () => {
            join(remaining)
          })
      })
  }

  return {
    peek: ({ bankAccountKey }) => cache.getIfPresent(bankAccountKey)?.snapshot,

    find({ bankAccountKey, customerId }) {
      const load = async () => ({ customerId, snapshot: await loadSnapshot(bankAccountKey) })
      return chain(cache.get(bankAccountKey, load, [customerId]), ({ snapshot }) => snapshot)
    },

    read: <A>(
      balanceFetch: BalanceFetch,
      account: SharedAccount,
      read: (fetched: FetchedSnapshot) => ReadResult<A>,
      onFailure: (error: unknown, saved: Snapshot) => A | undefined,
    ) =>
      new Promise<A>((resolve, reject) => {
        const notify = resolve as (value: unknown) => void
        join({ account, balanceFetch, read, onFailure, resolve: notify, reject, isRecorded: true })
      }),

    async waitUntilIdle() {
      while (inFlight.size > 0) await Promise.all([...inFlight.values()].map(({ ended }) => ended))
    },

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
 * Returns a function that ends a flight: it notifies the readers that share the outcome, saves what was fetched, refunds a charge
 * that was not used and releases a claim that is left. The readers that remain need a flight of their own. It never rejects.
 */
function createSettling(
  { world: { clock, timers, log }, consents }: SnapshotsDependencies,
  store: SnapshotStore,
  cache: SnapshotCache,
  disclosures: DisclosureStore,
) {
  const options = { maxBatchSize: MAX_WRITES_PER_STATEMENT }
  const refund = createWriter((charges: readonly Charge[]) => disclosures.refundExact(charges), options)
  const release = createWriter((keys: readonly string[]) => store.release(keys), options)
  const save = createWriter((writes: readonly SnapshotWrite[]) => store.save(writes), {
    ...options,
    spacing: { timers, windowMs: SAVE_DELAY_MS },
  })

  return async function settle(flight: Flight, outcome: FetchOutcome): Promise<void> {
    const { account, chargedAt, epoch } = flight
    const { bankAccountKey, customerId, disclosureKey } = account
    const now = clock.now()
    const [sharing, remaining]: [Reader[], Reader[]] = [[], []]
    for (const reader of flight.readers)
      (sharesOutcome(flight, outcome, reader, now) ? sharing : remaining).push(reader)
    // Whoever joins from now on is too late to share the outcome.
    flight.readers = remaining
    const { callbacks, snapshot, isSaved, isNewDisclosure } = serve(flight, outcome, sharing)
    const notify = (): void => callbacks.forEach((callback) => callback())
    try {
      // A customer who reads what is left of the limit next sees the refund.
      if (chargedAt && !isNewDisclosure) await refund({ disclosureKey, at: chargedAt })
      // No response waits for the rest.
      notify()
      if (flight.hasClaim) await release(bankAccountKey)
      if (!snapshot) return
      cache.put(bankAccountKey, { customerId, snapshot }, epoch)
      if (!isSaved) await save({ bankAccountKey, snapshot })
      const added = newCurrencies(account, snapshot)
      if (added.length > 0) await consents.addCurrencies(account, added)
    } catch (error) {
      for (const { reject } of sharing) reject(error)
      log.warn('snapshot.write_failed', { code: toGatewayError(error).code })
    }
  }
}

/** Writes items of many flights in one statement. */
function createWriter<T>(
  write: (items: readonly T[]) => Promise<void>,
  options: BatchOptions,
): (item: T) => Promise<true> {
  return createBatcher(async (items: readonly T[]) => {
    await write(items)
    return items.map(() => true as const)
  }, options)
}
