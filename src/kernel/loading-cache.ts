import { bytesOfData, createBoundedCache } from './cache.ts'
import type { Clock } from './clock.ts'
import { createInvalidationLog } from './invalidation-log.ts'

/** What was looked up a moment ago, bounded in bytes and time. What does not exist (`null`) is never remembered. */
export interface LoadingCache<V> {
  /**
   * The remembered value, at once; or what `load` gives, asked for once however many wait for it. `tags` are the tags of
   * the value, if they are known before it is: then a forget of something else leaves the look-up as it is.
   */
  get(key: string, load: () => Promise<V>, tags?: readonly string[]): V | Promise<V>
  /** What is remembered, if anything is. */
  getIfPresent(key: string): V | undefined
  /** Names the moment for a later `put`. */
  epoch(): number
  /** Remembers what was found out since `moment`, unless it was forgotten since, by its key or one of its tags. */
  put(key: string, value: V, epoch: number): void
  invalidate(key: string): void
  /** Forgets what has this tag, in time in proportion to that. What has not stays, and so do look-ups under way. */
  invalidateTag(tag: string): void
  invalidateAll(): void
}

/** What a memory is bounded by. */
export interface LoadingCacheOptions<V> {
  readonly clock: Clock
  /** Beyond this, the entries that were not used for the longest time go first. */
  readonly maxBytes: number
  /** The heap that a value keeps in use, in bytes; by default, that of plain data. */
  readonly bytesOf?: (value: V) => number
  /** Whom or what a value is about, such as its customer's id: what it can be forgotten by beside its key. */
  readonly tagsOf?: (value: V, key: string) => readonly string[]
  /** A second net: what makes an entry wrong must forget it at once. */
  readonly ttlMs: number
  /**
   * False while changes may be missed: then everything is looked up. Otherwise a value that is another one once changes
   * may have been missed: then everything that was cached before is dropped.
   */
  readonly coherence: () => number | boolean
}

interface InFlightLoad<V> {
  readonly promise: Promise<V>
  readonly epoch: number
  /** Nothing while the value is not known. */
  readonly tags: readonly string[] | undefined
}

/** A key as a tag that no caller's tag can be. */
const keyTag = (key: string): string => `\0${key}`

/**
 * A memory that never brings back what was forgotten: a look-up that began before a `forget` of its value is handed to
 * those who wait for it and is not kept.
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
    // What is being looked up may be older than what is known now.
    inFlight.delete(key)
    // A caller can invent any number of ids of nothing.
    if (isAbsent) cache.delete(key)
    else cache.set(key, { value, expiresAtMs: clock.now().getTime() + ttlMs })
  }

  function getIfPresent(key: string): V | undefined {
    if (!isCoherent()) return undefined
    const found = cache.get(key)
    return found && found.expiresAtMs > clock.now().getTime() ? found.value : undefined
  }

  /** A look-up under way that may be joined: nothing that it may be about was forgotten since it began. */
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
    /** Whether nothing newer took its place. */
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
      const found = getIfPresent(key)
      return found === undefined ? (findJoinableLoad(key) ?? startLoad(key, load, tags)) : found
    },
    getIfPresent,
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
