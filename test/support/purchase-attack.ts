import { fromScaledUnits, toScaledUnits, type CurrencyCode } from '../../src/kernel/money.ts'
import { bandOf, type Band } from '../../src/modules/accounts/disclosure.ts'

/** Numbers that look random and are the same in each run, 0 to 1. */
export function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** One movement of an account: negative for a purchase. In hundred-thousandths of a unit. */
export interface Movement {
  readonly hour: number
  readonly units: bigint
}

/** What a simulated customer earns and buys, as amounts in a currency whose unit is worth `1 / perEuro` euros. */
export function movementsOf(random: () => number, perEuro: number, days: number): Movement[] {
  const unitsOf = (euros: number): bigint => {
    // Prices have the cents of small money and the round hundreds of large money.
    const grain = 10 ** Math.max(-2, Math.floor(Math.log10(perEuro)) - 1)
    return BigInt(Math.max(1, Math.round((euros * perEuro) / grain))) * BigInt(Math.round(grain * 100)) * 1_000n
  }
  const movements: Movement[] = []
  for (let day = 0; day < days; day++) {
    if (day % 30 === 0) movements.push({ hour: day * 24 + 1, units: unitsOf(1_600) })
    const purchases = Math.floor(random() * 4)
    for (let index = 0; index < purchases; index++) {
      const normal = Math.sqrt(-2 * Math.log(random() || 0.5)) * Math.cos(2 * Math.PI * random())
      movements.push({ hour: day * 24 + 7 + random() * 15, units: -unitsOf(18 * Math.exp(0.9 * normal)) })
    }
  }
  return movements.sort((one, other) => one.hour - other.hour)
}

/** The ranges that an account is shown as, one for each time that it is asked. */
export function bandsOver(
  balances: readonly bigint[],
  currency: CurrencyCode,
  offset: number,
  before?: Band,
): readonly Band[] {
  let previous = before
  return balances.map((units) => (previous = bandOf({ amount: fromScaledUnits(units), currency }, offset, previous)))
}

/** The balance at each of these hours. */
export function balancesAt(movements: readonly Movement[], opening: bigint, hours: readonly number[]): bigint[] {
  let [at, balance] = [0, opening]
  return hours.map((hour) => {
    while (at < movements.length && movements[at]!.hour <= hour) balance += movements[at++]!.units
    return balance
  })
}

const middleOf = ({ lowerBound, upperBound }: Band): bigint =>
  (toScaledUnits(lowerBound) + toScaledUnits(upperBound)) / 2n

/**
 * The share of purchases whose amount is guessed to within `tolerance` by whoever takes the difference of two successive
 * ranges for the one purchase that was made between them, and knows when there was one.
 */
export function recoveredFromBands(
  movements: readonly Movement[],
  bands: readonly Band[],
  hours: readonly number[],
  tolerance: bigint,
): { recovered: number; purchases: number } {
  let [recovered, purchases] = [0, 0]
  for (let index = 1; index < hours.length; index++) {
    const between = movements.filter(({ hour }) => hour > hours[index - 1]! && hour <= hours[index]!)
    purchases += between.filter(({ units }) => units < 0n).length
    const guess = middleOf(bands[index]!) - middleOf(bands[index - 1]!)
    if (between.length !== 1 || guess >= 0n) continue
    const error = guess - between[0]!.units
    if ((error < 0n ? -error : error) <= tolerance) recovered++
  }
  return { recovered, purchases }
}

/** The same movements as they are booked: a purchase at two in one of the nights after it, everything else at once. */
export const booked = (random: () => number, movements: readonly Movement[]): Movement[] =>
  movements.map(({ hour, units }) => ({
    units,
    hour: units > 0n ? hour : (Math.floor(hour / 24) + 1 + Math.floor(random() * 2)) * 24 + 2,
  }))

/**
 * The share of purchases guessed to within `tolerance` by whoever sees the ranges of both kinds side by side, and knows when
 * a purchase is the only one that is pending: by the difference of the ranges, or by where all such differences overlap.
 */
export function recoveredFromBoth(
  movements: readonly Movement[],
  bookings: readonly Movement[],
  bands: { readonly available: readonly Band[]; readonly booked: readonly Band[] },
  hours: readonly number[],
  tolerance: bigint,
): { recovered: number; purchases: number } {
  const isNear = (guess: bigint, units: bigint): boolean => guess + units <= tolerance && -(guess + units) <= tolerance
  const isPending = (index: number, hour: number): boolean =>
    movements[index]!.hour <= hour && bookings[index]!.hour > hour
  let [recovered, purchases] = [0, 0]
  movements.forEach(({ units }, index) => {
    if (units > 0n) return
    purchases++
    const alone = hours.flatMap((hour, at) =>
      isPending(index, hour) && movements.every((_other, other) => other === index || !isPending(other, hour))
        ? [at]
        : [],
    )
    const differences = alone.map((at) => middleOf(bands.booked[at]!) - middleOf(bands.available[at]!))
    if (differences.length === 0) return
    const [least, most] = [
      differences.reduce((one, other) => (one < other ? one : other)),
      differences.reduce((one, other) => (one > other ? one : other)),
    ]
    if ([...differences, (least + most) / 2n].some((guess) => isNear(guess, units))) recovered++
  })
  return { recovered, purchases }
}
