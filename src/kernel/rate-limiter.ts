import { createBoundedCache } from './cache.ts'
import type { Clock } from './clock.ts'
import { MINUTE_MS } from './clock.ts'
import { GatewayError } from './errors.ts'
import { toRetryAfterSeconds } from './retry-after.ts'

/** A token bucket: `burst` requests at once, refilled at `perMinute`. */
export interface RateLimit {
  readonly burst: number
  readonly perMinute: number
}

/** Token buckets by key. Each bucket starts full. */
export interface RateLimiter {
  /** Takes one token. If there is none, throws `RATE_LIMITED` with the time to wait and takes nothing. */
  take(key: string): void
  /** Throws `RATE_LIMITED` with the time to wait if `take` would. Takes nothing. */
  check(key: string): void
  /** Takes one token for what has already happened. The bucket can go negative, by at most its own size. */
  charge(key: string): void
  /** Returns one token. */
  refund(key: string): void
}

/** The rounding error of times with fractions of a millisecond. */
const ROUNDING_MS = 0.01
/** The heap that one number uses. */
const ENTRY_BYTES = 16

/**
 * Creates a limiter that uses at most `maxBytes` and counts in this process only. GCRA: it stores per key the time at which the
 * bucket is full again. A key whose entry is evicted starts with a full bucket.
 */
export function createRateLimiter({ burst, perMinute }: RateLimit, clock: Clock, maxBytes = 2_097_152): RateLimiter {
  const fullAt = createBoundedCache<number>({ maxBytes, bytesOf: () => ENTRY_BYTES })
  const intervalMs = MINUTE_MS / perMinute
  const bucketMs = burst * intervalMs

  /** Milliseconds until the bucket is full again; at most two buckets, also if the clock was set back. */
  const untilFullMs = (key: string): number =>
    Math.min(2 * bucketMs, Math.max(0, (fullAt.get(key) ?? 0) - clock.now().getTime()))
  const setUntilFull = (key: string, ms: number): void => {
    if (ms > 0) fullAt.set(key, clock.now().getTime() + ms)
    else fullAt.delete(key)
  }

  function check(key: string): void {
    const waitMs = untilFullMs(key) + intervalMs - bucketMs
    if (waitMs > ROUNDING_MS) throw new GatewayError('RATE_LIMITED', { retryAfterSeconds: toRetryAfterSeconds(waitMs) })
  }

  return {
    check,
    take(key) {
      check(key)
      setUntilFull(key, untilFullMs(key) + intervalMs)
    },
    charge: (key) => setUntilFull(key, Math.min(2 * bucketMs, untilFullMs(key) + intervalMs)),
    refund: (key) => setUntilFull(key, untilFullMs(key) - intervalMs),
  }
}
