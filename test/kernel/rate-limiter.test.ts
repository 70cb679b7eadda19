import { describe, expect, test } from 'vitest'
import { createRateLimiter } from '../../src/kernel/rate-limiter.ts'

/** A limiter of 6 at once and 60 a minute, with a clock that stands still until it is moved. */
function limiter() {
  let atMs = 1_000_000
  const limits = createRateLimiter({ burst: 6, perMinute: 60 }, { now: () => new Date(atMs) }, 4_096)
  const waitOf = (act: (key: string) => void, key = 'a'): number | undefined => {
    try {
      act(key)
      return undefined
    } catch (error) {
      expect(error).toMatchObject({ code: 'RATE_LIMITED' })
      return (error as { retryAfterSeconds: number }).retryAfterSeconds
    }
  }
  const takeAll = (count: number, key = 'a'): number =>
    Array.from({ length: count }, () => waitOf(limits.take, key)).filter((wait) => wait === undefined).length
  return { ...limits, waitOf, takeAll, forward: (ms: number) => (atMs += ms) }
}

describe('a rate limiter', () => {
  test('a rate limiter grants a full bucket immediately, and then as many tokens as are refilled', () => {
    const { takeAll, forward } = limiter()
    expect(takeAll(10)).toBe(6)
    forward(999)
    expect(takeAll(10)).toBe(0)
    forward(1)
    expect(takeAll(10)).toBe(1)
    forward(3_000)
    expect(takeAll(10)).toBe(3)
    forward(3_600_000)
    expect(takeAll(10)).toBe(6)
  })

  test('a rate limiter returns the seconds until the next token, and accepts a request at that moment', () => {
    const { charge, check, waitOf, forward } = limiter()
    for (let index = 0; index < 9; index++) charge('a')
    expect(waitOf(check)).toBe(4)
    forward(4_000)
    expect(waitOf(check)).toBeUndefined()
  })

  test('a rejected request does not lengthen the wait of a rate limiter', () => {
    const { takeAll, take, waitOf } = limiter()
    takeAll(6)
    for (let index = 0; index < 100; index++) expect(waitOf(take)).toBe(1)
  })

  test('a rate limiter limits the debt of a key to one bucket', () => {
    const { charge, check, waitOf } = limiter()
    for (let index = 0; index < 1_000; index++) charge('a')
    expect(waitOf(check)).toBe(7)
  })

  test('a rate limiter counts keys separately and accepts refunds', () => {
    const { takeAll, refund } = limiter()
    expect(takeAll(10)).toBe(6)
    expect(takeAll(10, 'b')).toBe(6)
    refund('a')
    expect(takeAll(10)).toBe(1)
    expect(takeAll(10, 'b')).toBe(0)
    for (let index = 0; index < 50; index++) refund('c')
    expect(takeAll(10, 'c')).toBe(6)
  })

  test('a rate limiter blocks a key for at most two buckets if the clock is set back', () => {
    const { takeAll, check, waitOf, forward } = limiter()
    takeAll(6)
    forward(-900_000)
    expect(waitOf(check)).toBeLessThanOrEqual(7)
  })
})
