/** The only source of time, so that tests can replace it. Nothing else may read the system clock. */
export interface Clock {
  now(): Date
}

/** The machine's clock. */
export const systemClock: Clock = { now: () => new Date() }

/** One second in milliseconds. */
export const SECOND_MS = 1_000
/** One minute in milliseconds. */
export const MINUTE_MS = 60_000
/** One hour in milliseconds. */
export const HOUR_MS = 3_600_000
/** One day in milliseconds. */
export const DAY_MS = 86_400_000

/** How far another party's clock may be ahead of ours, in seconds (FAPI 2.0 Security Profile, 5.3.2.1). */
export const CLOCK_TOLERANCE_SECONDS = 10

/** `at` plus `ms` milliseconds, as a new date. */
export const addMs = (at: Date, ms: number): Date => new Date(at.getTime() + ms)

/** The start (UTC) of the hour that contains `at`: the precision that an alert may disclose. */
export const startOfHour = (at: Date): Date => new Date(Math.floor(at.getTime() / HOUR_MS) * HOUR_MS)
