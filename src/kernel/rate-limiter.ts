import { createBoundedCache } from './cache.ts'
import type { Clock } from './clock.ts'
import { MINUTE_MS } from './clock.ts'
import { GatewayError } from './errors.ts'

/** A token bucket: how many may be used at once, and how many come back in a minute. */
export interface RateLimit {
  readonly burst: number
  readonly perMinute: number
}

/** The buckets of many keys, each full at first. */
export interface RateLimiter {
  /** Takes one. Throws `RATE_LIMITED` with the time to wait if there is none; then nothing is taken. */
  take(key: string): void
  /** Throws `RATE_LIMITED` with the time to wait if `take` would. Takes nothing. */
  check(key: string): void
  /** Takes one for what has happened already. Of requests at once, those beyond the bucket are owed, at most a bucket. */
  charge(key: string): void
  refund(key: string): void
}

/** What instants with fractions of a millisecond may be off by. */
const ROUNDING_MS = 0.01
/** The heap of one number. */
const ENTRY_BYTES = 16

/**
 * Limits in memory of at most `maxBytes`, by this process alone (GCRA: one instant per key, the one at which its bucket is
 * full again). A key whose entry is displaced begins anew, so a sender needs as many keys as fit to gain by it.
 */
export function createRateLimiter({ burst, perMinute }: RateLimit, clock: Clock, maxBytes = 2_097_152): RateLimiter {
  const fullAt = createBoundedCache<number>({ maxBytes, bytesOf: () => ENTRY_BYTES })
  const intervalMs = MINUTE_MS / perMinute
  const bucketMs = burst * intervalMs

  /** When the bucket is full again, in milliseconds from now; never more than two buckets, also where the clock was put back. */
  const untilFullMs = (key: string): number =>
    Math.min(2 * bucketMs, Math.max(0, (fullAt.get(key) ?? 0) - clock.now().getTime()))
  const setUntilFull = (key: string, ms: number): void => {
    if (ms > 0) fullAt.set(key, clock.now().getTime() + ms)
    else fullAt.delete(key)
  }

  function check(key: string): void {
    const waitMs = untilFullMs(key) + intervalMs - bucketMs
    if (waitMs > ROUNDING_MS)
      throw new GatewayError('RATE_LIMITED', { retryAfterSeconds: Math.max(1, Math.ceil(waitMs / 1_000)) })
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
