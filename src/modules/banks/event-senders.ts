import { chain } from '../../kernel/maybe-promise.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'
import type { Signals } from '../../storage/signals.ts'

/** Which connectors may send events now. */
export interface EventSenders {
  /** Whether events of this connector are accepted. An unknown ID costs no database query. */
  has(connectorId: string): boolean | Promise<boolean>
}

/** An upper bound for the heap that one cached ID uses. */
const ID_BYTES = 200

/** Caches the IDs that `load` returns until a bank changes in any process. */
export function createEventSenders(
  signals: Signals,
  cacheOptions: LoadingCacheOptions<ReadonlySet<string>>,
  load: () => Promise<ReadonlySet<string>>,
): EventSenders {
  const idsCache = createLoadingCache<ReadonlySet<string>>({ ...cacheOptions, bytesOf: ({ size }) => size * ID_BYTES })
  /** Concurrent lookups share one load, also while the cache cannot be used. */
  let loading: Promise<ReadonlySet<string>> | undefined

  function loadOnce(): Promise<ReadonlySet<string>> {
    if (loading) return loading
    const current: Promise<ReadonlySet<string>> = load().finally(() => {
      if (loading === current) loading = undefined
    })
    return (loading = current)
  }

  signals.onSignal((signal) => {
    if (signal.kind !== 'BANK') return
    loading = undefined
    idsCache.invalidate('')
  })
  return { has: (connectorId) => chain(idsCache.get('', loadOnce), (ids) => ids.has(connectorId)) }
}
