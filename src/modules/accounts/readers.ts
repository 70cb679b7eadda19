import { subtractMs } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { SharedAccount } from '../consents/index.ts'
import {
  isSameFetch,
  isTemporary,
  type AccountFetch,
  type BalanceFetch,
  type FetchedSnapshot,
  type FetchOutcome,
} from './balance-fetch.ts'
import type { Snapshot } from './model.ts'

/** What was read from a snapshot, and the snapshot with what was disclosed of it. */
export interface ReadResult<A> {
  readonly value: A
  readonly snapshot: Snapshot
}

/** One call of `read` that waits for its result. */
export interface Reader {
  readonly account: SharedAccount
  readonly balanceFetch: BalanceFetch
  readonly read: (fetched: FetchedSnapshot) => ReadResult<unknown>
  readonly onFailure: (error: unknown, saved: Snapshot) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
  /** Whether the ledger holds the read. */
  isRecorded: boolean
}

/** What a fetch comes to for the readers that share it. */
export interface Settlement {
  readonly callbacks: readonly (() => void)[]
  /** The snapshot with what was disclosed of it; absent if the fetch failed. */
  readonly snapshot: Snapshot | undefined
  readonly isSaved: boolean
  /** Whether exact values were disclosed that had not been disclosed from this snapshot before. */
  readonly isNewDisclosure: boolean
}

/** Calls `then` when the ledger holds the read; rejects the read if it cannot be written. */
export function whenRecorded({ balanceFetch: { ledgerWritten }, reject }: Reader, then: () => void): void {
  if (ledgerWritten) ledgerWritten.then(then, reject)
  else then()
}

/** Whether what a fetch comes to is also the reader's, who would get the same from a fetch of their own. */
export function sharesOutcome(
  { account, balanceFetch, cached }: AccountFetch,
  outcome: FetchOutcome,
  reader: Reader,
  now: Date,
): boolean {
  const own = reader.balanceFetch
  if (isSameFetch(balanceFetch, own)) return true
  const isFresh = (snapshot: Snapshot): boolean => snapshot.fetchedAt > subtractMs(now, own.maxAgeMs)
  const isSameDisclosure =
    own.exactType === balanceFetch.exactType && reader.account.disclosureKey === account.disclosureKey
  if ('fetched' in outcome)
    return reader.isRecorded && isFresh(outcome.fetched.snapshot) && (own.exactType === null || isSameDisclosure)
  if (cached && isFresh(cached)) return false
  if (isTemporary(outcome.error))
    // Banks respond differently if the customer is not present.
    return (own.customer === null) === (balanceFetch.customer === null)
  return toGatewayError(outcome.error).code === 'DISCLOSURE_BUDGET_EXHAUSTED' && isSameDisclosure
}

/** Reads the outcome for everybody who shares it; never throws. */
export function serve(
  { balanceFetch: { exactType }, cached }: AccountFetch,
  outcome: FetchOutcome,
  readers: readonly Reader[],
): Settlement {
  if ('error' in outcome) {
    const callbacks = readers.map((reader) => () => {
      whenRecorded(reader, fallBack(reader, outcome.error, cached))
    })
    return { callbacks, snapshot: undefined, isSaved: true, isNewDisclosure: false }
  }
  const { snapshot, freshness } = outcome.fetched
  const callbacks: (() => void)[] = []
  let updated = snapshot
  for (const { read, resolve, reject } of readers)
    try {
      const result = read({ snapshot: updated, freshness })
      updated = result.snapshot
      callbacks.push(() => resolve(result.value))
    } catch (error) {
      callbacks.push(() => reject(error))
    }
  return {
    callbacks,
    snapshot: updated,
    isSaved: freshness === 'CACHED' && updated === snapshot,
    // Another process may have disclosed the same values a moment ago: that is not a new disclosure.
    isNewDisclosure: snapshot.disclosedType !== exactType && updated.disclosedType === exactType,
  }
}

function fallBack({ onFailure, resolve, reject }: Reader, error: unknown, saved: Snapshot | undefined): () => void {
  return () => {
    try {
      const value = saved && onFailure(error, saved)
      if (value === undefined) reject(error)
      else resolve(value)
    } catch (thrown) {
      reject(thrown)
    }
  }
}
