interface PendingItem<Q, A> {
  readonly item: Q
  readonly resolve: (result: A) => void
  readonly reject: (error: unknown) => void
}

/**
 * Collects items for one turn of the event loop, or for `windowMs`, and passes them to `loadBatch` in order, at most
 * `maxBatchSize` per call. Batches start at least `minIntervalMs` apart. `loadBatch` returns one result or error per item, in
 * the same order; if it throws, every item of the batch fails with that error.
 */
export function createBatcher<Q, A>(
  loadBatch: (items: readonly Q[]) => Promise<readonly (A | Error)[]>,
  {
    maxBatchSize = 500,
    windowMs = 0,
    minIntervalMs = 0,
  }: { maxBatchSize?: number; windowMs?: number; minIntervalMs?: number } = {},
): (item: Q) => Promise<A> {
  let queue: PendingItem<Q, A>[] = []
  let lastFlushMs = -minIntervalMs

  function flush(): void {
    const all = queue
    queue = []
    lastFlushMs = performance.now()
    for (let offset = 0; offset < all.length; offset += maxBatchSize)
      void runBatch(all.slice(offset, offset + maxBatchSize))
  }

  async function runBatch(batch: readonly PendingItem<Q, A>[]): Promise<void> {
    try {
      const results = await loadBatch(batch.map(({ item }) => item))
      batch.forEach(({ resolve, reject }, index) => {
        const result = results[index]
        if (result instanceof Error) reject(result)
        else resolve(result as A)
      })
    } catch (error) {
      for (const { reject } of batch) reject(error)
    }
  }

  return (item) =>
    new Promise((resolve, reject) => {
      if (queue.push({ item, resolve, reject }) > 1) return
      const delayMs = Math.max(windowMs, minIntervalMs && lastFlushMs + minIntervalMs - performance.now())
      if (delayMs > 0) setTimeout(flush, delayMs)
      else setImmediate(flush)
    })
}
