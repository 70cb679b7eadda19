/** What was forgotten lately, by tag, bounded in number. Tells whether a look-up that began earlier is still good. */
export interface InvalidationLog {
  /** The number of forgets so far: names the time at which a look-up begins. */
  readonly epoch: number
  /** Notes that everything with this tag is out of date. */
  add(tag: string): void
  /** Notes that everything is out of date. */
  addAll(): void
  /** Whether one of the tags, or everything, was forgotten after `generation`, as far as it is still known. */
  isInvalidatedSince(epoch: number, tags: readonly string[]): boolean
}

/** Of more tags than this, the oldest forget counts for everything that began before it: about 2 MB. */
const MAX_TAGS = 10_000

/** Makes a list of forgets that takes constant time for each. */
export function createInvalidationLog(maxTags = MAX_TAGS): InvalidationLog {
  /** The last forget of each tag, the oldest first. */
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
