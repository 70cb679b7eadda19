import { DAY_MS, MINUTE_MS, startOfHour } from '../kernel/clock.ts'

/** Alerts are warnings: events older than this are rejected. */
const MAX_EVENT_AGE_MS = 30 * DAY_MS
const CLOCK_TOLERANCE_MS = MINUTE_MS
/** Seconds of this size would be in the year 5138. */
const FIRST_MILLISECONDS = 1e11

/**
 * The hour in which an event occurred according to its bank. Returns undefined if the time is invalid, older than 30 days, or in
 * the future beyond the clock tolerance.
 */
export function validateEventTime(statedAt: Date, now: Date): Date | undefined {
  const ageMs = now.getTime() - statedAt.getTime()
  if (ageMs > MAX_EVENT_AGE_MS || ageMs < -CLOCK_TOLERANCE_MS || Number.isNaN(ageMs)) return undefined
  return startOfHour(ageMs < 0 ? now : statedAt)
}

/** The time of a NumericDate (RFC 7519, 2). Drafts of CAEP have milliseconds. */
export const fromNumericDate = (number: number): Date => new Date(number < FIRST_MILLISECONDS ? number * 1_000 : number)
