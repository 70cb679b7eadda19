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
export interface WaitingRead {
  readonly account: SharedAccount
  readonly balanceFetch: BalanceFetch
  readonly disclose: (fetched: FetchedSnapshot) => Disclosure<unknown>
  /** Returns a value from what is saved, however old; `undefined` to throw the error. */
  readonly onFailure: (error: unknown, saved: Snapshot) => unknown
  readonly resolve: (value: unknown) => void
  readonly reject: (error: unknown) => void
}

/** What a read discloses of a snapshot, and the snapshot that records it. */
export interface Disclosure<A> {
  readonly value: A
  readonly snapshot: Snapshot
}

/** The result of a fetch for the reads that share it. */
export interface FlightResult {
  /** Resolves or rejects the reads. */
  readonly notify: () => void
  /** Rejects the reads, if they were not notified. */
  readonly fail: (error: unknown) => void
  /** The snapshot with what was disclosed of it; absent if the fetch failed. */
  readonly snapshot: Snapshot | undefined
  /** Whether the snapshot must still be stored. */
  readonly needsSave: boolean
  /** Whether exact values were disclosed that had not been disclosed from this snapshot before. */
  readonly isNewDisclosure: boolean
}

/** The steps of a flight. */
export interface FlightsDependencies {
  readonly clock: Clock
  /** The epoch of the cache, which is passed to `complete` as it was when the fetch began. */
  readonly cacheEpoch: () => number
  /** Fetches an account. Must not reject. */
  readonly fetchBalances: (accountFetch: AccountFetch) => Promise<FetchOutcome>
  /** Notifies the reads and saves the snapshot. The resolved value is ignored. Must not reject. */
  readonly complete: (accountFetch: AccountFetch, result: FlightResult, cacheEpoch: number) => Promise<unknown>
}

/** A read that has joined a flight, and whether the ledger holds it. */
interface JoinedRead {
  readonly read: WaitingRead
  isRecorded: boolean
}

interface Flight extends AccountFetch {
  /** The read that the flight was started for comes first. */
  joined: JoinedRead[]
  ended: Promise<void>
}

/**
 * The fetches that are in flight, one for each account. A read of the account joins the flight, and shares its outcome if a fetch
 * of its own would have the same outcome; otherwise it starts the next flight when this one has ended.
 */
export function createFlights({ clock, cacheEpoch, fetchBalances, complete }: FlightsDependencies) {
  /** By `bankAccountKey`. */
  const inFlight = new Map<string, Flight>()

  function join(read: WaitingRead): void {
    const flight = inFlight.get(read.account.bankAccountKey)
    if (!flight) {
      start(read)
      return
    }
    const { ledgerWritten } = read.balanceFetch
    // The flight itself waits for the ledger of its first read.
    const isRecorded = ledgerWritten === undefined || ledgerWritten === flight.balanceFetch.ledgerWritten
    const joined = { read, isRecorded }
    flight.joined.push(joined)
    if (!isRecorded) whenRecorded(read, () => (joined.isRecorded = true))
  }

  function start(read: WaitingRead): void {
    const { account, balanceFetch } = read
    const flight: Flight = {
      account,
      balanceFetch,
      waitedMs: 0,
      cached: undefined,
      disclosureReservedAt: undefined,
      claimedUntil: null,
      joined: [{ read, isRecorded: true }],
      ended: Promise.resolve(),
    }
    inFlight.set(account.bankAccountKey, flight)
    flight.ended = run(flight)
  }

  async function run(flight: Flight): Promise<void> {
    const epoch = cacheEpoch()
    const outcome = await fetchBalances(flight)
    const sharing = takeSharingReads(flight, outcome, clock.now())
    const result =
      'fetched' in outcome ? discloseToAll(flight, outcome.fetched, sharing) : failAll(flight, outcome.error, sharing)
    await complete(flight, result, epoch)
    inFlight.delete(flight.account.bankAccountKey)
    for (const { read } of flight.joined)
      whenRecorded(read, () => {
        join(read)
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
function whenRecorded({ balanceFetch: { ledgerWritten }, reject }: WaitingRead, then: () => void): void {
  if (ledgerWritten) ledgerWritten.then(then, reject)
  else then()
}

/** Removes the reads that share the outcome from the flight. The others, and those that join later, start the next flight. */
function takeSharingReads(flight: Flight, outcome: FetchOutcome, now: Date): readonly WaitingRead[] {
  const sharing: WaitingRead[] = []
  flight.joined = flight.joined.filter((joined) => {
    const isShared = sharesOutcome(flight, outcome, joined, now)
    if (isShared) sharing.push(joined.read)
    return !isShared
  })
  return sharing
}

/** Whether the outcome of a flight is also that of a fetch which this read would start. */
function sharesOutcome(
  { account, balanceFetch, cached }: AccountFetch,
  outcome: FetchOutcome,
  { read, isRecorded }: JoinedRead,
  now: Date,
): boolean {
  const own = read.balanceFetch
  if (isSameFetch(balanceFetch, own)) return true
  const isFresh = ({ fetchedAt }: Snapshot): boolean => fetchedAt > subtractMs(now, own.maxAgeMs)
  const isSameDisclosure =
    own.exactType === balanceFetch.exactType && read.account.disclosureKey === account.disclosureKey
  if ('fetched' in outcome)
    return isRecorded && isFresh(outcome.fetched.snapshot) && (own.exactType === null || isSameDisclosure)
  if (cached && isFresh(cached)) return false
  // Banks respond differently if the customer is not present.
  if (isTemporary(outcome.error)) return (own.customer === null) === (balanceFetch.customer === null)
  return isSameDisclosure && toGatewayError(outcome.error).code === 'DISCLOSURE_BUDGET_EXHAUSTED'
}

/** Discloses to one read after the other, so that each sees what was disclosed before. */
function discloseToAll(
  { balanceFetch: { exactType } }: AccountFetch,
  { snapshot, freshness }: FetchedSnapshot,
  reads: readonly WaitingRead[],
): FlightResult {
  const callbacks: (() => void)[] = []
  let updated = snapshot
  for (const { disclose, resolve, reject } of reads)
    try {
      const disclosure = disclose({ snapshot: updated, freshness })
      updated = disclosure.snapshot
      callbacks.push(() => resolve(disclosure.value))
    } catch (error) {
      callbacks.push(() => reject(error))
    }
  return {
    notify: () => callbacks.forEach((callback) => callback()),
    fail: (error) => reads.forEach(({ reject }) => reject(error)),
    snapshot: updated,
    needsSave: freshness !== 'CACHED' || updated !== snapshot,
    // Another process may have disclosed the same values a moment ago: that is not a new disclosure.
    isNewDisclosure: snapshot.disclosedType !== exactType && updated.disclosedType === exactType,
  }
}

function failAll({ cached }: AccountFetch, error: unknown, reads: readonly WaitingRead[]): FlightResult {
  return {
    notify: () => reads.forEach((read) => whenRecorded(read, () => fallBack(read, error, cached))),
    fail: (otherError) => reads.forEach(({ reject }) => reject(otherError)),
    snapshot: undefined,
    needsSave: false,
    isNewDisclosure: false,
  }
}

function fallBack({ onFailure, resolve, reject }: WaitingRead, error: unknown, saved: Snapshot | undefined): void {
  try {
    const value = saved && onFailure(error, saved)
    if (value === undefined) reject(error)
    else resolve(value)
  } catch (thrown) {
    reject(thrown)
  }
}
