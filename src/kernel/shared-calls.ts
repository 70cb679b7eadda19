/** Calls that have started and not ended, at most one for each key. */
export interface SharedCalls<V> {
  /** The call in flight for this key, or the one that `start` starts. It is over once its promise settles. */
  share(key: string, start: () => Promise<V>): Promise<V>
  /** Resolves once no call is in flight, whether or not they succeed. */
  waitUntilIdle(): Promise<void>
}

/** Shares one call in flight among its callers. Nothing is cached: the next caller after its end starts a new call. */
export function createSharedCalls<V>(): SharedCalls<V> {
  const calls = new Map<string, Promise<V>>()
  return {
    share(key, start) {
      const running = calls.get(key)
      if (running) return running
      const call = start().finally(() => calls.delete(key))
      calls.set(key, call)
      return call
    },
    async waitUntilIdle() {
      while (calls.size > 0) await Promise.allSettled(calls.values())
    },
  }
}
