import { bytesOfData, createCache } from './cache.ts'
import type { Clock } from './clock.ts'
import { createForgets } from './forgets.ts'

/** What was looked up a moment ago, bounded in bytes and time. What does not exist (`null`) is never remembered. */
export interface Memory<V> {
  /**
   * The remembered value, at once; or what `load` gives, asked for once however many wait for it. `tags` are the tags of
   * the value, if they are known before it is: then a forget of something else leaves the look-up as it is.
   */
  get(key: string, load: () => Promise<V>, tags?: readonly string[]): V | Promise<V>
  /** What is remembered, if anything is. */
  known(key: string): V | undefined
  /** Names the moment for a later `put`. */
  moment(): number
  /** Remembers what was found out since `moment`, unless it was forgotten since, by its key or one of its tags. */
  put(key: string, value: V, moment: number): void
  forget(key: string): void
  /** Forgets what has this tag, in time in proportion to that. What has not stays, and so do look-ups under way. */
  forgetTagged(tag: string): void
  forgetAll(): void
}

/** What a memory is bounded by. */
export interface MemoryOptions<V> {
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
  readonly trusted: () => number | boolean
}

interface Loading<V> {
  readonly running: Promise<V>
  readonly moment: number
  /** Nothing while the value is not known. */
  readonly tags: readonly string[] | undefined
}

/** A key as a tag that no caller's tag can be. */
const keyTag = (key: string): string => `\0${key}`

/**
 * A memory that never brings back what was forgotten: a look-up that began before a `forget` of its value is handed to
 * those who wait for it and is not kept.
 */
export function createMemory<V>({
  clock,
  maxBytes,
  bytesOf = bytesOfData,
  tagsOf = () => [],
  ttlMs,
  trusted,
}: MemoryOptions<V>): Memory<V> {
  const cache = createCache<{ readonly value: V; readonly untilMs: number }>({
    maxBytes,
    bytesOf: ({ value }) => bytesOf(value),
    tagsOf: ({ value }, key) => tagsOf(value, key),
  })
  const loading = new Map<string, Loading<V>>()
  const forgets = createForgets()
  let epoch = trusted()

  /** Whether the cache may be used, after dropping what belongs to an earlier epoch. */
  function isCoherent(): boolean {
    const now = trusted()
    if (now !== epoch) {
      epoch = now
      forgetAll()
    }
    return now !== false
  }

  function put(key: string, value: V, moment: number): void {
    if (!isCoherent()) return
    const isNothing = value === null || value === undefined
    if (forgets.since(moment, [keyTag(key), ...(isNothing ? [] : tagsOf(value, key))])) return
    // What is being looked up may be older than what is known now.
    loading.delete(key)
    // A caller can invent any number of ids of nothing.
    if (isNothing) cache.delete(key)
    else cache.set(key, { value, untilMs: clock.now().getTime() + ttlMs })
  }

  function known(key: string): V | undefined {
    if (!isCoherent()) return undefined
    const found = cache.get(key)
    return found && found.untilMs > clock.now().getTime() ? found.value : undefined
  }

  /** A look-up under way that may be joined: nothing that it may be about was forgotten since it began. */
  function underWay(key: string): Promise<V> | undefined {
    const found = loading.get(key)
    if (!found) return undefined
    const { running, moment, tags } = found
    const isOld = tags ? forgets.since(moment, [keyTag(key), ...tags]) : forgets.generation !== moment
    return isOld ? undefined : running
  }

  function look(key: string, load: () => Promise<V>, tags: readonly string[] | undefined): Promise<V> {
    const moment = forgets.generation
    /** Whether nothing newer took its place. */
    const ended = (): boolean => loading.get(key)?.running === running && loading.delete(key)
    const running = load().then(
      (value) => {
        if (ended()) put(key, value, moment)
        return value
      },
      (error: unknown) => {
        ended()
        throw error
      },
    )
    loading.set(key, { running, moment, tags })
    return running
  }

  function forgetAll(): void {
    forgets.addAll()
    loading.clear()
    cache.clear()
  }

  return {
    get(key, load, tags) {
      if (!isCoherent()) return load()
      const found = known(key)
      return found === undefined ? (underWay(key) ?? look(key, load, tags)) : found
    },
    known,
    moment() {
      isCoherent()
      return forgets.generation
    },
    put,
    forget(key) {
      forgets.add(keyTag(key))
      cache.delete(key)
    },
    forgetTagged(tag) {
      forgets.add(tag)
      cache.deleteTagged(tag)
    },
    forgetAll,
  }
}
