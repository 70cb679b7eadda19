import { bytesOfData, createCache } from './cache.ts'
import type { Clock } from './clock.ts'

/** What was looked up a moment ago, bounded in bytes and time. What does not exist (`null`) is never remembered. */
export interface Memory<V> {
  /** The remembered value, at once; or what `load` gives, asked for once however many wait for it. */
  get(key: string, load: () => Promise<V>): V | Promise<V>
  /** What is remembered, if anything is. */
  known(key: string): V | undefined
  /** Names the moment for a later `put`. */
  moment(): number
  /** Remembers what was found out since `moment`, unless something was forgotten since. */
  put(key: string, value: V, moment: number): void
  forget(key: string): void
  forgetWhere(old: (value: V, key: string) => boolean): void
}

/** What a memory is bounded by. */
export interface MemoryOptions<V> {
  readonly clock: Clock
  /** Beyond this, the entries that were not used for the longest time go first. */
  readonly maxBytes: number
  /** The heap that a value keeps in use, in bytes; by default, that of plain data. */
  readonly bytesOf?: (value: V) => number
  /** A second net: what makes an entry wrong must forget it at once. */
  readonly ttlMs: number
  /**
   * False while changes may be missed: then everything is looked up. Otherwise a value that is another one once changes
   * may have been missed: then everything that was cached before is dropped.
   */
  readonly trusted: () => number | boolean
}

/**
 * A memory that never brings back what was forgotten: a look-up that began before a `forget` is handed to those who
 * wait for it and is not kept.
 */
export function createMemory<V>({
  clock,
  maxBytes,
  bytesOf = bytesOfData,
  ttlMs,
  trusted,
}: MemoryOptions<V>): Memory<V> {
  const cache = createCache<{ readonly value: V; readonly untilMs: number }>({
    maxBytes,
    bytesOf: ({ value }) => bytesOf(value),
  })
  const loading = new Map<string, Promise<V>>()
  let age = 0
  let epoch = trusted()

  /** Whether the cache may be used, after dropping what belongs to an earlier epoch. */
  function isCoherent(): boolean {
    const now = trusted()
    if (now !== epoch) {
      epoch = now
      forgotten()
      cache.deleteWhere(() => true)
    }
    return now !== false
  }

  function put(key: string, value: V, moment: number): void {
    if (!isCoherent() || age !== moment) return
    // What is being looked up may be older than what is known now.
    loading.delete(key)
    // A caller can invent any number of ids of nothing.
    if (value === null || value === undefined) cache.delete(key)
    else cache.set(key, { value, untilMs: clock.now().getTime() + ttlMs })
  }

  function known(key: string): V | undefined {
    if (!isCoherent()) return undefined
    const found = cache.get(key)
    return found && found.untilMs > clock.now().getTime() ? found.value : undefined
  }

  function look(key: string, load: () => Promise<V>): Promise<V> {
    const before = age
    /** Whether nothing newer took its place. */
    const ended = (): boolean => age === before && loading.get(key) === running && loading.delete(key)
    const running = load().then(
      (value) => {
        if (ended()) put(key, value, before)
        return value
      },
      (error: unknown) => {
        ended()
        throw error
      },
    )
    loading.set(key, running)
    return running
  }

  function forgotten(): void {
    age++
    loading.clear()
  }

  return {
    get(key, load) {
      if (!isCoherent()) return load()
      const found = known(key)
      return found === undefined ? (loading.get(key) ?? look(key, load)) : found
    },
    known,
    moment() {
      isCoherent()
      return age
    },
    put,
    forget(key) {
      forgotten()
      cache.delete(key)
    },
    forgetWhere(old) {
      forgotten()
      cache.deleteWhere(({ value }, key) => old(value, key))
    },
  }
}
