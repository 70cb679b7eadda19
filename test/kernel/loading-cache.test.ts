import { describe, expect, test } from 'vitest'
import { createLoadingCache } from '../../src/kernel/loading-cache.ts'

/** The same numbers in each run. */
function createRandom(seed: number): () => number {
  let state = seed
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 4_294_967_296
    return state / 4_294_967_296
  }
}

interface Step {
  readonly atMs: number
  run(): void
}

const CUSTOMERS = 10_000
const SECONDS = 60
const LOOK_MS = 300

describe('the shared-access cache', () => {
  test('the shared-access cache serves nine of ten reads under twenty invalidations per second', async () => {
    const random = createRandom(7)
    let nowMs = 0
    const memory = createLoadingCache<{ customerId: string }>({
      clock: { now: () => new Date(nowMs) },
      maxBytes: 16_777_216,
      ttlMs: 300_000,
      tagsOf: ({ customerId }) => [customerId],
      coherence: () => true,
    })
    const steps: Step[] = []
    const ended: Promise<boolean>[] = []
    const anybody = (): string => `customer_${Math.floor(random() * CUSTOMERS)}`
    for (let change = 0; change < 20 * SECONDS; change++) {
      const customerId = anybody()
      steps.push({ atMs: random() * SECONDS * 1_000, run: () => memory.invalidateTag(customerId) })
    }
    for (let look = 0; look < 50 * SECONDS; look++) {
      const customerId = anybody()
      const loaded = Promise.withResolvers<{ customerId: string }>()
      const atMs = random() * (SECONDS * 1_000 - LOOK_MS)
      const key = `account_${look}`
      steps.push({
        atMs,
        run: () =>
          void ended.push(
            Promise.resolve(memory.get(key, () => loaded.promise)).then(() => memory.getIfPresent(key) !== undefined),
          ),
      })
      steps.push({ atMs: atMs + LOOK_MS, run: () => loaded.resolve({ customerId }) })
    }
    for (const { atMs, run } of steps.sort((one, other) => one.atMs - other.atMs)) {
      nowMs = atMs
      run()
      await Promise.resolve()
      await new Promise(setImmediate)
    }
    const remembered = (await Promise.all(ended)).filter(Boolean).length
    expect(remembered / ended.length).toBeGreaterThanOrEqual(0.9)
  })

  const cachedFor = (...tags: string[]) =>
    createLoadingCache<string>({
      clock: { now: () => new Date(0) },
      maxBytes: 65_536,
      ttlMs: 1_000,
      tagsOf: () => tags,
      coherence: () => true,
    })

  test('a value whose own tag was invalidated during its load is not stored, also after other invalidations', async () => {
    const memory = cachedFor('customer_a')
    const loaded = Promise.withResolvers<string>()
    const early = memory.get('key', () => loaded.promise)
    memory.invalidateTag('customer_a')
    for (let other = 0; other < 20_000; other++) memory.invalidateTag(`other_${other}`)
    loaded.resolve('old')
    expect(await early).toBe('old')
    expect(memory.getIfPresent('key')).toBeUndefined()
    expect(await memory.get('key', () => Promise.resolve('new'))).toBe('new')
    expect(memory.getIfPresent('key')).toBe('new')
  })

  test('a load that began before an invalidation is not shared with later callers', async () => {
    const memory = cachedFor('customer_a')
    const before = Promise.withResolvers<string>()
    const first = memory.get('key', () => before.promise, ['customer_a'])
    memory.invalidateTag('customer_b')
    const joined = memory.get('key', () => Promise.resolve('not asked'), ['customer_a'])
    memory.invalidateTag('customer_a')
    const second = memory.get('key', () => Promise.resolve('new'), ['customer_a'])
    before.resolve('old')
    expect(await Promise.all([first, joined, second])).toEqual(['old', 'old', 'new'])
    expect(memory.getIfPresent('key')).toBe('new')
  })

  test('a value that is put with an earlier epoch is stored unless its own tag or key was invalidated since', () => {
    const memory = cachedFor('customer_a')
    const moment = memory.epoch()
    memory.invalidateTag('customer_b')
    memory.put('key', 'kept', moment)
    expect(memory.getIfPresent('key')).toBe('kept')
    memory.invalidate('key')
    memory.put('key', 'late', moment)
    memory.put('other', 'fine', moment)
    expect([memory.getIfPresent('key'), memory.getIfPresent('other')]).toEqual([undefined, 'fine'])
    memory.invalidateTag('customer_a')
    expect(memory.getIfPresent('other')).toBeUndefined()
  })

  test('no value from before possibly missed signals is stored', async () => {
    let epoch = 1
    const memory = createLoadingCache<string>({
      clock: { now: () => new Date(0) },
      maxBytes: 65_536,
      ttlMs: 1_000,
      coherence: () => epoch,
    })
    const loaded = Promise.withResolvers<string>()
    const early = memory.get('key', () => loaded.promise)
    const moment = memory.epoch()
    epoch = 2
    loaded.resolve('old')
    await early
    memory.put('key', 'old', moment)
    expect(memory.getIfPresent('key')).toBeUndefined()
  })
})
