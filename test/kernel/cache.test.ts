import { describe, expect, test } from 'vitest'
import { bytesOfData, createBoundedCache } from '../../src/kernel/cache.ts'

const KIB = 1_024

describe('a cache', () => {
  test('a cache never exceeds its limit in bytes, and evicts the least recently used entries', () => {
    const cache = createBoundedCache<number>({ maxBytes: 64 * KIB, bytesOf: () => KIB })
    cache.set('first', 0)
    for (let index = 0; index < 1_000; index++) {
      cache.set(`k${index}`, index)
      expect(cache.get('first')).toBe(0)
      expect(cache.bytes).toBeLessThanOrEqual(64 * KIB)
    }
    expect(cache.get('k0')).toBeUndefined()
    expect(cache.get('k999')).toBe(999)
  })

  test('an entry is deleted by its tag without a scan of other entries', () => {
    let looked = 0
    const cache = createBoundedCache<string>({
      maxBytes: 64_000 * KIB,
      bytesOf: () => KIB,
      tagsOf: (customer) => {
        looked++
        return [customer]
      },
    })
    for (let index = 0; index < 10_000; index++) cache.set(`k${index}`, `customer_${index % 5_000}`)
    looked = 0
    cache.deleteByTag('customer_7')
    cache.deleteByTag('customer_of_nothing')
    expect(looked).toBe(2)
    expect(cache.size).toBe(9_998)
    expect(cache.get('k5007')).toBeUndefined()
  })

  test('an entry that was displaced or replaced is no longer found by its tag', () => {
    const cache = createBoundedCache<string>({
      maxBytes: 4 * KIB,
      bytesOf: () => KIB,
      tagsOf: (customer) => [customer],
    })
    cache.set('a', 'one')
    cache.set('a', 'two')
    cache.deleteByTag('one')
    expect(cache.get('a')).toBe('two')
    for (let index = 0; index < 100; index++) cache.set(`k${index}`, 'three')
    cache.set('a', 'four')
    cache.deleteByTag('two')
    cache.deleteByTag('three')
    expect([cache.size, cache.get('a')]).toEqual([1, 'four'])
  })

  test('an owner of a cache can displace only its own entries', () => {
    const cache = createBoundedCache<number>({ maxBytes: 64 * KIB, maxBytesPerOwner: 16 * KIB, bytesOf: () => KIB })
    for (let index = 0; index < 10; index++) cache.set(`other${index}`, index, 'other')
    for (let index = 0; index < 1_000; index++) cache.set(`flood${index}`, index, 'flood')
    for (let index = 0; index < 10; index++) expect(cache.get(`other${index}`)).toBe(index)
    expect(cache.bytes).toBeLessThanOrEqual(32 * KIB)
    expect(cache.get('flood999')).toBe(999)
    for (let index = 0; index < 1_000; index++) cache.delete(`flood${index}`)
    expect(cache.size).toBe(10)
    // What was deleted counts for nobody.
    for (let index = 0; index < 10; index++) cache.set(`again${index}`, index, 'flood')
    expect(cache.size).toBe(20)
  })

  test('a cache returns the space of deleted entries to their owner, and keeps the most recently used', () => {
    const cache = createBoundedCache<number>({ maxBytes: 64 * KIB, maxBytesPerOwner: 16 * KIB, bytesOf: () => KIB })
    for (let index = 0; index < 10; index++) cache.set(`k${index}`, index, 'owner')
    for (let index = 0; index < 5; index++) cache.delete(`k${index}`)
    for (let index = 10; index < 15; index++) cache.set(`k${index}`, index, 'owner')
    expect(cache.size).toBe(10)
    for (let index = 15; index < 100; index++) {
      expect(cache.get('k5')).toBe(5)
      cache.set(`k${index}`, index, 'owner')
    }
    expect(cache.get('k6')).toBeUndefined()
  })

  test('a cache counts the bytes of keys, tags and values, and none after it was cleared', () => {
    const cache = createBoundedCache<number>({ maxBytes: 64 * KIB, bytesOf: () => 0 })
    for (let index = 0; index < 100; index++) cache.set(`${index}`.padEnd(1_000), index)
    expect(cache.size).toBeLessThanOrEqual(32)
    cache.clear()
    expect([cache.size, cache.bytes]).toEqual([0, 0])
    const tagged = createBoundedCache<number>({ maxBytes: 64 * KIB, bytesOf: () => 0, tagsOf: () => ['a', 'b', 'c'] })
    tagged.set('k', 0)
    expect(tagged.bytes).toBeGreaterThanOrEqual(600)
  })

  test("a cache stores no value that exceeds an owner's share, and deletes the value that it replaces", () => {
    const cache = createBoundedCache<number>({
      maxBytes: 64 * KIB,
      maxBytesPerOwner: 16 * KIB,
      bytesOf: (value) => value,
    })
    cache.set('a', KIB, 'owner')
    cache.set('a', 32 * KIB, 'owner')
    expect([cache.get('a'), cache.bytes]).toEqual([undefined, 0])
  })

  test('a cache never counts fewer bytes for plain data than its text has', () => {
    const data = { list: ['x'.repeat(1_000), new Date(0), { deep: new Map([['k', new Set([1, 2])]]) }], none: null }
    expect(bytesOfData(data)).toBeGreaterThan(2_000)
    expect(bytesOfData(data)).toBeLessThan(4_000)
  })
})
