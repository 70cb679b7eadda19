/** A bounded log of invalidated tags. Tells whether a value that was loaded earlier is still valid. */
export interface InvalidationLog {
  /** The number of invalidations so far. Read it when a load starts. */
  readonly epoch: number
  /** Invalidates everything with this tag. */
  add(tag: string): void
  /** Invalidates everything. */
  addAll(): void
  /** Whether one of the tags, or everything, was invalidated after `epoch`. True if the log no longer reaches back to `epoch`. */
  isInvalidatedSince(epoch: number, tags: readonly string[]): boolean
}

/** About 2 MB. Beyond this, the oldest entry is dropped, and everything loaded before it counts as invalidated. */
const MAX_TAGS = 10_000

/** Creates a log of at most `maxTags` tags; adding an entry takes constant time. */
export function createInvalidationLog(maxTags = MAX_TAGS): InvalidationLog {
  /** The epoch of each tag's last invalidation, oldest first. */
  const lastEpochByTag = new Map<string, number>()
  let epoch = 0
  let minKnownEpoch = 0
  return {
    get epoch() {
      return epoch
    },
    add(tag) {
      lastEpochByTag.delete(tag)
      lastEpochByTag.set(tag, ++epoch)
      if (lastEpochByTag.size <= maxTags) return
      const [oldest] = lastEpochByTag
      lastEpochByTag.delete(oldest![0])
      minKnownEpoch = oldest![1]
    },
    addAll() {
      lastEpochByTag.clear()
      minKnownEpoch = ++epoch
    },
    isInvalidatedSince: (sinceEpoch, tags) =>
      sinceEpoch < minKnownEpoch || tags.some((tag) => (lastEpochByTag.get(tag) ?? 0) > sinceEpoch),
  }
}
