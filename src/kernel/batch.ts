import DataLoader from 'dataloader'
import { perRequest, type RequestContext } from './request-context.ts'

/** When a batch starts, and how large it gets. */
export interface BatchOptions {
  /** Items of one call; more go into a further call. Default: 500. */
  readonly maxBatchSize?: number
  /** How long items are collected, in milliseconds. Default: for one turn of the event loop. */
  readonly windowMs?: number
  /** The least time between the starts of two batches, in milliseconds. Default: none. */
  readonly minIntervalMs?: number
}

/**
 * Collects items and passes them to `loadBatch` in order. `loadBatch` returns one result or error per item, in the same order;
 * if it throws, every item of the batch fails with that error. No result is cached.
 */
export function createBatcher<Q, A>(
  loadBatch: (items: readonly Q[]) => Promise<readonly (A | Error)[]>,
  { maxBatchSize = 500, windowMs = 0, minIntervalMs = 0 }: BatchOptions = {},
): (item: Q) => Promise<A> {
  let lastStartMs = -minIntervalMs
  const loader = new DataLoader<Q, A>(
    (items) => {
      lastStartMs = performance.now()
      return loadBatch(items)
    },
    {
      cache: false,
      maxBatchSize,
      batchScheduleFn(start) {
        const delayMs = Math.max(windowMs, minIntervalMs && lastStartMs + minIntervalMs - performance.now())
        if (delayMs > 0) setTimeout(start, delayMs)
        else setImmediate(start)
      },
    },
  )
  return (item) => loader.load(item)
}

/**
 * Loads values for the fields of one request: `load` is called once for the keys of all fields that are resolved in the same
 * turn, and returns one value per key, in the same order. Requests never share a value. With `isCached: false` a key that is
 * loaded again later in the request is read again.
 */
export function createRequestLoader<V>(
  load: (keys: readonly string[]) => Promise<readonly V[]>,
  { isCached = true }: { isCached?: boolean } = {},
): (key: string, context: RequestContext) => Promise<V> {
  const loaderOf = perRequest(() => new DataLoader<string, V>(load, { cache: isCached }))
  return (key, context) => loaderOf(context).load(key)
}
