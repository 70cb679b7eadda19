import { bytesOfData, createBoundedCache } from './cache.ts'
import type { Clock } from './clock.ts'
import { createInvalidationLog } from './invalidation-log.ts'

/** A loading cache, bounded in bytes and time. Absent values (`null`, `undefined`) are never cached. */
export interface LoadingCache<V> {
  /**
   * The cached value, synchronously, or the result of `load`. Concurrent calls with one key share one load. `tags` are the
   * tags of the value, if they are known before the load: then later callers may join the load after unrelated invalidations.
   */
  get(key: string, load: () => Promise<V>, tags?: readonly string[]): V | Promise<V>
  /** The cached value, without loading it. */
  getIfPresent(key: string): V | undefined
  /** The current epoch. Read it before loading a value for `put`. */
  epoch(): number
  /** Stores a value that was loaded after `epoch`, unless its key or one of its tags was invalidated since. */
  put(key: string, value: V, epoch: number): void
  invalidate(key: string): void
  /** Invalidates the values with this tag; takes time proportional to their number. Loads with other tags stay valid. */
  invalidateTag(tag: string): void
  invalidateAll(): void
}

/** The options of a loading cache. */
export interface LoadingCacheOptions<V> {
  readonly clock: Clock
  /** Beyond this, the least recently used entries are evicted. */
  readonly maxBytes: number
  /** The heap that a value uses, in bytes; by default, that of plain data. */
  readonly bytesOf?: (value: V) => number
  /** Tags by which a value can be invalidated besides its key, such as its customer's id. */
  readonly tagsOf?: (value: V, key: string) => readonly string[]
  /** A safety net only: every change of a value must also invalidate it. */
  readonly ttlMs: number
  /**
   * `false` while invalidations may be missed: then every `get` loads. Otherwise a value that changes once invalidations may
   * have been missed: then everything cached before is dropped.
   */
  readonly coherence: () => number | boolean
}

interface InFlightLoad<V> {
  readonly promise: Promise<V>
  readonly epoch: number
  /** `undefined` if the tags are not known before the value. */
  readonly tags: readonly string[] | undefined
}

/** A key as a tag that cannot collide with a caller's tag. */
const keyTag = (key: string): string => `\0${key}`

/**
 * Creates a cache that never brings back an invalidated value: a load that started before the invalidation is returned to its
 * callers but not stored.
 */
export function createLoadingCache<V>({
  clock,
  maxBytes,
  bytesOf = bytesOfData,
  tagsOf = () => [],
  ttlMs,
  coherence,
}: LoadingCacheOptions<V>): LoadingCache<V> {
  const cache = createBoundedCache<{ readonly value: V; readonly expiresAtMs: number }>({
    maxBytes,
    bytesOf: ({ value }) => bytesOf(value),
    tagsOf: ({ value }, key) => tagsOf(value, key),
  })
  const inFlight = new Map<string, InFlightLoad<V>>()
  const invalidations = createInvalidationLog()
  let lastCoherence = coherence()

  /** Whether the cache may be used, after dropping what belongs to an earlier epoch. */
  function isCoherent(): boolean {
    const current = coherence()
    if (current !== lastCoherence) {
      lastCoherence = current
      invalidateAll()
    }
    return current !== false
  }

  function put(key: string, value: V, epoch: number): void {
    if (!isCoherent()) return
    const isAbsent = value === null || value === undefined
    if (invalidations.isInvalidatedSince(epoch, [keyTag(key), ...(isAbsent ? [] : tagsOf(value, key))])) return
    // A load in flight may be older than this value.
    inFlight.delete(key)
    // Not cached, because callers can make up any number of ids that do not exist.
    if (isAbsent) cache.delete(key)
    else cache.set(key, { value, expiresAtMs: clock.now().getTime() + ttlMs })
  }

  /** The cached value. Call it only while the cache is coherent: each proof of that reads the clock. */
  function find(key: string): V | undefined {
    const found = cache.get(key)
    return found && found.expiresAtMs > clock.now().getTime() ? found.value : undefined
  }

  /** A load in flight whose value was not invalidated since it started. */
  function findJoinableLoad(key: string): Promise<V> | undefined {
    const found = inFlight.get(key)
    if (!found) return undefined
    const { promise, epoch, tags } = found
    const isStale = tags
      ? invalidations.isInvalidatedSince(epoch, [keyTag(key), ...tags])
      : invalidations.epoch !== epoch
    return isStale ? undefined : promise
  }

  function startLoad(key: string, load: () => Promise<V>, tags: readonly string[] | undefined): Promise<V> {
    const epoch = invalidations.epoch
    /** Removes this load unless a newer one replaced it; returns whether it did. */
    const removeIfCurrent = (): boolean => inFlight.get(key)?.promise === promise && inFlight.delete(key)
    const promise = load().then(
      (value) => {
        if (removeIfCurrent()) put(key, value, epoch)
        return value
      },
      (error: unknown) => {
        removeIfCurrent()
        throw error
      },
    )
    inFlight.set(key, { promise, epoch, tags })
    return promise
  }

  function invalidateAll(): void {
    invalidations.addAll()
    inFlight.clear()
    cache.clear()
  }

  return {
    get(key, load, tags) {
      if (!isCoherent()) return load()
      const found = find(key)
      return found === undefined ? (findJoinableLoad(key) ?? startLoad(key, load, tags)) : found
    },
    getIfPresent: (key) => (isCoherent() ? find(key) : undefined),
    epoch() {
      isCoherent()
      return invalidations.epoch
    },
    put,
    invalidate(key) {
      invalidations.add(keyTag(key))
      cache.delete(key)
    },
    invalidateTag(tag) {
      invalidations.add(tag)
      cache.deleteByTag(tag)
    },
    invalidateAll,
  }
}
