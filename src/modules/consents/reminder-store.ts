import type { Sql } from '../../storage/database.ts'

// An array of IDs, so that the planner finds the rows by them.
const TAKE_DUE_SQL = `
  update consent set reminder_due_at = (
    select min(step.due_at) from (
      select consent.expires_at - days_before * interval '24 hours' as due_at from unnest($3::int[]) as days_before) as step
    where step.due_at > $1)
  where id = any(array(
    select id from consent where status = 'ACTIVE' and reminder_due_at <= $1
    order by reminder_due_at limit $2 for no key update skip locked))
  returning id, expires_at > $1 as "isLive"`

/** A consent whose reminder was due. */
export interface DueReminder {
  readonly id: string
  /** Whether it has not expired. */
  readonly isLive: boolean
}

/** When reminders of the end of consents are due. */
export const reminderStore = {
  /**
   * Takes up to `limit` ACTIVE consents whose reminder is due, and sets when the next one is: by the first of these steps that is still
   * to come. Leaves out those that another transaction has locked. Fewer than `limit` are left only if they are locked.
   */
  takeDueReminders: (sql: Sql, now: Date, limit: number, daysBefore: readonly number[]): Promise<DueReminder[]> =>
    sql.query('take-due-reminders', TAKE_DUE_SQL, [now, limit, daysBefore]),
}
