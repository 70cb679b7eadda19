import { LRUCache } from 'lru-cache'

/** A cache bounded in bytes; the least recently used entries are evicted first. */
export interface BoundedCache<V> {
  get(key: string): V | undefined
  /**
   * Stores a value for `owner`. An owner that has used up `maxBytesPerOwner` evicts only its own entries. A value that is
   * larger than that is not stored.
   */
  set(key: string, value: V, owner?: string): void
  delete(key: string): void
  /** Deletes the entries with this tag; takes time proportional to their number. */
  deleteByTag(tag: string): void
  clear(): void
  /** Estimated bytes in use. */
  readonly bytes: number
  readonly size: number
}

/** The bounds of a cache. */
export interface BoundedCacheOptions<V> {
  readonly maxBytes: number
  /** The share of one owner; `maxBytes` by default. */
  readonly maxBytesPerOwner?: number
  /** The heap that a value uses, in bytes, without its key. */
  readonly bytesOf: (value: V) => number
  /** Tags by which an entry can also be deleted, such as a customer's id. Must not change for a value. */
  readonly tagsOf?: (value: V, key: string) => readonly string[]
}

/** Measured overhead of an entry: two hash tables, the order of use and the record. */
const ENTRY_BYTES = 160
/** Measured overhead of a tag in the index. */
const TAG_BYTES = 200
/** The owner of entries that are stored without one. */
const NO_OWNER = ''

interface Entry<V> {
  readonly value: V
  readonly bytes: number
  readonly owner: string
}

interface Share {
  bytes: number
  /** The owner's keys, most recently used last. */
  readonly keys: Set<string>
}

/**
 * Creates a cache over `lru-cache`. Keys must be short: our own ids, or a digest of what a caller chose. `get` and `set` are
 * synchronous and take constant time, apart from `bytesOf`.
 */
export function createBoundedCache<V>({
  maxBytes,
  maxBytesPerOwner = maxBytes,
  bytesOf,
  tagsOf,
}: BoundedCacheOptions<V>): BoundedCache<V> {
  const hasShares = maxBytesPerOwner < maxBytes
  const shares = new Map<string, Share>()
  const keysByTag = new Map<string, Set<string>>()
  const entries = new LRUCache<string, Entry<V>>({
    maxSize: maxBytes,
    sizeCalculation: ({ bytes }) => bytes,
    ...((hasShares || tagsOf) && { dispose: release }),
  })

  function untag(tag: string, key: string): void {
    const keys = keysByTag.get(tag)
    keys?.delete(key)
    if (keys?.size === 0) keysByTag.delete(tag)
  }

  function release({ value, bytes, owner }: Entry<V>, key: string): void {
    for (const tag of tagsOf?.(value, key) ?? []) untag(tag, key)
    const share = shares.get(owner)
    if (!share) return
    share.bytes -= bytes
    share.keys.delete(key)
    if (share.keys.size === 0) shares.delete(owner)
  }

  function evictFor(owner: string, bytes: number): void {
    const share = shares.get(owner)
    if (!share) return
    for (const key of share.keys) {
      if (share.bytes + bytes <= maxBytesPerOwner) return
      entries.delete(key)
    }
  }

  function reserve(owner: string, key: string, bytes: number): void {
    const share = shares.get(owner) ?? { bytes: 0, keys: new Set() }
    shares.set(owner, share)
    share.bytes += bytes
    share.keys.add(key)
  }

  return {
    get(key) {
      const entry = entries.get(key)
      if (entry === undefined) return undefined
      if (hasShares) {
        const { keys } = shares.get(entry.owner)!
        keys.delete(key)
        keys.add(key)
      }
      return entry.value
    },

    set(key, value, owner = NO_OWNER) {
      entries.delete(key)
      const tags = tagsOf?.(value, key) ?? []
      const bytes = ENTRY_BYTES + 2 * key.length + tags.length * TAG_BYTES + bytesOf(value)
      if (bytes > maxBytesPerOwner) return
      if (hasShares) {
        evictFor(owner, bytes)
        reserve(owner, key, bytes)
      }
      for (const tag of tags) {
        const keys = keysByTag.get(tag)
        if (keys) keys.add(key)
        else keysByTag.set(tag, new Set([key]))
      }
      entries.set(key, { value, bytes, owner })
    },

    delete: (key) => void entries.delete(key),

    deleteByTag(tag) {
      for (const key of keysByTag.get(tag) ?? []) entries.delete(key)
    },

    clear: () => entries.clear(),

    get bytes() {
      return entries.calculatedSize
    },
    get size() {
      return entries.size
    },
  }
}

/** An upper bound of the heap that a string uses, in bytes: V8 stores two bytes per character beyond Latin-1. */
export const bytesOfText = (text: string): number => 24 + 2 * text.length

/**
 * An upper estimate of the heap that plain data uses, in bytes: strings, numbers, dates, arrays, maps, sets and plain
 * objects. Takes time proportional to the data, so use it for small values only.
 */
export function bytesOfData(value: unknown): number {
  if (typeof value === 'string') return bytesOfText(value)
  if (typeof value !== 'object' || value === null) return 8
  if (value instanceof Date) return 96
  const parts: Iterable<unknown> =
    value instanceof Map
      ? [...value.keys(), ...value.values()]
      : Symbol.iterator in value
        ? (value as Iterable<unknown>)
        : Object.values(value)
  let bytes = 64
  for (const part of parts) bytes += 16 + bytesOfData(part)
  return bytes
}
