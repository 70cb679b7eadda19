import { MAX_DELETED_ROWS } from '../kernel/retention.ts'
import type { Database } from './database.ts'

/** Rows per statement: takes milliseconds, far below the statement timeout. */
const BATCH_ROWS = 1_000

/** Selects the expired rows of a table. */
export interface ExpiredRows {
  /** The table's name in SQL. */
  readonly table: string
  /** The SQL condition, with `$1` for the first of `values`. */
  readonly where: string
  /** An indexed column that orders the rows by age. */
  readonly orderBy: string
  readonly values: readonly unknown[]
}

/**
 * Deletes expired rows, oldest first, in statements of 1,000 rows, at most 200,000 rows per call. Skips rows that another
 * transaction has locked. Returns the number of deleted rows.
 */
export async function deleteInBatches(
  database: Database,
  { table, where, orderBy, values }: ExpiredRows,
): Promise<number> {
  const sql = `
    with expired as (
      select ctid from ${table} where ${where} order by ${orderBy} limit ${BATCH_ROWS} for update skip locked),
    deleted as (delete from ${table} where ctid = any(array(select ctid from expired)) returning 1)
    select count(*)::int as count from deleted`
  let total = 0
  while (total < MAX_DELETED_ROWS) {
    const [row] = await database.query<{ count: number }>(`delete-${table}`, sql, values)
    total += row!.count
    if (row!.count < BATCH_ROWS) break
  }
  return total
}
