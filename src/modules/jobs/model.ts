import type { ErrorCode } from '../../kernel/errors.ts'
import type { ScheduleName } from '../../kernel/schedules.ts'
import type { OutboxTopic } from '../outbox/index.ts'

/** A scheduled job that this process has claimed. */
export interface ScheduleClaim {
  readonly name: ScheduleName
  /** The end of the lease, by the database's clock. Every claim has a different one. */
  readonly claimedUntil: Date
  /** Failed runs in a row. */
  readonly failureCount: number
}

/**
 * Runs a scheduled job once. It must be safe to repeat, also after a part of it. It should stop early when `shouldContinue`
 * returns false: the process stops, or another one has claimed the job.
 */
export type RunScheduledJob = (shouldContinue: () => boolean) => Promise<unknown>

/** What the scheduled jobs do. A job that is left out does not run in this process. */
export type ScheduledJobs = Readonly<Partial<Record<ScheduleName, RunScheduledJob>>>

/** A scheduled job of the installation. */
export interface ScheduledJobState {
  readonly name: ScheduleName
  readonly nextRunAt: Date
  readonly lastFinishedAt: Date | null
  /** The first failed run since the last success. */
  readonly failingSince: Date | null
  readonly failureCount: number
  readonly lastErrorCode: ErrorCode | null
}

/** A scheduled job, or the messages of one topic of the outbox, as operators see it. */
export interface BackgroundJob {
  readonly name: ScheduleName | OutboxTopic
  /** Null if messages cause the job. */
  readonly nextRunAt: Date | null
  readonly lastSucceededAt: Date | null
  /** Null if nothing fails. */
  readonly failingSince: Date | null
  /** Failed attempts since the last success; of messages, the highest number. */
  readonly failureCount: number
  readonly lastErrorCode: ErrorCode | null
  /** Pending messages that keep failing. */
  readonly failingMessageCount: number
}
