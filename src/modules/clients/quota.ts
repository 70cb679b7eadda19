import { networkOf } from '../../kernel/addresses.ts'
import { createBoundedCache } from '../../kernel/cache.ts'
import { MINUTE_MS } from '../../kernel/clock.ts'
import { isDiskFull } from '../../kernel/database-errors.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { Caller } from '../../kernel/request-context.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import type { World } from '../../kernel/world.ts'
import { toRetryAfterSeconds } from '../../kernel/retry-after.ts'
import type { QuotaStore } from './store.ts'
import type { Usage } from './usage.ts'

/** The remaining points of the current minute. */
export interface RemainingQuota {
  readonly limit: number
  readonly remaining: number
  /** ISO 8601. */
  readonly resetsAt: string
}

/** The points that a request was charged. */
export interface Charge {
  /** Charges further points for the same request, synchronously if this process has reserved enough. Throws `RATE_LIMITED`. */
  add(points: number): undefined | Promise<undefined>
  /** Counts the request as one whose response has an error. Further calls have no effect. */
  markFailed(): void
  /** Refunds unused points. A negative number charges points that were used in addition. */
  refund(points: number): void
  remainingQuota(): RemainingQuota
}

/** The points of all callers. */
export interface Quotas {
  /** Charges the caller's client and customer, synchronously if this process has reserved enough points. Throws `RATE_LIMITED`. */
  charge(caller: Caller, points: number): Charge | Promise<Charge>
  /** The caller's remaining points. */
  remainingQuotas(caller: Caller): Promise<{ client: RemainingQuota; customer: RemainingQuota | undefined }>
  /** Deletes the counts of past minutes. Returns the number of rows. */
  sweep(): Promise<number>
}

interface TokenBucket {
  readonly subject: string
  readonly minuteMs: number
  readonly limit: number
  /** Points that this process has reserved and not spent yet. */
  reserved: number
  /** Points that this process has reserved in the minute. */
  granted: number
  /** Points of the minute that no process has reserved, at the last reservation. */
  sharedRemaining: number
  resetsAt: string
  /** The reservation in progress, which all waiting requests share. */
  refilling: Promise<void> | undefined
}

/** The buckets of clients and customers in this process. An evicted bucket loses its reserved points. */
const BUCKET_CACHE_OPTIONS = { maxBytes: 8_388_608, bytesOf: () => 320 }
/** The number of addresses with their own bucket of 400 bytes in a minute. All further addresses share one bucket. */
const MAX_ADDRESSES = 10_000
const SHARED_ADDRESS_SUBJECT = 'address:others'
/** The maximum number of reservations per minute and process. */
const MAX_REFILLS_PER_MINUTE = 20
/** The points without a token, for each IPv4 address or IPv6 /64 network, in each process. */
const ANONYMOUS_POINTS_PER_MINUTE = 3_000

/**
 * Creates the quotas. Points are counted per minute in one table for all processes. A process reserves points in portions and
 * spends them from memory, so that most requests need no statement and the limit is never exceeded.
 */
export function createQuotas(store: QuotaStore, { clock }: Pick<World, 'clock'>, usage: Pick<Usage, 'record'>): Quotas {
  const buckets = createBoundedCache<TokenBucket>(BUCKET_CACHE_OPTIONS)
  /** The buckets of the current minute. They are not evicted, because an evicted address would start with a full bucket. */
  const addressBuckets = new Map<string, TokenBucket>()
  let addressBucketsMinuteMs = 0

  const currentMinuteMs = (): number => Math.floor(clock.now().getTime() / MINUTE_MS) * MINUTE_MS

  const createBucket = (subject: string, minuteMs: number, limit: number, reserved: number): TokenBucket => ({
    subject,
    minuteMs,
    limit,
    reserved,
    granted: reserved,
    sharedRemaining: limit - reserved,
    resetsAt: new Date(minuteMs + MINUTE_MS).toISOString(),
    refilling: undefined,
  })

  function getBucket(subject: string, limit: number): TokenBucket {
    const minuteMs = currentMinuteMs()
    let bucket = buckets.get(subject)
    if (bucket?.minuteMs !== minuteMs || bucket.limit !== limit)
      buckets.set(subject, (bucket = createBucket(subject, minuteMs, limit, 0)))
    return bucket
  }

  function getAddressBucket(address: string): TokenBucket {
    const minuteMs = currentMinuteMs()
    if (minuteMs !== addressBucketsMinuteMs) addressBuckets.clear()
    addressBucketsMinuteMs = minuteMs
    const ownSubject = `address:${networkOf(address)}`
    const subject =
      addressBuckets.has(ownSubject) || addressBuckets.size < MAX_ADDRESSES ? ownSubject : SHARED_ADDRESS_SUBJECT
    let bucket = addressBuckets.get(subject)
    if (!bucket)
      addressBuckets.set(
        subject,
        (bucket = createBucket(subject, minuteMs, ANONYMOUS_POINTS_PER_MINUTE, ANONYMOUS_POINTS_PER_MINUTE)),
      )
    return bucket
  }

  async function refill(bucket: TokenBucket, points: number): Promise<void> {
    const minute = new Date(bucket.minuteMs)
    const refillPoints = Math.max(points, Math.ceil(bucket.limit / MAX_REFILLS_PER_MINUTE))
    for (const requestedPoints of refillPoints > points ? [refillPoints, points] : [points]) {
      const spent = bucket.subject.startsWith('address:')
        ? undefined
        : await store
            .take(bucket.subject, minute, requestedPoints, bucket.limit)
            .catch((error: unknown) => takeAlone(bucket, requestedPoints, error))
      if (spent === undefined) continue
      bucket.reserved += requestedPoints
      bucket.granted += requestedPoints
      bucket.sharedRemaining = bucket.limit - spent
      return
    }
    bucket.sharedRemaining = 0
    const retryAfterSeconds = toRetryAfterSeconds(bucket.minuteMs + MINUTE_MS - clock.now().getTime())
    throw new GatewayError('RATE_LIMITED', { retryAfterSeconds })
  }

  function take(bucket: TokenBucket, points: number): undefined | Promise<undefined> {
    if (bucket.reserved >= points) {
      bucket.reserved -= points
      return undefined
    }
    bucket.refilling ??= refill(bucket, points - bucket.reserved).finally(() => (bucket.refilling = undefined))
    return bucket.refilling.then(() => take(bucket, points))
  }

  /** Takes points of both the client and the customer, or of neither. */
  function takeBoth(
    first: TokenBucket,
    second: TokenBucket | undefined,
    points: number,
  ): undefined | Promise<undefined> {
    const pending = take(first, points)
    if (!pending && !second) return undefined
    if (!pending && second!.reserved >= points) return take(second!, points)
    return (async () => {
      await pending
      try {
        if (second) await take(second, points)
      } catch (error) {
        first.reserved += points
        throw error
      }
      return undefined
    })()
  }

  function createCharge(caller: Caller, points: number, buckets: readonly [TokenBucket, ...TokenBucket[]]): Charge {
    const recordUsage: Usage['record'] = (id, counts) => {
      if (caller.kind !== 'ANONYMOUS') usage.record(id, counts)
    }
    const clientId = caller.kind === 'ANONYMOUS' ? '' : caller.clientId
    let hasFailed = false
    recordUsage(clientId, { requests: 1, points })
    const recordPoints = (extraPoints: number): undefined => {
      recordUsage(clientId, { points: extraPoints })
      return undefined
    }
    return {
      add(extraPoints) {
        if (extraPoints <= 0) return undefined
        const pending = takeBoth(buckets[0], buckets[1], extraPoints)
        return pending ? pending.then(() => recordPoints(extraPoints)) : void recordPoints(extraPoints)
      },
      markFailed() {
        if (!hasFailed) recordUsage(clientId, { errors: 1 })
        hasFailed = true
      },
      refund(unused) {
        for (const bucket of buckets) bucket.reserved += unused
        recordUsage(clientId, { points: -unused })
      },
      remainingQuota: () => toRemainingQuota(buckets[0]),
    }
  }

  /** A rejected request counts as a request, too. */
  function rejectCharge(caller: Caller, error: unknown): never {
    if (caller.kind !== 'ANONYMOUS') usage.record(caller.clientId, { requests: 1, errors: 1 })
    throw error
  }

  function bucketsOf(caller: Caller): [TokenBucket, TokenBucket | undefined] {
    if (caller.kind === 'ANONYMOUS') return [getAddressBucket(caller.address), undefined]
    return [
      getBucket(`client:${caller.clientId}`, caller.quota.pointsPerMinute),
      caller.kind === 'CUSTOMER'
        ? getBucket(`customer:${caller.clientId}/${caller.customerId}`, caller.quota.pointsPerCustomerPerMinute)
        : undefined,
    ]
  }

  return {
    charge(caller, points) {
      const [first, second] = bucketsOf(caller)
      const pending = takeBoth(first, second, points)
      const charge = (): Charge => createCharge(caller, points, second ? [first, second] : [first])
      return pending ? pending.then(charge, (error: unknown) => rejectCharge(caller, error)) : charge()
    },

    async remainingQuotas(caller) {
      const [first, second] = bucketsOf(caller)
      for (const bucket of second ? [first, second] : [first])
        if (!bucket.subject.startsWith('address:'))
          bucket.sharedRemaining = bucket.limit - (await store.spent(bucket.subject, new Date(bucket.minuteMs)))
      return { client: toRemainingQuota(first), customer: second && toRemainingQuota(second) }
    },

    sweep: () => store.sweep(expiredBefore('quota_window', clock.now())),
  }
}

/**
 * While the disk of the database is full, each process counts alone, so that reads go on: N processes allow up to N times the
 * limit. Returns the spent points as the store does; throws every other error.
 */
function takeAlone({ granted, limit }: TokenBucket, points: number, error: unknown): number | undefined {
  if (!isDiskFull(error)) throw error
  return granted + points > limit ? undefined : granted + points
}

const toRemainingQuota = ({ limit, reserved, sharedRemaining, resetsAt }: TokenBucket): RemainingQuota => ({
  limit,
  remaining: Math.max(0, Math.min(limit, reserved + sharedRemaining)),
  resetsAt,
})
