import DataLoader from 'dataloader'
import type { Timers } from './clock.ts'
import { perRequest, type RequestContext } from './request-context.ts'

/** When a batch starts, and how large it gets. */
export interface BatchOptions {
  /** Items of one call; more go into a further call. Default: 500. */
  readonly maxBatchSize?: number
  /** When a batch starts. Default: after one turn of the event loop. */
  readonly spacing?: BatchSpacing
}

/** How long items are collected. */
interface BatchSpacing {
  readonly timers: Timers
  /** The time from the first item to the start of its batch, in milliseconds. Default: one turn of the event loop. */
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
  { maxBatchSize = 500, spacing }: BatchOptions = {},
): (item: Q) => Promise<A> {
  const loader = new DataLoader<Q, A>(loadBatch, {
    cache: false,
    maxBatchSize,
    batchScheduleFn: spacing ? scheduleWithSpacing(spacing) : setImmediate,
  })
  return (item) => loader.load(item)
}

function scheduleWithSpacing({ timers, windowMs = 0, minIntervalMs = 0 }: BatchSpacing): (start: () => void) => void {
  let lastStartMs = -Infinity
  return (start) => {
    const startBatch = (): void => {
      lastStartMs = timers.monotonicMs()
      start()
    }
    const delayMs = Math.max(windowMs, lastStartMs + minIntervalMs - timers.monotonicMs())
    if (delayMs > 0) timers.setTimeout(startBatch, delayMs)
    else setImmediate(startBatch)
  }
}

/**
 * Loads values for the fields of one request: `load` is called once for the keys of all fields that are resolved in the same
 * turn, and returns one value per key, in the same order. Requests never share a value. With `isCached: false` a key that is
 * loaded again later in the request is read again.
 */
export function createRequestLoader<V>(
  load: (keys: readonly string[], context: RequestContext) => Promise<readonly V[]>,
  { isCached = true }: { isCached?: boolean } = {},
): (key: string, context: RequestContext) => Promise<V> {
  const loaderOf = perRequest(
    (context) => new DataLoader<string, V>((keys) => load(keys, context), { cache: isCached }),
  )
  return (key, context) => loaderOf(context).load(key)
}
