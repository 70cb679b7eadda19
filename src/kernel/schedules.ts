import { DAY_MS, HOUR_MS, MINUTE_MS } from './clock.ts'

/** How long after the expiry of its access token a connection's tokens count as idle, in milliseconds. */
export const UNUSED_TOKENS_MS = 7 * DAY_MS

/** When a job that nothing announces runs. */
export interface Schedule {
  /** What the job does, as the subject of a sentence. */
  readonly what: string
  /** How long after the end of a run the next one starts, in milliseconds. */
  readonly everyMs: number
  /** Why it is so long. */
  readonly why: string
}

/**
 * Every scheduled job, by its name in metrics and in the graph. Of all processes, one runs a job at a time; a failed run is
 * repeated by `RETRIES.scheduledJob`. docs/RETRIES.md is generated from this table.
 */
export const SCHEDULES = {
  'consent-expiry': {
    what: 'Ending consents that have expired, and those whose authorization code was not redeemed in time',
    everyMs: MINUTE_MS,
    why: 'Expiry itself is checked at every read; what follows from it may take a minute.',
  },
  'consent-reminders': {
    what: 'Reminding platforms of consents that end in 30 days, 7 days or 1 day',
    everyMs: HOUR_MS / 6,
    why: 'A reminder counts days. Each consent has the time of its next one, so that the job reads only those that are due.',
  },
  'abandoned-opt-ins': {
    what: 'Rejecting consents whose customer did not return from the bank',
    everyMs: MINUTE_MS,
    why: 'The bank-side consent of an abandoned opt-in should not stay open for long.',
  },
  'balance-lines': {
    what: 'Comparing balances with the lines that customers drew, each 6 to 8 hours after the last time',
    everyMs: 5 * MINUTE_MS,
    why: 'Each line has a random time of its own, so that the job reads only those that are due.',
  },
  'idle-tokens': {
    what: 'Renewing the tokens of banks that nobody has used for a week',
    everyMs: HOUR_MS / 6,
    why: 'Banks end refresh tokens that stay unused. A connection whose bank does not respond is tried again after a day.',
  },
  'bank-notices': {
    what: 'Recording notices about the health of banks and about certificates that expire',
    everyMs: MINUTE_MS,
    why: 'A partner learns of an outage within minutes.',
  },
  certification: {
    what: 'Queuing the certification runs of active connectors that are due',
    everyMs: MINUTE_MS,
    why: 'One indexed statement for each active connector.',
  },
  retention: {
    what: 'Deleting rows whose retention has ended',
    everyMs: HOUR_MS / 6,
    why: 'A run ends when nothing is left to delete, so that rows go as fast as they came.',
  },
} as const satisfies Readonly<Record<string, Schedule>>

/** The name of a scheduled job. */
export type ScheduleName = keyof typeof SCHEDULES

/** The names of all scheduled jobs. */
export const SCHEDULE_NAMES = Object.keys(SCHEDULES) as ScheduleName[]
