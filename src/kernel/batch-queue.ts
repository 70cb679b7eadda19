import type { Timer, Timers } from './clock.ts'

/** A queue whose items are processed together with those that arrive at the same time. */
export interface BatchQueue<Item, Result> {
  /** Resolves with the result of this item once its batch has succeeded; rejects with the error of the batch. */
  add(item: Item): Promise<Result>
}

/** How long the items of a group gather, in milliseconds: longer the more of them the last batch had, because a batch costs more than an item. */
export interface Spacing {
  readonly minMs: number
  readonly maxMs: number
  readonly msPerItem: number
}

/**
 * The spacing of batches that are one transaction. A batch of alerts costs about as much as 30 more alerts in it: at 200 a second,
 * batches 40 ms apart need half the CPU time of those 20 ms apart. A group that has two items within 20 ms has many.
 */
export const TRANSACTION_SPACING: Spacing = { minMs: 20, maxMs: 40, msPerItem: 20 }

/** The options of a queue. */
export interface BatchQueueOptions<Item, Result> {
  /** Items of one batch. */
  readonly maxSize: number
  /** Batches that run at once. */
  readonly concurrency: number
  /**
   * Batches take the items of all groups in turn, and one batch at a time has items of a group: a group with many items, or with
   * one that takes long, does not delay the others.
   */
  groupOf(item: Item): string
  /** Processes a batch as a whole. Returns the results in the order of the items. */
  run(batch: readonly Item[]): Promise<readonly Result[]>
  /**
   * How long the items of a group gather after its last batch started. A batch takes what waits of every group, so that groups with
   * many items share batches, and an item of a group without any does not wait. None by default.
   */
  readonly spacing?: Spacing & { readonly timers: Pick<Timers, 'setTimeout' | 'monotonicMs'> }
  /** Whether the items of a batch that failed with this error are processed again, each alone, so that one fails only itself. */
  isolates(error: unknown): boolean
}

interface Entry<Item, Result> {
  readonly item: Item
  readonly resolve: (result: Result) => void
  readonly reject: (error: unknown) => void
  /** Whether it is processed without others, after a batch with it has failed. */
  isAlone: boolean
}

/** The entries that wait, by group. */
type Groups<Item, Result> = Map<string, Entry<Item, Result>[]>

/** Creates an empty queue. A batch starts as soon as its spacing allows; while `concurrency` batches run, items gather for the next. */
export function createBatchQueue<Item, Result>(options: BatchQueueOptions<Item, Result>): BatchQueue<Item, Result> {
  const { maxSize, concurrency, groupOf, run, isolates, spacing } = options
  const groups: Groups<Item, Result> = new Map()
  const runningGroups = new Set<string>()
  let runningCount = 0
  let isStartScheduled = false
  /** When the items of each group have gathered for long enough. */
  const gatheredAtMs = new Map<string, number>()
  let gathering: Timer | undefined

  /** Items that are added in this turn of the event loop, or before the spacing has passed, become one batch. */
  function scheduleStart(): void {
    if (isStartScheduled || groups.size === 0) return
    const waitMs = spacing ? waitMsOf([...groups.keys()], gatheredAtMs, spacing.timers.monotonicMs()) : 0
    if (spacing && waitMs > 0) {
      gathering ??= spacing.timers.setTimeout(startBatches, waitMs)
      return
    }
    isStartScheduled = true
    setImmediate(startBatches)
  }

  async function process(batch: readonly Entry<Item, Result>[]): Promise<void> {
    try {
      const results = await run(batch.map(({ item }) => item))
      batch.forEach(({ resolve }, index) => resolve(results[index]!))
    } catch (error) {
      if (batch.length === 1 || !isolates(error)) for (const { reject } of batch) reject(error)
      else
        for (const entry of batch.toReversed()) {
          entry.isAlone = true
          groups.set(groupOf(entry.item), [entry, ...(groups.get(groupOf(entry.item)) ?? [])])
        }
    }
  }

  function startBatches(): void {
    isStartScheduled = false
    gathering?.clear()
    gathering = undefined
    while (runningCount < concurrency) {
      const batch = takeBatch(groups, runningGroups, maxSize)
      if (batch.length === 0) return
      const taken = Map.groupBy(batch, ({ item }) => groupOf(item))
      for (const [group, { length }] of taken) {
        runningGroups.add(group)
        if (spacing) gatheredAtMs.set(group, spacing.timers.monotonicMs() + spacingMsAfter(length, spacing))
      }
      runningCount++
      void process(batch).finally(() => {
        for (const group of taken.keys()) runningGroups.delete(group)
        runningCount--
        if (spacing) scheduleStart()
        else startBatches()
      })
    }
  }

  return {
    add: (item) =>
      new Promise((resolve, reject) => {
        const group = groupOf(item)
        const entries = groups.get(group) ?? []
        entries.push({ item, resolve, reject, isAlone: false })
        groups.set(group, entries)
        scheduleStart()
      }),
  }
}

const spacingMsAfter = (itemCount: number, { minMs, maxMs, msPerItem }: Spacing): number =>
  Math.min(maxMs, Math.max(minMs, itemCount * msPerItem))

/** How long the first of these groups still gathers, in milliseconds. Forgets the groups that gather no more. */
function waitMsOf(groups: readonly string[], gatheredAtMs: Map<string, number>, nowMs: number): number {
  for (const [group, atMs] of gatheredAtMs) if (atMs <= nowMs) gatheredAtMs.delete(group)
  return Math.min(...groups.map((group) => (gatheredAtMs.get(group) ?? -Infinity) - nowMs))
}

/** Takes one entry of each group in turn. A group that still has entries moves behind the others. */
function takeBatch<Item, Result>(
  groups: Groups<Item, Result>,
  runningGroups: ReadonlySet<string>,
  maxSize: number,
): Entry<Item, Result>[] {
  const batch: Entry<Item, Result>[] = []
  let previousSize = -1
  while (batch.length > previousSize && batch.length < maxSize) {
    previousSize = batch.length
    for (const [group, entries] of [...groups]) {
      if (runningGroups.has(group) || (entries[0]!.isAlone && batch.length > 0)) continue
      const entry = entries.shift()!
      groups.delete(group)
      if (entries.length > 0) groups.set(group, entries)
      batch.push(entry)
      if (entry.isAlone || batch.length === maxSize) return batch
    }
  }
  return batch
}
