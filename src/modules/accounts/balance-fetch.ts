import type { Balances } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { Clock, Timers } from '../../kernel/clock.ts'
import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import type { PresentCustomer, RequestContext } from '../../kernel/request-context.ts'
import type { AccountAccess, Consents, SharedAccount } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Freshness, Snapshot } from './model.ts'

/** What accounts that are asked about in one breath have in common. */
export interface BalanceFetch {
  readonly access: AccountAccess
  /** A snapshot that is younger than this will do, in milliseconds. */
  readonly maxAgeMs: number
  readonly customer: PresentCustomer | null
  /** The kind of balance whose amount is to be told of each; nothing where none is. */
  readonly exactType: BalanceType | null
  /** Resolves once the ledger holds it: before that, no bank is asked and nothing is told. */
  readonly ledgerWritten: Promise<unknown> | undefined
}

/** A snapshot, and whether it was fetched for whoever asks. */
export interface FetchedSnapshot {
  readonly snapshot: Snapshot
  readonly freshness: Exclude<Freshness, 'STALE'>
}

/** What is answered from a snapshot, and the snapshot with what was told of it. */
export interface ReadResult<A> {
  readonly value: A
  readonly snapshot: Snapshot
}

/** Somebody who uses a snapshot. */
export interface SnapshotReader {
  readonly read: (fetched: FetchedSnapshot) => ReadResult<unknown>
  readonly onFailure: (error: unknown, cached: Snapshot) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** One account of a look: who uses its snapshot, one after the other, and what was found so far. */
export interface AccountFetch {
  readonly account: SharedAccount
  readonly access: AccountAccess
  readonly readers: SnapshotReader[]
  cached: Snapshot | undefined
  /** When an amount was taken of the account's limit. */
  chargedAt: Date | undefined
  /** Whether there is a claim that nothing has come of yet. */
  hasClaim: boolean
  /** Lets the next one use the account's snapshot, and tells it what came to nothing. */
  finish: (failure?: FetchFailure) => void
}

/** What a bank was asked in vain. */
export interface FetchFailure {
  readonly error: unknown
  readonly cached: Snapshot | undefined
  /** Whether the customer was said to be there: banks answer otherwise where nobody is. */
  readonly isCustomerPresent: boolean
  /** When it was known, by the process's own clock, in milliseconds. */
  readonly failedAtMs: number
}

/** What came of a wish: a snapshot, or why there is none. */
export type FetchOutcome = { readonly accountFetch: AccountFetch } & (
  { readonly fetched: FetchedSnapshot } | { readonly error: unknown; readonly failure?: FetchFailure | undefined }
)

/** The accounts of one look, each once: who waited for a turn of their own group would wait for ever. */
export interface FetchBatch {
  readonly balanceFetch: BalanceFetch
  readonly accountFetches: Map<string, AccountFetch>
}

/** Of one request, connection and kind: what is asked of one bank in one breath. */
export const canBatch = (one: BalanceFetch, other: BalanceFetch): boolean =>
  one.ledgerWritten === other.ledgerWritten &&
  one.access.grant.connectionId === other.access.grant.connectionId &&
  one.exactType === other.exactType &&
  one.maxAgeMs === other.maxAgeMs &&
  one.customer === other.customer

/** Whether asking the bank again may help: an older answer is better than none until it does. */
export function isTemporary(error: unknown): boolean {
  const { category, retryable } = toGatewayError(error).definition
  return category === 'BANK' && retryable
}

/** Whether a look that began at `beganMs` and waited for the one that failed would fail as well: it is not asked again. */
export const shouldShareFailure = (
  { error, cached, isCustomerPresent, failedAtMs }: FetchFailure,
  balanceFetch: BalanceFetch,
  startedAtMs: number,
  freshAfter: Date,
) =>
  failedAtMs > startedAtMs &&
  isTemporary(error) &&
  isCustomerPresent === (balanceFetch.customer !== null) &&
  !(cached && cached.fetchedAt > freshAfter)

/** The fetch of a request, with what it notes in the ledger on its way there. */
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

/** Fetches accounts of one connection from their bank: in one call if the bank has such a call and there is more than one. */
export async function fetchFromBank(
  { consents, clock, timers }: { consents: Pick<Consents, 'callBank'>; clock: Clock; timers: Timers },
  { customer }: BalanceFetch,
  accountFetches: readonly AccountFetch[],
): Promise<FetchOutcome[]> {
  const toFailure = (accountFetch: AccountFetch, error: unknown): FetchOutcome => {
    const { cached } = accountFetch
    const isCustomerPresent = customer !== null
    return { accountFetch, error, failure: { error, cached, isCustomerPresent, failedAtMs: timers.monotonicMs() } }
  }
  const accesses = accountFetches.map(({ access }) => access)
  let responses: readonly (Balances | GatewayError)[]
  try {
    responses = await consents.callBank(accesses, async (bank, access, refs) => {
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
    // The next bands depend on the ones shown before.
    const snapshot = { ...response, fetchedAt, bands: accountFetch.cached?.bands ?? {}, disclosedType: null }
    return { accountFetch, fetched: { snapshot, freshness: 'LIVE' } }
  })
}
