import { addMs } from '../../kernel/clock.ts'
import type { Randomness } from '../../kernel/ids.ts'
import { RETRIES, retryAt, WEBHOOK_GIVE_UP } from '../../kernel/retry.ts'

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
  const next = retryAt(RETRIES.webhook, attemptCount, randomness, now)
  const giveUpAt = addMs(startedAt, WEBHOOK_GIVE_UP.afterMs)
  if (attemptCount < WEBHOOK_GIVE_UP.minAttempts) return next
  if (now >= giveUpAt) return undefined
  // The last attempt is made when the time is over, and not up to a day earlier.
  return next < giveUpAt ? next : giveUpAt
}
