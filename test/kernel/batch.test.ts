import { describe, expect, test } from 'vitest'
import { createBatcher, createRequestLoader, type BatchOptions } from '../../src/kernel/batch.ts'
import { systemTimers, type Timers } from '../../src/kernel/clock.ts'
import { ANONYMOUS, type RequestContext } from '../../src/kernel/request-context.ts'
import { createFakeTime } from '../support/fake-time.ts'

/** A batcher that doubles numbers, with the batches that it loaded and when. */
function doubling(options?: BatchOptions, timers: Timers = systemTimers) {
  const batches: { items: readonly number[]; atMs: number }[] = []
  const double = createBatcher((items: readonly number[]) => {
    batches.push({ items, atMs: timers.monotonicMs() })
    return Promise.resolve(items.map((item) => (item < 0 ? new Error('negative') : 2 * item)))
  }, options)
  return { double, batches }
}

describe('a batcher', () => {
  test('a batcher loads the items of one turn in one call, in order, and returns each its own result', async () => {
    const { double, batches } = doubling()
    expect(await Promise.all([3, 1, 2, 1].map(double))).toEqual([6, 2, 4, 2])
    expect(batches.map(({ items }) => items)).toEqual([[3, 1, 2, 1]])
  })

  test('a batcher fails an item with its own error and leaves the others alone', async () => {
    const { double } = doubling()
    const results = await Promise.allSettled([1, -1].map(double))
    expect(results).toMatchObject([
      { status: 'fulfilled', value: 2 },
      { status: 'rejected', reason: { message: 'negative' } },
    ])
  })

  test('a batcher fails every item of a batch whose call throws, and continues with the next batch', async () => {
    let isBroken = true
    const load = createBatcher((items: readonly number[]) =>
      isBroken ? Promise.reject(new Error('away')) : Promise.resolve(items),
    )
    const results = await Promise.allSettled([load(1), load(2)])
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
    isBroken = false
    expect(await load(3)).toBe(3)
  })

  test('a batcher limits the number of items in one call', async () => {
    const { double, batches } = doubling({ maxBatchSize: 2 })
    expect(await Promise.all([1, 2, 3, 4, 5].map(double))).toEqual([2, 4, 6, 8, 10])
    expect(batches.map(({ items }) => items)).toEqual([[1, 2], [3, 4], [5]])
  })

  test('a batcher collects items for its window, and starts batches at least its interval apart', async () => {
    const { timers, advance } = createFakeTime()
    const { double, batches } = doubling({ spacing: { timers, windowMs: 20, minIntervalMs: 60 } }, timers)
    const first = double(1)
    await advance(2)
    const second = double(2)
    await advance(18)
    await Promise.all([first, second])
    const third = double(3)
    await advance(60)
    await third
    expect(batches).toEqual([
      { items: [1, 2], atMs: 20 },
      { items: [3], atMs: 80 },
    ])
  })
})

describe('a batcher with an interval', () => {
  test('a batcher with an interval starts the first batch immediately and collects items until the next', async () => {
    const { timers, advance } = createFakeTime()
    const { double, batches } = doubling({ spacing: { timers, minIntervalMs: 40 } })
    await double(1)
    const waiting = []
    for (const item of [2, 3, 4]) {
      waiting.push(double(item))
      await advance(1)
    }
    expect(batches.map(({ items }) => items)).toEqual([[1]])
    await advance(37)
    expect(await Promise.all(waiting)).toEqual([4, 6, 8])
    expect(batches.map(({ items }) => items)).toEqual([[1], [2, 3, 4]])
  })
})

describe('a request loader', () => {
  const request = (): RequestContext => ({
    caller: ANONYMOUS,
    requestId: 'req_test',
    presence: 'CUSTOMER_PRESENCE_REQUIRED',
    customer: null,
  })

  test('a request loader reads a key once per request, and requests share no value', async () => {
    const calls: (readonly string[])[] = []
    const load = createRequestLoader((keys) => {
      calls.push(keys)
      return Promise.resolve(keys.map((key) => `${key}${calls.length}`))
    })
    const [one, other] = [request(), request()]
    expect(await Promise.all([load('a', one), load('b', one), load('a', other)])).toEqual(['a1', 'b1', 'a2'])
    expect(await load('a', one)).toBe('a1')
    expect(calls).toEqual([['a', 'b'], ['a']])
  })

  test('a request loader reads a key again later in the request if it is not cached', async () => {
    let reads = 0
    const load = createRequestLoader((keys) => Promise.resolve(keys.map(() => ++reads)), { isCached: false })
    const context = request()
    expect([await load('a', context), await load('a', context)]).toEqual([1, 2])
  })
})
