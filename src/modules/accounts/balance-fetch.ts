import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { PresentCustomer } from '../../kernel/request-context.ts'
import type { Grant, SharedAccount } from '../consents/index.ts'
import type { Freshness, Snapshot } from './model.ts'

/** What accounts that are asked about in one breath have in common. */
export interface BalanceFetch {
  readonly grant: Grant
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

/** How a wish ends: with something to say to each who uses it, and with what is to be kept. */
export interface Settlement {
  readonly accountFetch: AccountFetch
  readonly callbacks: readonly (() => void)[]
  readonly updatedSnapshot: Snapshot | undefined
  readonly isSaved: boolean
  /** Whether an amount was told that had not been told from this snapshot before. */
  readonly isNewDisclosure: boolean
  readonly failure: FetchFailure | undefined
}

/** The accounts of one look, each once: who waited for a turn of their own group would wait for ever. */
export interface FetchBatch {
  readonly balanceFetch: BalanceFetch
  readonly accountFetches: Map<string, AccountFetch>
}

/** Of one request, connection and kind: what is asked of one bank in one breath. */
export const canBatch = (one: BalanceFetch, other: BalanceFetch): boolean =>
  one.ledgerWritten === other.ledgerWritten &&
  one.grant.connectionId === other.grant.connectionId &&
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

/** Does what was wished with what came of it; never throws. */
export function buildSettlement(outcome: FetchOutcome, exactType: BalanceType | null): Settlement {
  const { accountFetch } = outcome
  if (!('fetched' in outcome)) {
    const { error, failure } = outcome
    const callbacks = accountFetch.readers.map((use) => fallBack(use, error, accountFetch.cached))
    return { accountFetch, callbacks, updatedSnapshot: undefined, isSaved: true, isNewDisclosure: false, failure }
  }
  const { snapshot, freshness } = outcome.fetched
  const callbacks: (() => void)[] = []
  let updatedSnapshot = snapshot
  let disclosedCount = 0
  for (const { read, resolve, reject } of accountFetch.readers)
    try {
      const { value, snapshot: next } = read({ snapshot: updatedSnapshot, freshness })
      updatedSnapshot = next
      disclosedCount++
      callbacks.push(() => resolve(value))
    } catch (error) {
      callbacks.push(() => reject(error))
    }
  const isSaved = freshness === 'CACHED' && updatedSnapshot === snapshot
  // Another process told it a moment ago: the same amount again is nothing new.
  return {
    accountFetch,
    callbacks,
    updatedSnapshot,
    isSaved,
    isNewDisclosure: disclosedCount > 0 && snapshot.disclosedType !== exactType,
    failure: undefined,
  }
}

function fallBack(
  { onFailure, resolve, reject }: SnapshotReader,
  error: unknown,
  cached: Snapshot | undefined,
): () => void {
  try {
    const value = cached && onFailure(error, cached)
    return value === undefined ? () => reject(error) : () => resolve(value)
  } catch (thrown) {
    return () => reject(thrown)
  }
}

/** Tells whoever asked. */
export function notify({ callbacks }: Settlement): void {
  for (const callback of callbacks) callback()
}
