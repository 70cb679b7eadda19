import { fromUnits, toUnits, type Currency, type Decimal, type Money } from '../../kernel/money.ts'

/** A range that an amount lies in: `from` included, `to` not. */
export interface Band {
  readonly from: Decimal
  readonly to: Decimal
  readonly currency: Currency
}

/** How wide a band is, in whole units of the currency. */
const WIDTHS: Readonly<Record<string, bigint>> = {
  JPY: 5_000n,
  KRW: 50_000n,
  INR: 2_000n,
  SEK: 500n,
  NOK: 500n,
  DKK: 500n,
}
const USUAL_WIDTH = 50n
const UNIT = 100_000n

/**
 * The band that an amount is shown as. `offset` (0 to 1) shifts the edges; it comes from a secret and the account, never
 * from the client or the consent, so that two clients cannot lay two grids over each other. An amount that has moved
 * out of the `previous` band by less than a quarter of a width is still shown there: otherwise one that lies near an
 * edge would tell every small step across it.
 */
export function bandOf({ amount, currency }: Money, offset: number, previous: Band | undefined): Band {
  const width = (WIDTHS[currency] ?? USUAL_WIDTH) * UNIT
  const units = toUnits(amount)
  if (previous?.currency === currency) {
    const margin = width / 4n
    if (units >= toUnits(previous.from) - margin && units < toUnits(previous.to) + margin) return previous
  }
  // Edges lie on whole units: cents in an edge would be read as meaning something.
  const shift = ((BigInt(Math.floor(offset * 1_000_000)) * (width / UNIT)) / 1_000_000n) * UNIT
  const index = floorDivide(units - shift, width)
  return { from: fromUnits(index * width + shift), to: fromUnits((index + 1n) * width + shift), currency }
}

const floorDivide = (a: bigint, b: bigint): bigint => (a < 0n && a % b !== 0n ? a / b - 1n : a / b)
