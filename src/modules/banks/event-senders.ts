import { chain } from '../../kernel/maybe-promise.ts'
import { createLoadingCache, type LoadingCacheOptions } from '../../kernel/loading-cache.ts'

/** Which connectors' events are accepted at the moment. */
export interface EventSenders {
  /** An unknown id costs no statement of its own, however many there are. */
  has(connectorId: string): boolean | Promise<boolean>
  /** To be called when a connector's state changed. */
  invalidate(): void
}

/** The heap that one remembered id keeps in use, generously. */
const ID_BYTES = 200

/** Remembers the ids that `load` gives until something changes. */
export function createEventSenders(
  cacheOptions: LoadingCacheOptions<ReadonlySet<string>>,
  load: () => Promise<ReadonlySet<string>>,
): EventSenders {
  const idsCache = createLoadingCache<ReadonlySet<string>>({ ...cacheOptions, bytesOf: ({ size }) => size * ID_BYTES })
  /** One at a time, also while nothing may be remembered. */
  let loading: Promise<ReadonlySet<string>> | undefined

  function loadOnce(): Promise<ReadonlySet<string>> {
    if (loading) return loading
    const current: Promise<ReadonlySet<string>> = load().finally(() => {
      if (loading === current) loading = undefined
    })
    return (loading = current)
  }

  return {
    has: (connectorId) => chain(idsCache.get('', loadOnce), (ids) => ids.has(connectorId)),
    invalidate() {
      loading = undefined
      idsCache.invalidate('')
    },
  }
}
