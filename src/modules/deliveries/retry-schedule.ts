import { addMs, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import type { Randomness } from '../../kernel/ids.ts'

/** The delay after the first, second, … failed attempt of a schedule. The last one repeats. */
const RETRY_DELAYS_MS = [
  5 * SECOND_MS,
  30 * SECOND_MS,
  2 * MINUTE_MS,
  10 * MINUTE_MS,
  HOUR_MS,
  6 * HOUR_MS,
  24 * HOUR_MS,
] as const
/** Each delay is multiplied by a random factor between 1 - JITTER and 1 + JITTER. */
const JITTER = 0.2
/** When the last attempt is made, counted from the start of the schedule. If it fails, the delivery has FAILED. */
const GIVE_UP_AFTER_MS = 72 * HOUR_MS
/** Attempts that are made in any case, even if the first was possible only after `GIVE_UP_AFTER_MS`. */
const MIN_ATTEMPTS = 3

/** The progress of a delivery's schedule. */
export interface RetryProgress {
  /** Attempts that had an outcome, the failed one included. */
  readonly attemptCount: number
  readonly startedAt: Date
}

/** When to make the next attempt after one that failed at `now`, or `undefined` if it was the last. */
export function computeNextAttemptAt(
  { attemptCount, startedAt }: RetryProgress,
  now: Date,
  randomness: Randomness,
): Date | undefined {
  const delayMs = RETRY_DELAYS_MS[Math.min(attemptCount, RETRY_DELAYS_MS.length) - 1]!
  const next = addMs(now, delayMs * (1 - JITTER + 2 * JITTER * (randomness.bytes(1)[0]! / 255)))
  const giveUpAt = addMs(startedAt, GIVE_UP_AFTER_MS)
  if (attemptCount < MIN_ATTEMPTS) return next
  if (now >= giveUpAt) return undefined
  // The last attempt is made when the time is over, and not up to a day earlier.
  return next < giveUpAt ? next : giveUpAt
}
