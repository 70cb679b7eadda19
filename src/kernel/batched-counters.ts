/** Sums that many requests add to: gathered in memory, and added to a table a batch at a time. */
export interface BatchedCounters<Row> {
  /** Adds the row's amounts to those of the same key. */
  add(row: Row): void
  /** Writes what was gathered until now. Where that fails, it is kept for the next time, and this throws. */
  flush(): Promise<void>
}

/**
 * Sums of `amounts` by key. `write` adds whole batches; it must take the rows in the order of the table's key, since two
 * processes that write the same ones in different orders would wait for each other.
 */
export function createBatchedCounters<Field extends string, Row extends Readonly<Record<Field, number>>>(
  fields: readonly Field[],
  keyOf: (row: Row) => string,
  write: (rows: readonly Row[]) => Promise<void>,
): BatchedCounters<Row> {
  let pending = new Map<string, Row>()

  function add(row: Row): void {
    const key = keyOf(row)
    const existing = pending.get(key)
    pending.set(key, existing ? { ...row, ...addFields(existing, row) } : row)
  }
  const addFields = (one: Row, other: Row) =>
    Object.fromEntries(fields.map((field) => [field, one[field] + other[field]]))

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
