import type { ErrorCode } from '../../kernel/errors.ts'
import { SCHEDULE_NAMES, type ScheduleName } from '../../kernel/schedules.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { ScheduleClaim, ScheduledJobState } from './model.ts'

/** A job that may be claimed. */
interface Claimable {
  readonly name: ScheduleName
  /** The longest wait that the job's schedule can have, in milliseconds. A later time was set by a clock that was ahead. */
  readonly maxWaitMs: number
}

const ADD_SQL = `
  insert into scheduled_job (name, next_run_at) select unnest($1::text[]), $2::timestamptz on conflict (name) do nothing`
const CLAIM_SQL = `
  update scheduled_job job set claimed_until = statement_timestamp() + $4::int * interval '1 millisecond'
  from (
    select name from scheduled_job join unnest($1::text[], $2::int[]) as claimable (name, max_wait_ms) using (name)
    where (next_run_at <= $3::timestamptz or next_run_at > $3::timestamptz + max_wait_ms * interval '1 millisecond')
      and coalesce(claimed_until <= statement_timestamp(), true)
    order by next_run_at limit $5 for update of scheduled_job skip locked) as due
  where job.name = due.name
  returning job.name, job.claimed_until as "claimedUntil", job.failure_count as "failureCount"`
const EXTEND_SQL = `
  update scheduled_job set claimed_until = statement_timestamp() + $3::int * interval '1 millisecond'
  where name = $1 and claimed_until = $2 returning claimed_until as "claimedUntil"`

/** The scheduled jobs of the installation: one row each, claimed with a lease. */
export const scheduledJobStore = (database: Database) => ({
  /** Adds the jobs that have no row yet, due at `at`. */
  async add(names: readonly ScheduleName[], at: Date): Promise<void> {
    await database.query('add-scheduled-jobs', ADD_SQL, [names, at])
  },

  /** Claims up to `limit` of these jobs that are due and that no other process has claimed, each for `leaseMs`. */
  claim: (claimable: readonly Claimable[], limit: number, now: Date, leaseMs: number): Promise<ScheduleClaim[]> =>
    database.query<ScheduleClaim>('claim-scheduled-jobs', CLAIM_SQL, [
      claimable.map(({ name }) => name),
      claimable.map(({ maxWaitMs }) => maxWaitMs),
      now,
      leaseMs,
      limit,
    ]),

  /** Prolongs a claim. Returns its new end, which identifies it from now on; undefined if it was lost. */
  async extend(name: ScheduleName, claimedUntil: Date, leaseMs: number): Promise<Date | undefined> {
    const [row] = await database.query<{ claimedUntil: Date }>('extend-scheduled-job', EXTEND_SQL, [
      name,
      claimedUntil,
      leaseMs,
    ])
    return row?.claimedUntil
  },

  /** Every job that has a row. */
  async list(): Promise<ScheduledJobState[]> {
    const rows = await database.tables.scheduledJob.findMany({ where: { name: { in: SCHEDULE_NAMES } } })
    return rows as unknown as ScheduledJobState[]
  },

  /** Stores the success of a run and schedules the next one. Has no effect if the claim was lost. */
  async finish(name: ScheduleName, claimedUntil: Date, now: Date, nextRunAt: Date): Promise<void> {
    await database.tables.scheduledJob.updateMany({
      where: { name, claimedUntil },
      data: {
        claimedUntil: null,
        nextRunAt,
        lastFinishedAt: now,
        failureCount: 0,
        failingSince: null,
        lastErrorCode: null,
      },
    })
  },

  /** Counts a failed run and schedules the next one. Has no effect if the claim was lost. */
  async fail(name: ScheduleName, claimedUntil: Date, now: Date, nextRunAt: Date, code: ErrorCode): Promise<void> {
    await database.transaction(async (tx) => {
      const { scheduledJob } = tablesIn(tx)
      await scheduledJob.updateMany({ where: { name, claimedUntil, failingSince: null }, data: { failingSince: now } })
      await scheduledJob.updateMany({
        where: { name, claimedUntil },
        data: {
          claimedUntil: null,
          nextRunAt,
          lastFailedAt: now,
          failureCount: { increment: 1 },
          lastErrorCode: code,
        },
      })
    })
  },

  /** Gives a claim back, so that another process can run the job at once. */
  async release(name: ScheduleName, claimedUntil: Date): Promise<void> {
    await database.tables.scheduledJob.updateMany({ where: { name, claimedUntil }, data: { claimedUntil: null } })
  },
})
