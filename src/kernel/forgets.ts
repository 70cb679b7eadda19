/** What was forgotten lately, by tag, bounded in number. Tells whether a look-up that began earlier is still good. */
export interface Forgets {
  /** The number of forgets so far: names the time at which a look-up begins. */
  readonly generation: number
  /** Notes that everything with this tag is out of date. */
  add(tag: string): void
  /** Notes that everything is out of date. */
  addAll(): void
  /** Whether one of the tags, or everything, was forgotten after `generation`, as far as it is still known. */
  since(generation: number, tags: readonly string[]): boolean
}

/** Of more tags than this, the oldest forget counts for everything that began before it: about 2 MB. */
const MAX_TAGS = 10_000

/** Makes a list of forgets that takes constant time for each. */
export function createForgets(maxTags = MAX_TAGS): Forgets {
  /** The last forget of each tag, the oldest first. */
  const last = new Map<string, number>()
  let generation = 0
  let floor = 0
  return {
    get generation() {
      return generation
    },
    add(tag) {
      last.delete(tag)
      last.set(tag, ++generation)
      if (last.size <= maxTags) return
      const [oldest] = last
      last.delete(oldest![0])
      floor = oldest![1]
    },
    addAll() {
      last.clear()
      floor = ++generation
    },
    since: (began, tags) => began < floor || tags.some((tag) => (last.get(tag) ?? 0) > began),
  }
}
