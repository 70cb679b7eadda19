import { describe, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/kernel/clock.ts'
import { parseRetryAfter } from '../../src/kernel/retry-after.ts'
import { RETRIES, retryAt, retryDelayMs, type RetrySchedule } from '../../src/kernel/retry.ts'

const drawing = (byte: number) => ({ bytes: () => Buffer.from([byte]) })
const schedule = (delaysMs: RetrySchedule['delaysMs'], jitter = 0): RetrySchedule => ({
  what: '',
  delaysMs,
  jitter,
  ends: '',
  why: '',
})

describe('a retry schedule', () => {
  test('a retry schedule waits as its rows state, and after the last row as long as that row', () => {
    const waits = [1, 2, 3, 4, 50].map((failures) => retryDelayMs(schedule([10, 20, 30]), failures, drawing(7)))
    expect(waits).toEqual([10, 20, 30, 30, 30])
  })

  test('a retry schedule varies each wait by its jitter in both directions, or not at all without jitter', () => {
    const waits = [0, 127.5, 255].map((byte) => retryDelayMs(schedule([1_000], 0.2), 1, drawing(byte)))
    expect(waits[0]).toBe(800)
    expect(waits[1]).toBeCloseTo(1_000, -1)
    expect(waits[2]).toBeCloseTo(1_200, 6)
    expect(retryDelayMs(schedule([1_000]), 1, drawing(255))).toBe(1_000)
    expect(retryAt(schedule([1_000]), 1, drawing(0), new Date(5))).toEqual(new Date(1_005))
  })

  test('the schedule of webhooks grows from seconds to a day, and those of outbox and breaker double to a limit', () => {
    expect(RETRIES.webhook.delaysMs).toEqual([
      5 * SECOND_MS,
      30 * SECOND_MS,
      2 * MINUTE_MS,
      10 * MINUTE_MS,
      HOUR_MS,
      6 * HOUR_MS,
      DAY_MS,
    ])
    const seconds = ({ delaysMs }: RetrySchedule) => delaysMs.map((ms) => ms / SECOND_MS)
    expect(seconds(RETRIES.outbox)).toEqual([2, 4, 8, 16, 32, 64, 128, 256, 512, 600])
    expect(seconds(RETRIES.circuitBreaker)).toEqual([5, 10, 20, 40, 80, 120])
  })
})

describe('Retry-After of another party', () => {
  const now = new Date('2026-11-28T12:00:00Z')

  test.each([
    ['120', 120],
    ['0120', 120],
    ['99999999999999999999', 3_600],
    ['Sat, 28 Nov 2026 12:10:00 GMT', 600],
    ['Saturday, 28-Nov-26 12:10:00 GMT', 600],
    ['Sat Nov 28 12:10:00 2026', 600],
    ['Sun, 29 Nov 2026 12:10:00 GMT', 3_600],
  ])('%s is a wait in seconds, up to the maximum', (text, seconds) => {
    expect(parseRetryAfter(text, now, 3_600)).toBe(seconds)
  })

  test.each([
    undefined,
    '',
    '0',
    '-1',
    '1.5',
    '1e3',
    '2 minutes',
    '2027-01-01',
    'Sat, 28 Nov 2026 11:59:59 GMT',
    'Xxx, 99 Xxx 2026 99:99:99 GMT',
  ])('%s requests no wait', (text) => {
    expect(parseRetryAfter(text, now, 3_600)).toBeUndefined()
  })
})
