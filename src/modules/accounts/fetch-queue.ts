import { subtractMs, type Clock, type Timers } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { Consents, SharedAccount } from '../consents/index.ts'
import {
  canBatch,
  fetchFromBank,
  shouldShareFailure,
  type AccountFetch,
  type BalanceFetch,
  type FetchBatch,
  type FetchFailure,
  type FetchOutcome,
} from './balance-fetch.ts'
import { settle, type SettlementTargets } from './settlement.ts'
import type { Claim, ClaimRequest } from './store.ts'

/** How long, and how often, to see whether another process has finished fetching. */
const POLL = { timeoutMs: 1_400, intervalMs: 20 }
/** Whoever waited for another process that fetched without success fetches only if it was for no longer than this. */
const MAX_WAIT_BEFORE_FETCH_MS = 100

/** Claims the snapshots of accounts at `at`, those of one call together. */
export type ClaimSnapshots = (requests: readonly ClaimRequest[]) => Promise<{ claims: Claim[]; at: Date }>

/** What a queue works with. */
export interface FetchQueueDependencies {
  readonly clock: Clock
  readonly timers: Timers
  readonly consents: Pick<Consents, 'callBank'>
  /** The epoch of the cache that what is fetched goes into. */
  readonly epochOf: () => number
  readonly claimSnapshots: ClaimSnapshots
  readonly targets: SettlementTargets
}

/** What is to be fetched, account by account: one after the other for each, and in one batch what can be. */
export function createFetchQueue(dependencies: FetchQueueDependencies) {
  /** Who uses an account's snapshot: resolved once they are done, with what they asked the bank without success. */
  const inFlight = new Map<string, Promise<FetchFailure | undefined>>()
  let pendingBatches: FetchBatch[] = []

  function startBatches(): void {
    const batches = pendingBatches
    const startedAtMs = dependencies.timers.monotonicMs()
    pendingBatches = []
    for (const { balanceFetch, accountFetches } of batches) {
      const [ready, blocked]: [AccountFetch[], AccountFetch[]] = [[], []]
      const predecessors: Promise<FetchFailure | undefined>[] = []
      for (const accountFetch of accountFetches.values()) {
        const predecessor = takeTurn(inFlight, accountFetch)
        if (predecessor) predecessors.push(predecessor)
        ;(predecessor ? blocked : ready).push(accountFetch)
      }
      // Nobody waits for another's turn who has one.
      if (ready.length > 0) void runFetch(dependencies, balanceFetch, ready)
      if (blocked.length > 0)
        void Promise.all(predecessors).then((failures) =>
          runAfterPredecessors(dependencies, balanceFetch, blocked, failures, startedAtMs),
        )
    }
  }

  return {
    /** The fetch of an account, in a batch with others that it can be fetched with; it starts in a moment. */
    add(balanceFetch: BalanceFetch, account: SharedAccount): AccountFetch {
      let batch = pendingBatches.findLast((one) => canBatch(one.balanceFetch, balanceFetch))
      if (!batch) {
        batch = { balanceFetch, accountFetches: new Map() }
        if (pendingBatches.push(batch) === 1) setImmediate(startBatches)
      }
      const { accountFetches } = batch
      let accountFetch = accountFetches.get(account.bankAccountKey)
      if (!accountFetch) {
        const state = { cached: undefined, chargedAt: undefined, hasClaim: false, finish: () => undefined }
        accountFetch = { account, access: balanceFetch.access, readers: [], ...state }
        accountFetches.set(account.bankAccountKey, accountFetch)
      }
      return accountFetch
    },

    async waitUntilIdle(): Promise<void> {
      await Promise.all(inFlight.values())
    },
  }
}

/** Takes the next turn of the account; returns the end of the one before, if there is one. */
function takeTurn(
  inFlight: Map<string, Promise<FetchFailure | undefined>>,
  accountFetch: AccountFetch,
): Promise<FetchFailure | undefined> | undefined {
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

/** Whoever waited while a bank was asked without success shares what came of it: asking again would take as long again. */
async function runAfterPredecessors(
  dependencies: FetchQueueDependencies,
  balanceFetch: BalanceFetch,
  accountFetches: readonly AccountFetch[],
  failures: readonly (FetchFailure | undefined)[],
  startedAtMs: number,
): Promise<void> {
  const { clock, epochOf, targets } = dependencies
  const epoch = epochOf()
  const freshAfter = subtractMs(clock.now(), balanceFetch.maxAgeMs)
  const sharedFailures: FetchOutcome[] = []
  const retries: AccountFetch[] = []
  accountFetches.forEach((accountFetch, index) => {
    const failure = failures[index]
    if (!failure || !shouldShareFailure(failure, balanceFetch, startedAtMs, freshAfter))
      return void retries.push(accountFetch)
    accountFetch.cached = failure.cached
    sharedFailures.push({ accountFetch, error: failure.error, failure })
  })
  if (retries.length > 0) void runFetch(dependencies, balanceFetch, retries)
  if (sharedFailures.length > 0)
    await settle(targets, balanceFetch, await afterLedgerWrite(balanceFetch, sharedFailures), epoch)
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

/** Claims accounts, and fetches what is claimed. Never rejects: what goes wrong is what the fetches end with. */
async function runFetch(
  dependencies: FetchQueueDependencies,
  balanceFetch: BalanceFetch,
  accountFetches: readonly AccountFetch[],
  waitingSinceMs?: number,
): Promise<void> {
  const { clock, timers, epochOf, targets, claimSnapshots } = dependencies
  const epoch = epochOf()
  const startedAtMs = timers.monotonicMs()
  const waitedMs = startedAtMs - (waitingSinceMs ?? startedAtMs)
  const freshAfter = subtractMs(clock.now(), balanceFetch.maxAgeMs)
  try {
    await claimAccounts(claimSnapshots, balanceFetch, accountFetches, freshAfter)
    await balanceFetch.ledgerWritten
  } catch (error) {
    const outcomes = accountFetches.map((accountFetch) => ({ accountFetch, error }))
    return settle(targets, balanceFetch, outcomes, epoch)
  }
  const { outcomes, toFetch, waiting } = sortByClaim(balanceFetch, accountFetches, freshAfter, waitedMs)
  if (waiting.length > 0)
    timers.setTimeout(
      () => void runFetch(dependencies, balanceFetch, waiting, waitingSinceMs ?? startedAtMs),
      POLL.intervalMs,
    )
  // Nobody waits for a bank whose balance is known.
  if (outcomes.length > 0) void settle(targets, balanceFetch, outcomes, epoch)
  if (toFetch.length > 0)
    await settle(targets, balanceFetch, await fetchFromBank(dependencies, balanceFetch, toFetch), epoch)
}

async function claimAccounts(
  claimSnapshots: ClaimSnapshots,
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

/** What is known already, what is to be fetched from the bank, and what another process is fetching. */
function sortByClaim(
  { exactType }: BalanceFetch,
  accountFetches: readonly AccountFetch[],
  freshAfter: Date,
  waitedMs: number,
): { outcomes: FetchOutcome[]; toFetch: AccountFetch[]; waiting: AccountFetch[] } {
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
  return { outcomes, toFetch, waiting }
}
