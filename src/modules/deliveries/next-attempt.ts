import { addMs, SECOND_MS } from '../../kernel/clock.ts'
import type { Randomness } from '../../kernel/ids.ts'
import { RETRIES, retryAt, WEBHOOK_GIVE_UP } from '../../kernel/retry.ts'
import type { Priority } from './model.ts'

/** The progress of a delivery's schedule. */
export interface RetryProgress {
  /** Attempts that had an outcome, the failed one included. */
  readonly attemptCount: number
  readonly startedAt: Date
  readonly priority: Priority
  /** How long the endpoint asks to wait. */
  readonly retryAfterSeconds: number | undefined
}

const SCHEDULES = { URGENT: RETRIES.urgentWebhook, STANDARD: RETRIES.webhook, TEST: RETRIES.testWebhook } as const

/**
 * When to make the next attempt after one that failed at `now`, or `undefined` if it was the last. The endpoint can postpone an
 * attempt, but it does not prolong the schedule.
 */
export function computeNextAttemptAt(
  { attemptCount, startedAt, priority, retryAfterSeconds = 0 }: RetryProgress,
  now: Date,
  randomness: Randomness,
): Date | undefined {
  if (priority === 'TEST' && attemptCount > RETRIES.testWebhook.delaysMs.length) return undefined
  const scheduled = retryAt(SCHEDULES[priority], attemptCount, randomness, now)
  const requested = addMs(now, retryAfterSeconds * SECOND_MS)
  const next = requested > scheduled ? requested : scheduled
  const giveUpAt = addMs(startedAt, WEBHOOK_GIVE_UP.afterMs)
  if (attemptCount < WEBHOOK_GIVE_UP.minAttempts) return next
  if (now >= giveUpAt) return undefined
  // The last attempt is made when the time is over, and not up to a day earlier.
  return next < giveUpAt ? next : giveUpAt
}
