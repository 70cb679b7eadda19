import { describe, expect, test } from 'vitest'
import { fromScaledUnits, toScaledUnits, type CurrencyCode } from '../../src/kernel/money.ts'
import { bandOf, thresholdStep } from '../../src/modules/accounts/disclosure.ts'
import { PER_EURO } from '../support/exchange-rates.ts'
import {
  balancesAt,
  bandsOver,
  booked,
  movementsOf,
  recoveredFromBands,
  recoveredFromBoth,
  seeded,
  type Movement,
} from '../support/purchase-attack.ts'

const EVERY_CURRENCY = Object.keys(PER_EURO)
const DAYS = 120
const CUSTOMERS = 24
/** The share of purchases that may be recovered from ranges (docs/decisions/0007). */
const BAR = 0.01

const hoursEvery = (step: number): number[] => Array.from({ length: (DAYS * 24) / step }, (_, index) => index * step)
const unitsOf = (amount: number): bigint => BigInt(Math.round(amount * 100_000))

/** The share of purchases recovered from the ranges of an account, asked every `step` hours, to within about a euro. */
function shareRecovered(code: string, step = 6, customers = CUSTOMERS): number {
  const currency = code as CurrencyCode
  const perEuro = PER_EURO[code]!
  const hours = hoursEvery(step)
  let [recovered, purchases] = [0, 0]
  for (let customer = 0; customer < customers; customer++) {
    const random = seeded(customer * 7_919 + 1)
    const movements = movementsOf(random, perEuro, DAYS)
    const balances = balancesAt(movements, unitsOf(900 * perEuro), hours)
    const bands = bandsOver(balances, currency, random())
    const found = recoveredFromBands(movements, bands, hours, unitsOf(perEuro))
    recovered += found.recovered
    purchases += found.purchases
  }
  expect(purchases).toBeGreaterThan(customers * DAYS)
  return recovered / purchases
}

describe('what purchases can be inferred from ranges', () => {
  test.each(EVERY_CURRENCY)('bands in %s reveal at most one purchase in a hundred to within about a euro', (code) => {
    expect(shareRecovered(code)).toBeLessThanOrEqual(BAR)
  })

  test('bands in every currency are worth 40 to 130 euros, and threshold steps twice that', () => {
    const wrong = EVERY_CURRENCY.filter((code) => {
      const currency = code as CurrencyCode
      const { lowerBound, upperBound } = bandOf({ amount: fromScaledUnits(12_345_600_000n), currency }, 0, undefined)
      const width = toScaledUnits(upperBound) - toScaledUnits(lowerBound)
      const euros = Number(width) / 100_000 / PER_EURO[code]!
      return euros < 40 || euros > 130 || toScaledUnits(thresholdStep(currency)) !== 2n * width
    })
    expect(wrong).toEqual([])
  })

  test('the attack recovers many purchases from bands that are too narrow', () => {
    // A tenth of the euro's range, as if a euro were ten of them.
    const hours = hoursEvery(6)
    const random = seeded(1)
    const movements = movementsOf(random, 10, DAYS)
    const bands = bandsOver(balancesAt(movements, unitsOf(9_000), hours), 'EUR' as CurrencyCode, 0.3)
    const { recovered, purchases } = recoveredFromBands(movements, bands, hours, unitsOf(10))
    expect(recovered / purchases).toBeGreaterThan(0.03)
  })

  test.each(['EUR', 'GBP', 'USD', 'HUF', 'CZK', 'JPY', 'KWD'])(
    'bands of both balance types in %s reveal at most one pending purchase in a hundred',
    (code) => {
      const currency = code as CurrencyCode
      const perEuro = PER_EURO[code]!
      const hours = hoursEvery(6)
      let [recovered, purchases] = [0, 0]
      for (let customer = 0; customer < CUSTOMERS; customer++) {
        const random = seeded(customer * 7_919 + 1)
        const movements = movementsOf(random, perEuro, DAYS)
        const bookings = booked(random, movements)
        const offset = random()
        const bandsOf = (all: readonly Movement[]) => {
          const sorted = [...all].sort((one, other) => one.hour - other.hour)
          return bandsOver(balancesAt(sorted, unitsOf(900 * perEuro), hours), currency, offset)
        }
        const bands = { available: bandsOf(movements), booked: bandsOf(bookings) }
        const found = recoveredFromBoth(movements, bookings, bands, hours, unitsOf(perEuro))
        recovered += found.recovered
        purchases += found.purchases
      }
      expect(recovered / purchases).toBeLessThanOrEqual(BAR)
    },
  )

  test('an account with four IDs, each with its own window, reveals at most two purchases in a hundred', () => {
    for (const code of ['EUR', 'USD', 'GBP', 'HUF', 'CZK', 'JPY'])
      expect(shareRecovered(code, 1.5)).toBeLessThanOrEqual(2 * BAR)
  })

  test('a band of an older width or on another grid is replaced', () => {
    const huf = 'HUF' as CurrencyCode
    const narrow = {
      lowerBound: fromScaledUnits(unitsOf(10_000)),
      upperBound: fromScaledUnits(unitsOf(10_050)),
      currency: huf,
    }
    const { lowerBound, upperBound } = bandOf({ amount: fromScaledUnits(unitsOf(10_020)), currency: huf }, 0, narrow)
    expect([lowerBound, upperBound]).toEqual(['0', '20000'])
    const eur = 'EUR' as CurrencyCode
    const before = bandOf({ amount: fromScaledUnits(unitsOf(430)), currency: eur }, 0.2, undefined)
    expect(before.lowerBound).toBe('409')
    expect(bandOf({ amount: fromScaledUnits(unitsOf(430)), currency: eur }, 0.5, before).lowerBound).toBe('425')
  })
})
