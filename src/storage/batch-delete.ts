import type { Database } from './database.ts'

/** Rows that one statement deletes: milliseconds, where a statement may take 15 s. */
const BATCH_ROWS = 1_000
/** Of one table at a time: the rest is deleted the next time. */
const MAX_BATCHES = 200

/** Which rows of a table have had their time. */
export interface ExpiredRows {
  /** A table of ours. */
  readonly table: string
  /** The condition, with `$1` for the first of `values`. */
  readonly where: string
  /** The column that an index finds them by. */
  readonly orderBy: string
  readonly values: readonly unknown[]
}

/**
 * Deletes outdated rows, the oldest first, in statements of 1,000 rows each, at most 200,000 rows; returns how many. What
 * somebody else holds at the moment stays for the next time.
 */
export async function deleteInBatches(
  database: Database,
  { table, where, orderBy, values }: ExpiredRows,
): Promise<number> {
  const sql = `
    with outdated as (
      select ctid from ${table} where ${where} order by ${orderBy} limit ${BATCH_ROWS} for update skip locked),
    gone as (delete from ${table} where ctid = any(array(select ctid from outdated)) returning 1)
    select count(*)::int as count from gone`
  let total = 0
  for (let batch = 0; batch < MAX_BATCHES; batch++) {
    const [row] = await database.query<{ count: number }>(`delete-${table}`, sql, values)
    total += row!.count
    if (row!.count < BATCH_ROWS) break
  }
  return total
}
