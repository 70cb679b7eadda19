import { subtractMs, type Clock } from '../../kernel/clock.ts'
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

/** A read of an account's balances that waits for a snapshot. */
export interface Reader {
  readonly account: SharedAccount
  readonly balanceFetch: BalanceFetch
  readonly read: (fetched: FetchedSnapshot) => ReadResult<unknown>
  /** Returns a value from what is saved, however old; `undefined` to throw the error. */
  readonly onFailure: (error: unknown, saved: Snapshot) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** What was read from a snapshot, and the snapshot with what was disclosed of it. */
export interface ReadResult<A> {
  readonly value: A
  readonly snapshot: Snapshot
}

/** What the outcome of a fetch comes to for the readers that share it. */
export interface Settlement {
  /** Resolves or rejects the reads. */
  readonly notify: () => void
  /** Rejects the reads, if they were not notified. */
  readonly fail: (error: unknown) => void
  /** The snapshot with what was disclosed of it; absent if the fetch failed. */
  readonly snapshot: Snapshot | undefined
  readonly isSaved: boolean
  /** Whether exact values were disclosed that had not been disclosed from this snapshot before. */
  readonly isNewDisclosure: boolean
}

/**
 * Fetches an account, passes the outcome to `share`, notifies the readers and saves the snapshot. What it resolves to is of no
 * account; it must not reject.
 */
export type RunFlight = (accountFetch: AccountFetch, share: (outcome: FetchOutcome) => Settlement) => Promise<unknown>

/** A reader that waits for a flight, and whether the ledger holds its read. */
interface Waiting {
  readonly reader: Reader
  isRecorded: boolean
}

interface Flight extends AccountFetch {
  /** The reader that it was started for comes first. */
  waiting: Waiting[]
  ended: Promise<unknown>
}

/**
 * The fetches that are in flight, one for each account. Whoever needs the account meanwhile waits, and takes the outcome if a
 * fetch of their own would have the same; otherwise they start the next one when it has ended.
 */
export function createFlights(clock: Clock, run: RunFlight) {
  /** By `bankAccountKey`. */
  const inFlight = new Map<string, Flight>()

  function join(reader: Reader): void {
    const flight = inFlight.get(reader.account.bankAccountKey)
    if (!flight) {
      start(reader)
      return
    }
    const { ledgerWritten } = reader.balanceFetch
    // The flight itself waits for the ledger of its first reader.
    const isRecorded = ledgerWritten === undefined || ledgerWritten === flight.balanceFetch.ledgerWritten
    const waiting = { reader, isRecorded }
    flight.waiting.push(waiting)
    if (!isRecorded) whenRecorded(reader, () => (waiting.isRecorded = true))
  }

  function start(reader: Reader): void {
    const { account, balanceFetch } = reader
    const flight: Flight = {
      account,
      balanceFetch,
      waitedMs: 0,
      cached: undefined,
      disclosureReservedAt: undefined,
      claimedUntil: null,
      waiting: [{ reader, isRecorded: true }],
      ended: Promise.resolve(),
    }
    inFlight.set(account.bankAccountKey, flight)
    flight.ended = run(flight, (outcome) => shareOutcome(flight, outcome, clock.now())).then(() => {
      inFlight.delete(account.bankAccountKey)
      for (const { reader: remaining } of flight.waiting)
        whenRecorded(remaining, () => {
          join(remaining)
        })
    })
  }

  return {
    /** Joins the fetch of the account that is in flight, or starts one. */
    join,
    async waitUntilIdle(): Promise<void> {
      while (inFlight.size > 0) await Promise.all(Array.from(inFlight.values(), ({ ended }) => ended))
    },
  }
}

/** Calls `then` when the ledger holds the read; rejects the read if the ledger cannot be written. */
function whenRecorded({ balanceFetch: { ledgerWritten }, reject }: Reader, then: () => void): void {
  if (ledgerWritten) ledgerWritten.then(then, reject)
  else then()
}

/** Reads the outcome for everybody who shares it. Whoever joins the flight from now on is too late. */
function shareOutcome(flight: Flight, outcome: FetchOutcome, now: Date): Settlement {
  const sharing: Reader[] = []
  flight.waiting = flight.waiting.filter((waiting) => {
    const isShared = sharesOutcome(flight, outcome, waiting, now)
    if (isShared) sharing.push(waiting.reader)
    return !isShared
  })
  return 'fetched' in outcome ? readAll(flight, outcome.fetched, sharing) : failAll(flight, outcome.error, sharing)
}

/** Whether the outcome of a flight is also that of a fetch which this reader would start. */
function sharesOutcome(
  { account, balanceFetch, cached }: AccountFetch,
  outcome: FetchOutcome,
  { reader, isRecorded }: Waiting,
  now: Date,
): boolean {
  const own = reader.balanceFetch
  if (isSameFetch(balanceFetch, own)) return true
  const isFresh = ({ fetchedAt }: Snapshot): boolean => fetchedAt > subtractMs(now, own.maxAgeMs)
  const isSameDisclosure =
    own.exactType === balanceFetch.exactType && reader.account.disclosureKey === account.disclosureKey
  if ('fetched' in outcome)
    return isRecorded && isFresh(outcome.fetched.snapshot) && (own.exactType === null || isSameDisclosure)
  if (cached && isFresh(cached)) return false
  // Banks respond differently if the customer is not present.
  if (isTemporary(outcome.error)) return (own.customer === null) === (balanceFetch.customer === null)
  return isSameDisclosure && toGatewayError(outcome.error).code === 'DISCLOSURE_BUDGET_EXHAUSTED'
}

/** Reads one after the other, so that each sees what was disclosed before. */
function readAll(
  { balanceFetch: { exactType } }: AccountFetch,
  { snapshot, freshness }: FetchedSnapshot,
  readers: readonly Reader[],
): Settlement {
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
    notify: () => callbacks.forEach((callback) => callback()),
    fail: (error) => readers.forEach(({ reject }) => reject(error)),
    snapshot: updated,
    isSaved: freshness === 'CACHED' && updated === snapshot,
    // Another process may have disclosed the same values a moment ago: that is not a new disclosure.
    isNewDisclosure: snapshot.disclosedType !== exactType && updated.disclosedType === exactType,
  }
}

function failAll({ cached }: AccountFetch, error: unknown, readers: readonly Reader[]): Settlement {
  return {
    notify: () => readers.forEach((reader) => whenRecorded(reader, () => fallBack(reader, error, cached))),
    fail: (otherError) => readers.forEach(({ reject }) => reject(otherError)),
    snapshot: undefined,
    isSaved: true,
    isNewDisclosure: false,
  }
}

function fallBack({ onFailure, resolve, reject }: Reader, error: unknown, saved: Snapshot | undefined): void {
  try {
    const value = saved && onFailure(error, saved)
    if (value === undefined) reject(error)
    else resolve(value)
  } catch (thrown) {
    reject(thrown)
  }
}
