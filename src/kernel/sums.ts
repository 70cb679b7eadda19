/** Sums that many requests add to: gathered in memory, and added to a table a batch at a time. */
export interface Sums<Row> {
  /** Adds the row's amounts to those of the same key. */
  add(row: Row): void
  /** Writes what was gathered until now. Where that fails, it is kept for the next time, and this throws. */
  flush(): Promise<void>
}

/**
 * Sums of `amounts` by key. `write` adds whole batches; it must take the rows in the order of the table's key, since two
 * processes that write the same ones in different orders would wait for each other.
 */
export function createSums<Amount extends string, Row extends Readonly<Record<Amount, number>>>(
  amounts: readonly Amount[],
  keyOf: (row: Row) => string,
  write: (rows: readonly Row[]) => Promise<void>,
): Sums<Row> {
  let gathered = new Map<string, Row>()

  function add(row: Row): void {
    const key = keyOf(row)
    const before = gathered.get(key)
    gathered.set(key, before ? { ...row, ...sumOf(before, row) } : row)
  }
  const sumOf = (one: Row, other: Row) =>
    Object.fromEntries(amounts.map((amount) => [amount, one[amount] + other[amount]]))

  return {
    add,
    async flush() {
      const batch = [...gathered.values()]
      gathered = new Map()
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
