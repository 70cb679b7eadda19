/** Counters that are summed in memory and added to a table in batches. */
export interface BatchedCounters<Row> {
  /** Adds the row's amounts to the pending row of the same key. */
  add(row: Row): void
  /** Writes the pending rows. If that fails, it throws and the rows stay pending. */
  flush(): Promise<void>
}

/**
 * Creates counters that sum `fields` by `keyOf(row)`. `write` must update rows in the order of the table's key, because two
 * processes that lock the same rows in different orders would deadlock.
 */
export function createBatchedCounters<Field extends string, Row extends Readonly<Record<Field, number>>>(
  fields: readonly Field[],
  keyOf: (row: Row) => string,
  write: (rows: readonly Row[]) => Promise<void>,
): BatchedCounters<Row> {
  let pending = new Map<string, Row>()

  function add(row: Row): void {
    const key = keyOf(row)
    const sum = pending.get(key) as Record<Field, number> | undefined
    if (sum) for (const field of fields) sum[field] += row[field]
    else pending.set(key, { ...row })
  }

  return {
    add,
    async flush() {
      const batch = [...pending.values()]
      pending = new Map()
      if (batch.length === 0) return
      try {
        await write(batch)
      } catch (error) {
        for (const row of batch) add(row)
        throw error
      }
    },
  }
}
