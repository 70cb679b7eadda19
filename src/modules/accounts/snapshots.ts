import type { Balances } from '../../connectors/index.ts'
import { addMs, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { createBatcher } from '../../kernel/batch.ts'
import { createLoadingCache } from '../../kernel/loading-cache.ts'
import type { Consents, SharedAccount } from '../consents/index.ts'
import type { AccountsDependencies } from './dependencies.ts'
import type { Charge, DisclosureStore } from './disclosure-store.ts'
import {
  buildSettlement,
  canBatch,
  shouldShareFailure,
  notify,
  type FetchFailure,
  type FetchBatch,
  type BalanceFetch,
  type FetchedSnapshot,
  type FetchOutcome,
  type ReadResult,
  type AccountFetch,
} from './balance-fetch.ts'
import type { Snapshot } from './model.ts'
import { snapshotStore, type Claim, type ClaimRequest } from './store.ts'

/** The newest balances of each account at its bank, shared by everybody who asks, whoever it is that shares it. */
export interface Snapshots {
  /** What this process remembers. */
  peek(account: SharedAccount): Snapshot | undefined
  /** What is kept, at once where this process remembers it. */
  find(account: SharedAccount): Snapshot | undefined | Promise<Snapshot | undefined>
  /**
   * Runs `work` on a snapshot that is young enough, while nothing else in this process uses the account's, and keeps what
   * it returns. Where the bank must be asked, it is asked once for all who want it at that moment, in this and all other
   * processes, and for the accounts of one look together; where that fails, `instead` may answer from what is kept,
   * however old, and otherwise it throws what the bank said, to all who waited for it. Where an amount is to be disclosed,
   * one is taken of the account's limit, unless it was disclosed from the same snapshot already, and given back where none
   * comes of it: where none is left, throws `DISCLOSURE_BUDGET_EXHAUSTED`.
   */
  read<A>(
    balanceFetch: BalanceFetch,
    account: SharedAccount,
    read: (fetched: FetchedSnapshot) => ReadResult<A>,
    onFailure: (error: unknown, find: Snapshot) => A | undefined,
  ): Promise<A>
  /** Resolves once all that was used is kept. */
  waitUntilIdle(): Promise<void>
  /** Forgets who was looking long ago; returns how many. */
  deleteStaleClaims(): Promise<number>
}

type SnapshotWrite = Parameters<ReturnType<typeof snapshotStore>['save']>[0][number]

const CACHE_OPTIONS = { maxBytes: 16_777_216, ttlMs: 5 * MINUTE_MS }
/** A process that ends while it looks keeps others from looking for no longer than this. */
const CLAIM_LEASE_MS = 5 * SECOND_MS
/** How long, and how often, to see whether another process has finished looking. */
const POLL = { timeoutMs: 1_400, intervalMs: 20 }
/** Whoever waited for another process that looked in vain looks themselves only if it was for no longer than this. */
const MAX_WAIT_BEFORE_FETCH_MS = 100
/** What banks answered within so long of each other is kept together. Nobody who was answered waits for it. */
const SAVE_DELAY_MS = 20
/** Under load, a moment's patience makes one statement of many: the first comes at once. */
const CLAIM_INTERVAL_MS = 4
/** So many looks go into one statement at most, each with up to a page of accounts. */
const BATCH_LIMIT = { maxBatchSize: 50 }

/** One look at a time per account: whoever comes meanwhile waits, and then finds it kept. */
export function createSnapshots(
  {
    database,
    world,
    seal,
    consents,
    outbox,
  }: Pick<AccountsDependencies, 'database' | 'world' | 'seal' | 'outbox'> & { consents: Pick<Consents, 'callBank'> },
  disclosures: DisclosureStore,
): Snapshots {
  const { clock, log } = world
  const store = snapshotStore(database, seal)
  const cache = createLoadingCache<{ customerId: string; snapshot: Snapshot | undefined }>({
    clock,
    ...CACHE_OPTIONS,
    tagsOf: ({ customerId }) => [customerId],
    coherence: outbox.isConnected,
  })
  outbox.onSignal((signal) => {
    if (signal.kind === 'CONSENT' && signal.customerId !== null) cache.invalidateTag(signal.customerId)
  })
  /** Who uses an account's snapshot: resolved once they are done, with what they asked the bank in vain. */
  const inFlight = new Map<string, Promise<FetchFailure | undefined>>()
  let pendingBatches: FetchBatch[] = []

  const loadSnapshot = createBatcher((ids: readonly string[]) => store.find(ids))
  const claimSnapshots = createBatcher(
    async (groups: readonly (readonly ClaimRequest[])[]): Promise<{ claims: Claim[]; at: Date }[]> => {
      const now = clock.now()
      const claims = await store.claim(groups.flat(), now, CLAIM_LEASE_MS)
      let at = 0
      return groups.map(({ length }) => ({ claims: claims.slice(at, (at += length)), at: now }))
    },
    { ...BATCH_LIMIT, minIntervalMs: CLAIM_INTERVAL_MS },
  )
  const saveSnapshots = createWriteBatcher((seen: readonly SnapshotWrite[]) => store.save(seen), {
    ...BATCH_LIMIT,
    windowMs: SAVE_DELAY_MS,
  })
  const refundCharges = createWriteBatcher((unused: readonly Charge[]) => disclosures.refundExact(unused), BATCH_LIMIT)
  const releaseClaims = createWriteBatcher((ids: readonly string[]) => store.release(ids), BATCH_LIMIT)

  function startBatches(): void {
    const batches = pendingBatches
    const startedAtMs = performance.now()
    pendingBatches = []
    for (const { balanceFetch, accountFetches } of batches) {
      const [ready, blocked]: [AccountFetch[], AccountFetch[]] = [[], []]
      const predecessors: Promise<FetchFailure | undefined>[] = []
      for (const accountFetch of accountFetches.values()) {
        const predecessor = waitForPredecessor(accountFetch)
        if (predecessor) predecessors.push(predecessor)
        ;(predecessor ? blocked : ready).push(accountFetch)
      }
      // Nobody waits for another's turn who has one.
      if (ready.length > 0) void run(balanceFetch, ready)
      if (blocked.length > 0)
        void Promise.all(predecessors).then((failures) =>
          runAfterPredecessors(balanceFetch, blocked, failures, startedAtMs),
        )
    }
  }

  /** The turn before, where there is one. */
  function waitForPredecessor(accountFetch: AccountFetch): Promise<FetchFailure | undefined> | undefined {
    const { bankAccountKey } = accountFetch.account
    const predecessor = inFlight.get(bankAccountKey)
    const current = new Promise<FetchFailure | undefined>((resolve) => {
      accountFetch.finish = (failure) => {
        if (inFlight.get(bankAccountKey) === current) inFlight.delete(bankAccountKey)
        resolve(failure)
      }
    })
    inFlight.set(bankAccountKey, current)
    return predecessor
  }

  /** Whoever waited while a bank was asked in vain shares what came of it: asking again would take as long again. */
  async function runAfterPredecessors(
    balanceFetch: BalanceFetch,
    accountFetches: readonly AccountFetch[],
    failures: readonly (FetchFailure | undefined)[],
    startedAtMs: number,
  ): Promise<void> {
    const epoch = cache.epoch()
    const freshAfter = addMs(clock.now(), -balanceFetch.maxAgeMs)
    const sharedFailures: FetchOutcome[] = []
    const retries: AccountFetch[] = []
    accountFetches.forEach((accountFetch, index) => {
      const failure = failures[index]
      if (!failure || !shouldShareFailure(failure, balanceFetch, startedAtMs, freshAfter))
        return void retries.push(accountFetch)
      accountFetch.cached = failure.cached
      sharedFailures.push({ accountFetch, error: failure.error, failure })
    })
    if (retries.length > 0) void run(balanceFetch, retries)
    if (sharedFailures.length > 0)
      await settle(balanceFetch, await afterLedgerWrite(balanceFetch, sharedFailures), epoch)
  }

  /** The same once the ledger holds it, or why it does not. */
  async function afterLedgerWrite(
    balanceFetch: BalanceFetch,
    outcomes: readonly FetchOutcome[],
  ): Promise<readonly FetchOutcome[]> {
    try {
      await balanceFetch.ledgerWritten
      return outcomes
    } catch (error) {
      return outcomes.map(({ accountFetch }) => ({ accountFetch, error }))
    }
  }

  /** Never rejects: what goes wrong is what its wishes end with. */
  async function run(
    balanceFetch: BalanceFetch,
    accountFetches: readonly AccountFetch[],
    waitingSinceMs?: number,
  ): Promise<void> {
    const epoch = cache.epoch()
    const startedAtMs = performance.now()
    const waitedMs = startedAtMs - (waitingSinceMs ?? startedAtMs)
    const now = clock.now()
    const freshAfter = addMs(now, -balanceFetch.maxAgeMs)
    try {
      await claimAccounts(balanceFetch, accountFetches, freshAfter)
      await balanceFetch.ledgerWritten
    } catch (error) {
      return settle(
        balanceFetch,
        accountFetches.map((accountFetch) => ({ accountFetch, error })),
        epoch,
      )
    }
    const { exactType } = balanceFetch
    const outcomes: FetchOutcome[] = []
    const toFetch: AccountFetch[] = []
    const waiting: AccountFetch[] = []
    for (const accountFetch of accountFetches) {
      const { cached, chargedAt } = accountFetch
      const fresh = cached && cached.fetchedAt > freshAfter ? cached : undefined
      if (exactType !== null && !chargedAt && fresh?.disclosedType !== exactType)
        outcomes.push({ accountFetch, error: new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED') })
      else if (fresh) outcomes.push({ accountFetch, fetched: { snapshot: fresh, freshness: 'CACHED' } })
      else if (accountFetch.hasClaim && waitedMs <= MAX_WAIT_BEFORE_FETCH_MS) toFetch.push(accountFetch)
      else if (accountFetch.hasClaim || waitedMs > POLL.timeoutMs)
        outcomes.push({
          accountFetch,
          error: new GatewayError('BANK_TIMEOUT', { internalMessage: 'another process is fetching' }),
        })
      else waiting.push(accountFetch)
    }
    if (waiting.length > 0)
      setTimeout(() => void run(balanceFetch, waiting, waitingSinceMs ?? startedAtMs), POLL.intervalMs)
    // Nobody waits for a bank whose balance is known.
    if (outcomes.length > 0) void settle(balanceFetch, outcomes, epoch)
    if (toFetch.length > 0) await settle(balanceFetch, await fetchBalances(balanceFetch, toFetch), epoch)
  }

  async function claimAccounts(
    balanceFetch: BalanceFetch,
    accountFetches: readonly AccountFetch[],
    freshAfter: Date,
  ): Promise<void> {
    const { claims, at } = await claimSnapshots(
      accountFetches.map(({ account: { bankAccountKey, disclosureKey }, chargedAt }) => ({
        bankAccountKey,
        disclosureKey,
        freshAfter,
        exactType: chargedAt ? null : balanceFetch.exactType,
      })),
    )
    accountFetches.forEach((accountFetch, index) => {
      const { snapshot, isClaimed, isCharged } = claims[index]!
      accountFetch.cached = snapshot
      accountFetch.hasClaim = isClaimed
      if (isCharged) accountFetch.chargedAt = at
    })
  }

  /** Accounts of one connection: in one call where the bank has such a call and there is more than one. */
  async function fetchBalances(
    { grant, customer }: BalanceFetch,
    accountFetches: readonly AccountFetch[],
  ): Promise<FetchOutcome[]> {
    const toFailure = (accountFetch: AccountFetch, error: unknown): FetchOutcome => {
      const { cached } = accountFetch
      return {
        accountFetch,
        error,
        failure: { error, cached, isCustomerPresent: customer !== null, failedAtMs: performance.now() },
      }
    }
    const ids = accountFetches.map(({ account }) => account.id)
    let responses: readonly (Balances | GatewayError)[]
    try {
      responses = await consents.callBank(grant, ids, async (bank, access, refs) => {
        const bulk = refs.length > 1 ? await bank.bulkBalances?.(access, refs, customer) : undefined
        if (bulk) return refs.map((ref) => bulk.get(ref) ?? new GatewayError('BALANCE_NOT_PROVIDED'))
        const results = await Promise.all(refs.map((ref) => bank.balances(access, ref, customer).catch(toGatewayError)))
        // It is the tokens that the bank refuses, and no account: there may be new ones.
        const areTokensRefused = results.every(
          (response) => response instanceof GatewayError && response.code === 'RECONNECT_REQUIRED',
        )
        if (areTokensRefused) throw toGatewayError(results[0])
        return results
      })
    } catch (error) {
      return accountFetches.map((accountFetch) => toFailure(accountFetch, error))
    }
    const fetchedAt = clock.now()
    return accountFetches.map((accountFetch, index) => {
      const response = responses[index]!
      if (response instanceof GatewayError) return toFailure(accountFetch, response)
      accountFetch.hasClaim = false
      // The next ranges hang on the ones shown before.
      const snapshot = { ...response, fetchedAt, bands: accountFetch.cached?.bands ?? {}, disclosedType: null }
      return { accountFetch, fetched: { snapshot, freshness: 'LIVE' } }
    })
  }

  /** Answers, keeps what was used, and gives back and lets go of what came to nothing. */
  async function settle({ exactType }: BalanceFetch, outcomes: readonly FetchOutcome[], epoch: number): Promise<void> {
    const settlements = outcomes.map((outcome) => buildSettlement(outcome, exactType))
    const unusedCharges = settlements.filter(
      ({ accountFetch, isNewDisclosure }) => accountFetch.chargedAt && !isNewDisclosure,
    )
    for (const settlement of settlements) if (!unusedCharges.includes(settlement)) notify(settlement)
    try {
      // Whoever asks what is left of the limit gets the right answer.
      if (unusedCharges.length > 0)
        await refundCharges(
          unusedCharges.map(({ accountFetch }) => ({
            disclosureKey: accountFetch.account.disclosureKey,
            at: accountFetch.chargedAt!,
          })),
        )
      for (const settlement of unusedCharges) notify(settlement)
      // Nobody who was answered waits for the rest.
      const unfinishedClaims = settlements.flatMap(({ accountFetch }) =>
        accountFetch.hasClaim ? [accountFetch.account.bankAccountKey] : [],
      )
      if (unfinishedClaims.length > 0) await releaseClaims(unfinishedClaims)
      const writes: SnapshotWrite[] = []
      for (const { accountFetch, updatedSnapshot, isSaved } of settlements) {
        if (!updatedSnapshot) continue
        const { bankAccountKey, customerId } = accountFetch.account
        cache.put(bankAccountKey, { customerId, snapshot: updatedSnapshot }, epoch)
        if (!isSaved) writes.push({ bankAccountKey, snapshot: updatedSnapshot })
      }
      if (writes.length > 0) await saveSnapshots(writes)
    } catch (error) {
      for (const { accountFetch } of unusedCharges) for (const { reject } of accountFetch.readers) reject(error)
      log.warn('snapshot.write_failed', { code: toGatewayError(error).code })
    } finally {
      for (const { accountFetch, failure } of settlements) accountFetch.finish(failure)
    }
  }

  return {
    peek: ({ bankAccountKey }) => cache.getIfPresent(bankAccountKey)?.snapshot,

    find({ bankAccountKey, customerId }) {
      const load = async () => ({ customerId, snapshot: await loadSnapshot(bankAccountKey) })
      const found = cache.get(bankAccountKey, load, [customerId])
      return found instanceof Promise ? found.then(({ snapshot }) => snapshot) : found.snapshot
    },

    read: <A>(
      balanceFetch: BalanceFetch,
      account: SharedAccount,
      read: (fetched: FetchedSnapshot) => ReadResult<A>,
      onFailure: (error: unknown, kept: Snapshot) => A | undefined,
    ) =>
      new Promise<A>((resolve, reject) => {
        let batch = pendingBatches.findLast((one) => canBatch(one.balanceFetch, balanceFetch))
        if (!batch) {
          batch = { balanceFetch, accountFetches: new Map() }
          if (pendingBatches.push(batch) === 1) setImmediate(startBatches)
        }
        const { accountFetches } = batch
        let accountFetch = accountFetches.get(account.bankAccountKey)
        if (!accountFetch) {
          accountFetch = {
            account,
            readers: [],
            cached: undefined,
            chargedAt: undefined,
            hasClaim: false,
            finish: () => undefined,
          }
          accountFetches.set(account.bankAccountKey, accountFetch)
        }
        accountFetch.readers.push({ read, onFailure, resolve: resolve as (answer: unknown) => void, reject })
      }),

    async waitUntilIdle() {
      await Promise.all(inFlight.values())
    },

    deleteStaleClaims: () => store.deleteStaleClaims(),
  }
}

/** Does what many ask for in one statement: the parts of all who ask within a moment. */
function createWriteBatcher<T>(
  write: (batches: readonly T[]) => Promise<void>,
  options: { maxBatchSize: number; windowMs?: number },
): (batch: readonly T[]) => Promise<true> {
  return createBatcher(async (batches: readonly (readonly T[])[]) => {
    await write(batches.flat())
    return batches.map(() => true as const)
  }, options)
}
