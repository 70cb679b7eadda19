import { describe, expect, test } from 'vitest'
import { createBatchQueue } from '../../src/kernel/batch-queue.ts'

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(() => setImmediate(resolve)))

/** A queue of texts such as `a1`, whose group is the first letter. The test ends each batch. */
function createQueue(
  options: {
    maxSize?: number
    concurrency?: number
    fails?: (batch: readonly string[]) => boolean
    isolates?: boolean
  } = {},
) {
  const batches: { items: readonly string[]; end: () => void }[] = []
  const queue = createBatchQueue<string, string>({
    maxSize: options.maxSize ?? 4,
    concurrency: options.concurrency ?? 2,
    groupOf: (item) => item[0]!,
    async run(items) {
      const { promise, resolve } = Promise.withResolvers<undefined>()
      batches.push({ items, end: () => resolve(undefined) })
      await promise
      if (options.fails?.(items)) throw new Error('poisoned')
      return items.map((item) => `done ${item}`)
    },
    isolates: () => options.isolates ?? true,
  })
  const add = (...items: string[]) => items.map((item) => queue.add(item))
  return {
    batches,
    add,
    /** Ends every batch, until none is left. */
    async endAll(): Promise<void> {
      // Ending one can start another.
      for (const batch of batches) {
        batch.end()
        await settled()
      }
    },
  }
}

describe('a batch queue', () => {
  test('items that arrive together are one batch, and each gets its own result', async () => {
    const { batches, add, endAll } = createQueue()
    const results = add('a1', 'b1', 'c1')
    await settled()
    expect(batches.map(({ items }) => items)).toEqual([['a1', 'b1', 'c1']])
    await endAll()
    expect(await Promise.all(results)).toEqual(['done a1', 'done b1', 'done c1'])
  })

  test('a batch takes the items of all groups in turn, also if one of them has many', async () => {
    const { batches, add, endAll } = createQueue({ concurrency: 1 })
    void add('a1', 'a2', 'a3', 'a4', 'a5', 'b1', 'c1')
    await settled()
    await endAll()
    expect(batches.map(({ items }) => items)).toEqual([
      ['a1', 'b1', 'c1', 'a2'],
      ['a3', 'a4', 'a5'],
    ])
  })

  test('one batch at a time has items of a group, so a batch that hangs leaves room for other groups', async () => {
    const { batches, add } = createQueue()
    void add('a1')
    await settled()
    void add('a2', 'b1')
    await settled()
    expect(batches.map(({ items }) => items)).toEqual([['a1'], ['b1']])
    batches[0]!.end()
    await settled()
    expect(batches.at(-1)!.items).toEqual(['a2'])
  })

  test('a batch has no more items than allowed, also if more groups wait', async () => {
    const { batches, add, endAll } = createQueue({ concurrency: 1 })
    void add('a1', 'b1', 'c1', 'd1', 'e1', 'f1')
    await settled()
    await endAll()
    expect(batches.map(({ items }) => items)).toEqual([
      ['a1', 'b1', 'c1', 'd1'],
      ['e1', 'f1'],
    ])
  })

  test('no more batches run than allowed, and the end of one starts the next', async () => {
    const { batches, add } = createQueue({ concurrency: 2 })
    for (const item of ['a1', 'b1', 'c1']) {
      void add(item)
      await settled()
    }
    expect(batches.map(({ items }) => items)).toEqual([['a1'], ['b1']])
    batches[1]!.end()
    await settled()
    expect(batches.map(({ items }) => items)).toEqual([['a1'], ['b1'], ['c1']])
  })

  test('an item that makes its batch fail fails only itself', async () => {
    const { batches, add, endAll } = createQueue({ fails: (batch) => batch.includes('b1') })
    const results = add('a1', 'b1', 'c1')
    await settled()
    const outcomes = Promise.allSettled(results)
    await endAll()
    expect((await outcomes).map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled'])
    expect(batches.slice(1).every(({ items }) => items.length === 1)).toBe(true)
  })

  test('an error that is not about single items fails the whole batch, without another attempt', async () => {
    const { batches, add, endAll } = createQueue({ fails: () => true, isolates: false })
    const outcomes = Promise.allSettled(add('a1', 'b1'))
    await settled()
    await endAll()
    expect((await outcomes).map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    expect(batches.map(({ items }) => items)).toEqual([['a1', 'b1']])
  })

  test('items of a failed batch are alone in the next ones, also if others wait, and those of a group stay in order', async () => {
    const { batches, add, endAll } = createQueue({ concurrency: 1, fails: (batch) => batch.length > 2 })
    const results = add('a1', 'a2', 'b1')
    await settled()
    results.push(...add('c1', 'd1'))
    await settled()
    await endAll()
    expect(await Promise.all(results)).toHaveLength(5)
    const [failed, ...later] = batches.map(({ items }) => items)
    expect(failed).toEqual(['a1', 'b1', 'a2'])
    expect(later.filter((items) => items.some((item) => failed!.includes(item))).flat()).toHaveLength(3)
    expect(later.flat().filter((item) => item.startsWith('a'))).toEqual(['a1', 'a2'])
  })

  test('every item of a random load ends once, with its own result or its own error', async () => {
    const names = Array.from({ length: 300 }, (_, index) => `${'abcdefg'[(index * 7_919) % 7]!}${index}`)
    const isPoisoned = (name: string): boolean => Number(name.slice(1)) % 37 === 0
    const { add, endAll } = createQueue({ maxSize: 16, concurrency: 3, fails: (batch) => batch.some(isPoisoned) })
    const outcomes = Promise.allSettled(add(...names))
    await settled()
    await endAll()
    expect(await outcomes).toEqual(
      names.map((name) =>
        isPoisoned(name)
          ? { status: 'rejected', reason: new Error('poisoned') }
          : { status: 'fulfilled', value: `done ${name}` },
      ),
    )
  })
})

describe('a batch queue with a spacing', () => {
  test('the first item does not wait, and those that come before the spacing has passed share one batch', async () => {
    let nowMs = 1_000
    const waits: { ms: number; end: () => void }[] = []
    const timers = {
      monotonicMs: () => nowMs,
      setTimeout(end: () => void, ms: number) {
        waits.push({ ms, end })
        return { clear: () => undefined, unref: () => ({}) as never } as never
      },
    }
    const batches: number[][] = []
    const queue = createBatchQueue<number, number>({
      maxSize: 100,
      concurrency: 3,
      spacing: { minMs: 10, maxMs: 25, msPerItem: 4, timers },
      groupOf: () => 'bank',
      run(batch) {
        batches.push([...batch])
        return Promise.resolve(batch)
      },
      isolates: () => false,
    })
    expect(await queue.add(1)).toBe(1)
    expect(waits).toEqual([])
    nowMs += 4
    const added = [queue.add(2), queue.add(3)]
    nowMs += 3
    added.push(queue.add(4))
    await new Promise((resolve) => setImmediate(resolve))
    expect(batches).toEqual([[1]])
    expect(waits.map(({ ms }) => ms)).toEqual([6])
    nowMs += 3
    waits[0]!.end()
    expect(await Promise.all(added)).toEqual([2, 3, 4])
    expect(batches).toEqual([[1], [2, 3, 4]])
  })

  test('a spacing is longer after a batch with more items, up to its limit', async () => {
    let nowMs = 1_000
    const waits: { ms: number; end: () => void }[] = []
    const timers = {
      monotonicMs: () => nowMs,
      setTimeout: (end: () => void, ms: number) => (waits.push({ ms, end }), { clear: () => undefined } as never),
    }
    const queue = createBatchQueue<number, number>({
      maxSize: 100,
      concurrency: 3,
      spacing: { minMs: 10, maxMs: 25, msPerItem: 4, timers },
      groupOf: () => 'bank',
      run: (batch) => Promise.resolve(batch),
      isolates: () => false,
    })
    const addMany = (count: number): Promise<number[]> =>
      Promise.all(Array.from({ length: count }, (_, index) => queue.add(index)))
    await addMany(5)
    for (const [size, expectedMs] of [
      [9, 20],
      [1, 25],
      [1, 10],
    ] as const) {
      const added = addMany(size)
      expect(waits.at(-1)!.ms).toBe(expectedMs)
      nowMs += expectedMs
      waits.at(-1)!.end()
      await added
    }
  })

  test('a spacing counts the items of its own group, so a group with many does not make another one wait longer', async () => {
    let nowMs = 1_000
    const waits: number[] = []
    const timers = {
      monotonicMs: () => nowMs,
      setTimeout: (_end: () => void, ms: number) => (waits.push(ms), { clear: () => undefined } as never),
    }
    const queue = createBatchQueue<string, string>({
      maxSize: 100,
      concurrency: 3,
      spacing: { minMs: 10, maxMs: 25, msPerItem: 4, timers },
      groupOf: (item) => item[0]!,
      run: (batch) => Promise.resolve(batch),
      isolates: () => false,
    })
    await Promise.all(['a1', 'a2', 'a3', 'a4', 'a5', 'b1'].map((item) => queue.add(item)))
    nowMs += 9
    void queue.add('b2')
    expect(waits).toEqual([1])
  })

  test('a group that fills every batch delays no item of a group without any', async () => {
    let nowMs = 1_000
    const waits: (() => void)[] = []
    const timers = {
      monotonicMs: () => nowMs,
      setTimeout: (end: () => void) => (waits.push(end), { clear: () => undefined } as never),
    }
    const batches: string[][] = []
    const queue = createBatchQueue<string, string>({
      maxSize: 100,
      concurrency: 3,
      spacing: { minMs: 10, maxMs: 25, msPerItem: 4, timers },
      groupOf: (item) => item[0]!,
      run(batch) {
        batches.push([...batch])
        return Promise.resolve(batch)
      },
      isolates: () => false,
    })
    await queue.add('a1')
    nowMs += 1
    const flood = queue.add('a2')
    await new Promise((resolve) => setImmediate(resolve))
    expect(waits).toHaveLength(1)
    await queue.add('b1')
    await flood
    expect(batches).toEqual([['a1'], ['a2', 'b1']])
  })
})
