import type { Clock } from './clock.ts'

/** What was looked up a moment ago, bounded in number and time. */
export interface Memory<V> {
  /** The remembered value, at once; or what `load` gives, asked for once however many wait for it. */
  get(key: string, load: () => Promise<V>): V | Promise<V>
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
  let age = 0

  async function look(key: string, load: () => Promise<V>): Promise<V> {
    const before = age
    try {
      const value = await load()
      if (age === before && trusted()) {
        kept.delete(key)
        kept.set(key, { value, untilMs: clock.now().getTime() + ttlMs })
        if (kept.size > max) kept.delete(kept.keys().next().value!)
      }
      return value
    } finally {
      if (age === before) loading.delete(key)
    }
  }

  function forgotten(): void {
    age++
    loading.clear()
  }

  return {
    get(key, load) {
      if (!trusted()) return load()
      const known = kept.get(key)
      if (known && known.untilMs > clock.now().getTime()) return known.value
      let running = loading.get(key)
      if (!running) {
        running = look(key, load)
        loading.set(key, running)
      }
      return running
    },
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
