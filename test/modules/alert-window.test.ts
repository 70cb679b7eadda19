import { expect, test } from 'vitest'
import { HOUR_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import { shownAtOf } from '../../src/modules/alerts/window.ts'
import { createSeal } from '../../src/storage/seal.ts'

const sealOf = (byte: number) => createSeal([{ id: 'test', bytes: new Uint8Array(32).fill(byte) }])
const seal = sealOf(1)
const HOUR = new Date('2026-03-04T10:00:00Z')
const at = (ms: number): Date => new Date(HOUR.getTime() + ms)
const customers = Array.from({ length: 1_000 }, (_, index) => `cust_${index}`)
/** How long after 11:00 the window of a customer closes that is open at `receivedAt`. */
const delayMs = (customerId: string, receivedAt: Date = HOUR, own = seal): number =>
  shownAtOf({ severity: 'WARNING', customerId }, receivedAt, own).getTime() - HOUR.getTime() - HOUR_MS

test('an urgent alert is shown when it is received', () => {
  expect(shownAtOf({ severity: 'URGENT', customerId: 'cust_1' }, at(1_234), seal)).toEqual(at(1_234))
})

test('all other alerts of a customer in one hour are shown at one time, whenever in the hour they were received', () => {
  for (const customerId of customers.slice(0, 50)) {
    const times = [0, 1, 59 * MINUTE_MS, HOUR_MS - 1].flatMap((ms) =>
      (['INFO', 'WARNING'] as const).map((severity) => shownAtOf({ severity, customerId }, at(ms), seal).getTime()),
    )
    expect(new Set(times).size).toBe(1)
  }
})

test('a window closes up to 15 minutes after its hour, at times that are spread evenly over the customers', () => {
  const delays = customers.map((customerId) => delayMs(customerId))
  expect(Math.min(...delays)).toBeGreaterThanOrEqual(0)
  expect(Math.max(...delays)).toBeLessThan(15 * MINUTE_MS)
  for (let quarter = 0; quarter < 4; quarter++) {
    const isInQuarter = (ms: number): boolean => Math.floor(ms / (3.75 * MINUTE_MS)) === quarter
    expect(delays.filter(isInQuarter).length).toBeGreaterThan(180)
  }
})

test('the time of a window cannot be computed without the key of the installation, nor from another hour or customer', () => {
  const sameAs = (other: (customerId: string) => number): number =>
    customers.filter((customerId) => other(customerId) === delayMs(customerId)).length
  expect(sameAs((customerId) => delayMs(customerId))).toBe(1_000)
  expect(sameAs((customerId) => delayMs(customerId, HOUR, sealOf(2)))).toBeLessThan(10)
  expect(sameAs((customerId) => delayMs(customerId, at(HOUR_MS)) - HOUR_MS)).toBeLessThan(10)
  expect(sameAs((customerId) => delayMs(`${customerId}x`))).toBeLessThan(10)
})
