import type { Balances } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { createBatcher } from '../../kernel/batch.ts'
import { subtractMs, type Clock, type Timers } from '../../kernel/clock.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { isPromise } from '../../kernel/maybe-promise.ts'
import type { PresentCustomer, RequestContext } from '../../kernel/request-context.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { Banks } from '../banks/index.ts'
import type { AccountAccess, Consents, SharedAccount } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Freshness, Snapshot } from './model.ts'
import type { ClaimRequest, SnapshotStore } from './store.ts'

/** What a request wants to read of an account, and by which right. */
export interface BalanceFetch {
  readonly access: AccountAccess
  /** A snapshot that is younger than this is not fetched again, in milliseconds. */
  readonly maxAgeMs: number
  /** `null` if the customer is not present. */
  readonly customer: PresentCustomer | null
  /** The type of balance of which exact values are to be disclosed; `null` if none are. */
  readonly exactType: BalanceType | null
  /** Resolves when the read is in the ledger. Before that, no bank is called and nothing is disclosed. */
  readonly ledgerWritten: Promise<unknown> | undefined
}

/** The fetch of one account, for the read that needed it first. */
export interface AccountFetch {
  readonly account: SharedAccount
  readonly balanceFetch: BalanceFetch
  /** How long it had waited for another process when it last claimed the account, in milliseconds. */
  waitedMs: number
  /** The saved snapshot, however old. */
  cached: Snapshot | undefined
  /** When a disclosure was reserved against the account's limit; absent if none was. */
  disclosureReservedAt: Date | undefined
  /** The claim of this process, if there is one that saving a snapshot will not end: it must be released. */
  claimedUntil: Date | null
}

/** A snapshot, and whether it was fetched for this read. */
export interface FetchedSnapshot {
  readonly snapshot: Snapshot
  readonly freshness: Exclude<Freshness, 'STALE'>
}

/** How a fetch ends: with a snapshot that is young enough, or with the reason why there is none. */
export type FetchOutcome = { readonly fetched: FetchedSnapshot } | { readonly error: unknown }

/** The accounts of one connection that one request fetches together. */
interface ConnectionFetch {
  readonly accountFetches: AccountFetch[]
  /** One for each account, in the same order; absent until the call starts. */
  outcomes: Promise<readonly FetchOutcome[]> | undefined
}

/** An account that is to be claimed. */
interface ClaimAttempt {
  readonly accountFetch: AccountFetch
  /** The deadline of a read at the account's bank, in milliseconds. */
  readonly readDeadlineMs: number
}

/** What follows from a claim: the outcome, a call to the bank, or another claim in a moment, because another process fetches. */
type NextStep = FetchOutcome | { readonly call: ConnectionFetch; readonly index: number } | 'POLL'

/** What balances are fetched with. */
export interface BalanceFetcherDependencies {
  readonly clock: Clock
  readonly timers: Timers
  readonly banks: Pick<Banks, 'readDeadlineMs'>
  readonly consents: Pick<Consents, 'callBank'>
  readonly store: Pick<SnapshotStore, 'claim'>
  readonly metrics: Pick<Metrics, 'balanceFetchesWaiting'>
}

/**
 * How long a claim outlasts the deadline of the bank: for the ledger, the tokens and saving. A process that ends while it fetches
 * keeps others from fetching until then.
 */
const CLAIM_MARGIN_MS = 3_600
/** Under load, several requests share a statement; the first starts at once. */
const CLAIM_INTERVAL_MS = 4
const MAX_CLAIMS_PER_STATEMENT = 1_000
/** Maximum wait for another process after which this process may still fetch. */
const MAX_WAIT_BEFORE_FETCH_MS = 100

/** The fetch of a request, with its entry in the ledger. */
export const startBalanceFetch = (
  ledger: Pick<Ledger, 'commitReads'>,
  access: AccountAccess,
  context: RequestContext,
  { maxAgeMs, exactType }: Pick<BalanceFetch, 'maxAgeMs' | 'exactType'>,
): BalanceFetch => ({
  access,
  maxAgeMs,
  exactType,
  customer: context.customer,
  ledgerWritten: ledger.commitReads(context),
})

/** Whether a later call to the bank may succeed. Until then, an older balance is better than none. */
export function isTemporary(error: unknown): boolean {
  const { category, retryable } = toGatewayError(error).definition
  return category === 'BANK' && retryable
}

/** Whether two fetches of one account have equal parameters. */
export const isSameFetch = (one: BalanceFetch, other: BalanceFetch): boolean =>
  canShareCall(one, other) && one.exactType === other.exactType && one.maxAgeMs === other.maxAgeMs

/** Whether accounts can be fetched in one call: for one request, at one connection. */
const canShareCall = (one: BalanceFetch, other: BalanceFetch): boolean =>
  one.ledgerWritten === other.ledgerWritten &&
  one.access.grant.connectionId === other.access.grant.connectionId &&
  one.customer === other.customer

/**
 * Returns a function that fetches an account: from the database if what is saved is young enough, otherwise from the bank. The
 * accounts of all requests are claimed in one statement, so that each is fetched by one process. It never rejects.
 */
export function createBalanceFetcher(dependencies: BalanceFetcherDependencies) {
  const { clock, timers, banks, store, metrics } = dependencies

  const claim = createBatcher(
    async (attempts: readonly ClaimAttempt[]): Promise<readonly NextStep[]> => {
      const now = clock.now()
      const requests = attempts.map((attempt) => toClaimRequest(attempt, now))
      const claims = await store.claim(requests, now)
      const calls: ConnectionFetch[] = []
      return attempts.map(({ accountFetch, readDeadlineMs }, index): NextStep => {
        const { snapshot, claimedUntil, isDisclosureReserved } = claims[index]!
        accountFetch.cached = snapshot
        accountFetch.claimedUntil = claimedUntil
        if (isDisclosureReserved) accountFetch.disclosureReservedAt = now
        const step = stepAfterClaim(accountFetch, now, Math.max(RETRIES.fetchByOthers.timeoutMs, readDeadlineMs))
        return step === 'FETCH' ? addToCall(calls, accountFetch) : step
      })
    },
    { maxBatchSize: MAX_CLAIMS_PER_STATEMENT, spacing: { timers, minIntervalMs: CLAIM_INTERVAL_MS } },
  )

  return async function fetchBalances(accountFetch: AccountFetch): Promise<FetchOutcome> {
    const { balanceFetch } = accountFetch
    let isWaiting = false
    const setWaiting = (value: boolean): void => {
      if (value && !isWaiting) metrics.balanceFetchesWaiting.inc()
      if (!value && isWaiting) metrics.balanceFetchesWaiting.dec()
      isWaiting = value
    }
    try {
      const deadlineMs = banks.readDeadlineMs(accountFetch.account.bankId)
      const readDeadlineMs = isPromise(deadlineMs) ? await deadlineMs : deadlineMs
      const startedAtMs = timers.monotonicMs()
      for (;;) {
        // Measured before the claim: a slow statement is no wait for another process.
        accountFetch.waitedMs = timers.monotonicMs() - startedAtMs
        const step = await claim({ accountFetch, readDeadlineMs })
        await balanceFetch.ledgerWritten
        setWaiting(step === 'POLL')
        if (step === 'POLL') await timers.sleep(RETRIES.fetchByOthers.delaysMs[0])
        else if (!('call' in step)) return step
        else {
          step.call.outcomes ??= fetchFromBank(dependencies, balanceFetch.customer, step.call.accountFetches)
          return (await step.call.outcomes)[step.index]!
        }
      }
    } catch (error) {
      return { error }
    } finally {
      setWaiting(false)
    }
  }
}

const toClaimRequest = ({ accountFetch, readDeadlineMs }: ClaimAttempt, now: Date): ClaimRequest => {
  const { account, balanceFetch, disclosureReservedAt } = accountFetch
  return {
    bankAccountKey: account.bankAccountKey,
    disclosureKey: account.disclosureKey,
    freshAfter: subtractMs(now, balanceFetch.maxAgeMs),
    exactType: disclosureReservedAt ? null : balanceFetch.exactType,
    leaseMs: readDeadlineMs + CLAIM_MARGIN_MS,
  }
}

function stepAfterClaim(
  { balanceFetch: { exactType, maxAgeMs }, waitedMs, cached, disclosureReservedAt, claimedUntil }: AccountFetch,
  now: Date,
  waitLimitMs: number,
): FetchOutcome | 'FETCH' | 'POLL' {
  const fresh = cached && cached.fetchedAt > subtractMs(now, maxAgeMs) ? cached : undefined
  if (exactType !== null && !disclosureReservedAt && fresh?.disclosedType !== exactType)
    return { error: new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED') }
  if (fresh) return { fetched: { snapshot: fresh, freshness: 'CACHED' } }
  if (claimedUntil && waitedMs <= MAX_WAIT_BEFORE_FETCH_MS) return 'FETCH'
  return claimedUntil || waitedMs > waitLimitMs
    ? { error: new GatewayError('BANK_TIMEOUT', { internalMessage: 'another process is fetching' }) }
    : 'POLL'
}

/** Adds an account to the call of its request and connection. */
function addToCall(calls: ConnectionFetch[], accountFetch: AccountFetch): NextStep {
  let call = calls.findLast(({ accountFetches: [first] }) =>
    canShareCall(first!.balanceFetch, accountFetch.balanceFetch),
  )
  if (!call) calls.push((call = { accountFetches: [], outcomes: undefined }))
  return { call, index: call.accountFetches.push(accountFetch) - 1 }
}

/** Fetches accounts of one connection: in one call if the bank has such a call and there is more than one. Never rejects. */
async function fetchFromBank(
  { consents, clock }: Pick<BalanceFetcherDependencies, 'consents' | 'clock'>,
  customer: PresentCustomer | null,
  accountFetches: readonly AccountFetch[],
): Promise<readonly FetchOutcome[]> {
  let responses: readonly (Balances | GatewayError)[]
  try {
    const accesses = accountFetches.map(({ balanceFetch }) => balanceFetch.access)
    responses = await consents.callBank(accesses, async (bank, access, refs) => {
      const bulk = refs.length > 1 ? await bank.bulkBalances?.(access, refs, customer) : undefined
      if (bulk) return refs.map((ref) => bulk.get(ref) ?? new GatewayError('BALANCE_NOT_PROVIDED'))
      const results = await Promise.all(refs.map((ref) => bank.balances(access, ref, customer).catch(toGatewayError)))
      // A bank that rejects every account rejects the tokens: `callBank` may get new ones.
      const areTokensRejected = results.every(
        (response) => response instanceof GatewayError && response.code === 'RECONNECT_REQUIRED',
      )
      if (areTokensRejected) throw toGatewayError(results[0])
      return results
    })
  } catch (error) {
    return accountFetches.map(() => ({ error }))
  }
  const fetchedAt = clock.now()
  return accountFetches.map((accountFetch, index) => {
    const response = responses[index]!
    if (response instanceof GatewayError) return { error: response }
    accountFetch.claimedUntil = null
    // The next bands depend on the ones that were disclosed before.
    const snapshot = { ...response, fetchedAt, bands: accountFetch.cached?.bands ?? {}, disclosedType: null }
    return { fetched: { snapshot, freshness: 'LIVE' } }
  })
}
