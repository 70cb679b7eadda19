import { DAY_MS, SECOND_MS, startOfHour } from '../kernel/clock.ts'
import { STRICT_EVENT_RULES } from './event-rules.ts'

/** Alerts are warnings: events older than this are rejected. */
const MAX_EVENT_AGE_MS = 30 * DAY_MS
/** Seconds of this size would be in the year 5138. */
const FIRST_MILLISECONDS = 1e11

/**
 * The hour in which an event occurred according to its bank. Returns undefined if the time is invalid, older than 30 days, or in
 * the future beyond the clock tolerance. A time in the near future is in the hour that has begun.
 */
export function validateEventTime(
  statedAt: Date,
  now: Date,
  clockToleranceSeconds = STRICT_EVENT_RULES.clockToleranceSeconds,
): Date | undefined {
  const ageMs = now.getTime() - statedAt.getTime()
  if (ageMs > MAX_EVENT_AGE_MS || ageMs < -clockToleranceSeconds * SECOND_MS || Number.isNaN(ageMs)) return undefined
  return startOfHour(ageMs < 0 ? now : statedAt)
}

/** The time of a NumericDate (RFC 7519, 2). Drafts of CAEP have milliseconds. */
export const fromNumericDate = (number: number): Date => new Date(number < FIRST_MILLISECONDS ? number * 1_000 : number)
