/** The time of day, so that tests can replace it. Only this file may read the system's clocks and set its timers. */
export interface Clock {
  now(): Date
}

/** Durations and waiting, so that tests can replace them. */
export interface Timers {
  /** Milliseconds on a clock that is never set. Only the difference between two readings has a meaning. */
  monotonicMs(): number
  /** Calls `run` once, after `delayMs` milliseconds. */
  setTimeout(run: () => void, delayMs: number): Timer
  /** Calls `run` every `intervalMs` milliseconds. */
  setInterval(run: () => void, intervalMs: number): Timer
  /** Resolves after `delayMs` milliseconds. */
  sleep(delayMs: number): Promise<void>
}

/** A call that is scheduled. */
export interface Timer {
  /** Cancels the calls that are still to come. */
  clear(): void
  /** Lets the process exit although this timer is pending. Returns the timer. */
  unref(): Timer
}

/** The machine's clock. */
export const systemClock: Clock = { now: () => new Date() }

/** The machine's timers. */
export const systemTimers: Timers = {
  monotonicMs: () => performance.now(),
  setTimeout: (run, delayMs) => toTimer(setTimeout(run, delayMs)),
  setInterval: (run, intervalMs) => toTimer(setInterval(run, intervalMs)),
  sleep: (delayMs) => new Promise((resolve) => setTimeout(resolve, delayMs)),
}

const toTimer = (timeout: NodeJS.Timeout): Timer => ({
  clear: () => clearTimeout(timeout),
  unref() {
    timeout.unref()
    return this
  },
})

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

/** `at` minus `ms` milliseconds, as a new date. */
export const subtractMs = (at: Date, ms: number): Date => new Date(at.getTime() - ms)

/** The start (UTC) of the hour that contains `at`: the precision that an alert may disclose. */
export const startOfHour = (at: Date): Date => new Date(Math.floor(at.getTime() / HOUR_MS) * HOUR_MS)
