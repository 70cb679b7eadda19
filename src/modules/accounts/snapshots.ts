import { chain } from '../../kernel/maybe-promise.ts'
import { createBatcher, type BatchOptions } from '../../kernel/batch.ts'
import { MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { createLoadingCache, type LoadingCache } from '../../kernel/loading-cache.ts'
import type { Consents, SharedAccount } from '../consents/index.ts'
import type { BalanceFetch, FetchedSnapshot, ReadResult } from './balance-fetch.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { Charge, DisclosureStore } from './disclosure-store.ts'
import { createFetchQueue, type ClaimSnapshots } from './fetch-queue.ts'
import type { Snapshot } from './model.ts'
import type { SettlementTargets } from './settlement.ts'
import { snapshotStore, type ClaimRequest, type SnapshotWrite } from './store.ts'

/** The newest balances of each account at its bank, shared by everybody who asks, whoever it is that shares it. */
export interface Snapshots {
  /** What this process has cached. */
  peek(account: SharedAccount): Snapshot | undefined
  /** What is saved, at once if this process has it cached. */
  find(account: SharedAccount): Snapshot | undefined | Promise<Snapshot | undefined>
  /**
   * Runs `read` on a snapshot that is young enough, while nothing else in this process uses the account's, and saves the one
   * that it returns. If the bank must be asked, it is asked once for all who want it at that moment, in this and all other
   * processes, and for the accounts of one batch together; if that fails, `onFailure` may read what is saved, however old,
   * and otherwise it throws what the bank said, to all who waited for it. If exact balances are to be disclosed, a disclosure
   * is taken of the account's limit, unless they were disclosed from the same snapshot already, and given back if none comes
   * of it: if none is left, throws `DISCLOSURE_BUDGET_EXHAUSTED`.
   */
  read<A>(
    balanceFetch: BalanceFetch,
    account: SharedAccount,
    read: (fetched: FetchedSnapshot) => ReadResult<A>,
    onFailure: (error: unknown, saved: Snapshot) => A | undefined,
  ): Promise<A>
  /** Resolves once all that was read is saved. */
  waitUntilIdle(): Promise<void>
  /** Deletes claims that ended long ago; returns how many. */
  deleteStaleClaims(): Promise<number>
}

/** What snapshots are fetched and saved with. */
export type SnapshotsDependencies = Pick<AccountsDependencies, 'database' | 'world' | 'seal' | 'signals'> & {
  consents: Pick<Consents, 'callBank' | 'addCurrencies'>
}
type SnapshotStore = ReturnType<typeof snapshotStore>
type SnapshotCache = LoadingCache<{ customerId: string; snapshot: Snapshot | undefined }>

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 5 * MINUTE_MS }
/** A process that ends while it fetches keeps others from fetching for no longer than this. */
const CLAIM_LEASE_MS = 5 * SECOND_MS
/** What banks returned within so long of each other is saved together. Nobody who was answered waits for it. */
const SAVE_DELAY_MS = 20
/** Under load, a moment's patience makes one statement of many: the first comes at once. */
const CLAIM_INTERVAL_MS = 4
/** So many batches go into one statement at most, each with up to a page of accounts. */
const BATCH_LIMIT = { maxBatchSize: 50 }

/** One fetch at a time per account: whoever comes meanwhile waits, and then finds it saved. */
export function createSnapshots(dependencies: SnapshotsDependencies, disclosures: DisclosureStore): Snapshots {
  const store = snapshotStore(dependencies.database, dependencies.seal)
  const cache = createSnapshotCache(dependencies)
  const loadSnapshot = createBatcher((ids: readonly string[]) => store.find(ids))
  const queue = createFetchQueue({
    clock: dependencies.world.clock,
    timers: dependencies.world.timers,
    consents: dependencies.consents,
    epochOf: () => cache.epoch(),
    claimSnapshots: createClaimBatcher(store, dependencies.world),
    targets: createTargets(dependencies, store, cache, disclosures),
  })
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
        const { readers } = queue.add(balanceFetch, account)
        readers.push({ read, onFailure, resolve: resolve as (result: unknown) => void, reject })
      }),

    waitUntilIdle: queue.waitUntilIdle,
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

const createClaimBatcher = (store: SnapshotStore, { clock, timers }: SnapshotsDependencies['world']): ClaimSnapshots =>
  createBatcher(
    async (groups: readonly (readonly ClaimRequest[])[]) => {
      const now = clock.now()
      const claims = await store.claim(groups.flat(), now, CLAIM_LEASE_MS)
      let at = 0
      return groups.map(({ length }) => ({ claims: claims.slice(at, (at += length)), at: now }))
    },
    { ...BATCH_LIMIT, spacing: { timers, minIntervalMs: CLAIM_INTERVAL_MS } },
  )

const createTargets = (
  { world, consents }: SnapshotsDependencies,
  store: SnapshotStore,
  cache: SnapshotCache,
  disclosures: DisclosureStore,
): SettlementTargets => ({
  log: world.log,
  addCurrencies: consents.addCurrencies,
  remember: ({ account: { bankAccountKey, customerId } }, snapshot, epoch) =>
    cache.put(bankAccountKey, { customerId, snapshot }, epoch),
  saveSnapshots: createWriteBatcher((writes: readonly SnapshotWrite[]) => store.save(writes), {
    ...BATCH_LIMIT,
    spacing: { timers: world.timers, windowMs: SAVE_DELAY_MS },
  }),
  refundCharges: createWriteBatcher((charges: readonly Charge[]) => disclosures.refundExact(charges), BATCH_LIMIT),
  releaseClaims: createWriteBatcher((keys: readonly string[]) => store.release(keys), BATCH_LIMIT),
})

/** Does what many ask for in one statement: the parts of all who ask within a moment. */
function createWriteBatcher<T>(
  write: (batches: readonly T[]) => Promise<void>,
  options: BatchOptions,
): (batch: readonly T[]) => Promise<true> {
  return createBatcher(async (batches: readonly (readonly T[])[]) => {
    await write(batches.flat())
    return batches.map(() => true as const)
  }, options)
}
