import { expect, test } from 'vitest'
import { parseDecimal, type CurrencyCode, type Money } from '../../src/kernel/money.ts'
import { edgesAround, isReported, sideOf, type BalanceLine } from '../../src/modules/accounts/balance-line.ts'
import { bandOf } from '../../src/modules/accounts/disclosure.ts'

const EUR = 'EUR' as CurrencyCode
const euros = (amount: number | string): Money => ({ amount: parseDecimal(String(amount))!, currency: EUR })

test('every band lies on one side of a line that is an edge, for amounts of either sign', () => {
  for (const offset of [0, 0.37, 0.99])
    for (let amount = -500; amount <= 500; amount += 7) {
      const [edge] = edgesAround(euros(amount), offset)
      expect(edgesAround(edge, offset)[0]).toEqual(edge)
      for (let balance = -700; balance <= 700; balance += 13) {
        const band = bandOf(euros(balance), offset, undefined)
        expect(sideOf(band, edge)).toBe(balance >= Number(edge.amount) ? 'ABOVE' : 'BELOW')
      }
    }
})

test('a band that lies across a line, or is in another currency, is on neither side', () => {
  const band = bandOf(euros(120), 0, undefined)
  expect(sideOf(band, euros(Number(band.lowerBound) + 1))).toBeUndefined()
  expect(sideOf(band, { ...euros(0), currency: 'GBP' as CurrencyCode })).toBeUndefined()
})

test('a crossing is reported in the direction of the line only, not at the first check, and once in 24 hours', () => {
  const now = new Date('2026-11-28T12:00:00Z')
  const hoursAgo = (hours: number): Date => new Date(now.getTime() - hours * 3_600_000)
  const line = { direction: 'FALLING', side: 'ABOVE', alertedAt: null } as BalanceLine
  expect(isReported(line, 'BELOW', now)).toBe(true)
  expect(isReported(line, 'ABOVE', now)).toBe(false)
  expect(isReported({ ...line, side: null }, 'BELOW', now)).toBe(false)
  expect(isReported({ ...line, side: 'BELOW' }, 'BELOW', now)).toBe(false)
  expect(isReported({ ...line, direction: 'RISING' }, 'BELOW', now)).toBe(false)
  expect(isReported({ ...line, direction: 'RISING', side: 'BELOW' }, 'ABOVE', now)).toBe(true)
  expect(isReported({ ...line, alertedAt: hoursAgo(23) }, 'BELOW', now)).toBe(false)
  expect(isReported({ ...line, alertedAt: hoursAgo(24) }, 'BELOW', now)).toBe(true)
})
