import type { Clock } from './clock.ts'

/** What was looked up a moment ago, bounded in number and time. */
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
export interface MemoryOptions {
  readonly clock: Clock
  /** The oldest entries go first beyond this many. */
  readonly max: number
  /** A second net: what makes an entry wrong must forget it at once. */
  readonly ttlMs: number
  /** False while word of changes may be missed: then nothing is remembered and everything is looked up. */
  readonly trusted: () => boolean
}

/**
 * A memory that never brings back what was forgotten: a look-up that began before a `forget` is handed to those who
 * wait for it and is not kept.
 */
export function createMemory<V>({ clock, max, ttlMs, trusted }: MemoryOptions): Memory<V> {
  const kept = new Map<string, { readonly value: V; readonly untilMs: number }>()
  const loading = new Map<string, Promise<V>>()
  /** Stands behind the last one that went: a walk from the beginning would pass every place that went before. */
  let eldest = kept.keys()
  let age = 0

  function put(key: string, value: V, moment: number): void {
    if (age !== moment || !trusted()) return
    // What is being looked up may be older than what is known now.
    loading.delete(key)
    kept.delete(key)
    kept.set(key, { value, untilMs: clock.now().getTime() + ttlMs })
    if (kept.size > max) dropEldest()
  }

  function dropEldest(): void {
    let { value, done } = eldest.next()
    if (done) {
      eldest = kept.keys()
      ;({ value, done } = eldest.next())
    }
    if (!done) kept.delete(value!)
  }

  function known(key: string): V | undefined {
    if (!trusted()) return undefined
    const found = kept.get(key)
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
      if (!trusted()) return load()
      const found = known(key)
      return found === undefined ? (loading.get(key) ?? look(key, load)) : found
    },
    known,
    moment: () => age,
    put,
    forget(key) {
      forgotten()
      kept.delete(key)
    },
    forgetWhere(old) {
      forgotten()
      for (const [key, { value }] of kept) if (old(value, key)) kept.delete(key)
    },
  }
}
