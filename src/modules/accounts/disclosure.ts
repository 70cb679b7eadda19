import { DAY_MS } from '../../kernel/clock.ts'
import type { ErrorCode } from '../../kernel/errors.ts'
import { fromUnits, toUnits, type Currency, type Decimal, type Money } from '../../kernel/money.ts'

/**
 * How much of a balance may be told, and how often. Everything by which what a customer bought could be inferred from
 * what their balance is stands on this page; nothing here reads a clock, a table or a bank.
 */

/** Amounts told of one account in a day (UTC), to all clients together. */
export const AMOUNTS_PER_DAY = 4
/** Questions of "at least so much?" answered of one account in a day (UTC), to all clients together. */
export const QUESTIONS_PER_DAY = 6
/** A range is drawn anew at most this often, for all clients together. */
export const BAND_WINDOW_MS = 6 * 3_600_000
/** An amount that was told is told again from the same snapshot for this long at least, and costs nothing then. */
export const AMOUNT_WINDOW_MS = 60_000

/** A range that an amount lies in: `from` included, `to` not. */
export interface Band {
  readonly from: Decimal
  readonly to: Decimal
  readonly currency: Currency
}

/** What one account has told on one day. */
export interface Told {
  readonly amounts: number
  /** The one kind of balance whose amount is told on this day. */
  readonly amountType: string | null
  readonly questions: number
}

/** Nothing yet. */
export const NOTHING_TOLD: Told = { amounts: 0, amountType: null, questions: 0 }

/** What is left of a day's allowance. */
export interface Budget {
  readonly limit: number
  readonly remaining: number
  readonly resetsAt: Date
}

/** How wide a range is, in whole units of the currency. */
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

const widthOf = (currency: Currency): bigint => (WIDTHS[currency] ?? USUAL_WIDTH) * UNIT
/** How far an amount may have moved out of its range before a new one is drawn. */
const marginOf = (currency: Currency): bigint => widthOf(currency) / 4n

/**
 * The range that an amount is shown as. `offset` (0 to 1) shifts the edges; it comes from a secret and the account, never
 * from the client or the consent, so that two clients cannot lay two grids over each other. An amount that has moved
 * out of the `previous` range by less than a quarter of a width is still shown there: otherwise one that lies near an
 * edge would tell every small step across it.
 */
export function bandOf({ amount, currency }: Money, offset: number, previous: Band | undefined): Band {
  const width = widthOf(currency)
  const units = toUnits(amount)
  if (previous?.currency === currency) {
    const margin = marginOf(currency)
    if (units >= toUnits(previous.from) - margin && units < toUnits(previous.to) + margin) return previous
  }
  // Edges lie on whole units: cents in an edge would be read as meaning something.
  const shift = ((BigInt(Math.floor(offset * 1_000_000)) * (width / UNIT)) / 1_000_000n) * UNIT
  const index = floorDivide(units - shift, width)
  return { from: fromUnits(index * width + shift), to: fromUnits((index + 1n) * width + shift), currency }
}

/** What thresholds in this currency must be multiples of: twice the width of a range. */
export const thresholdStep = (currency: Currency): Decimal => fromUnits(2n * widthOf(currency))

/** Whether the threshold may be asked about. */
export const onGrid = (threshold: Decimal, currency: Currency): boolean =>
  toUnits(threshold) % toUnits(thresholdStep(currency)) === 0n

/**
 * Whether an amount that is shown as this range is certainly at least the threshold. It is a function of the range alone,
 * so it tells nothing that the range does not; and since the amount is never further below the range than the margin, a
 * yes is never wrong.
 */
export const certainlyAtLeast = (band: Band, threshold: Decimal): boolean =>
  toUnits(band.from) - marginOf(band.currency) >= toUnits(threshold)

/** Why an amount of this kind is not told on a day on which so much was told; `undefined` where it is. */
export function whyNoAmount({ amounts, amountType }: Told, type: string): ErrorCode | undefined {
  // Booked beside available would show the sum of all that is pending.
  if (amountType !== null && amountType !== type) return 'OTHER_BALANCE_TYPE_TODAY'
  return amounts >= AMOUNTS_PER_DAY ? 'DISCLOSURE_BUDGET_SPENT' : undefined
}

/** What is left of both allowances on the day of `now`. */
export function budgetsOf({ amounts, questions }: Told, now: Date): { amounts: Budget; questions: Budget } {
  const resetsAt = new Date(dayOf(now).getTime() + DAY_MS)
  const left = (limit: number, used: number): Budget => ({ limit, remaining: Math.max(0, limit - used), resetsAt })
  return { amounts: left(AMOUNTS_PER_DAY, amounts), questions: left(QUESTIONS_PER_DAY, questions) }
}

/** The start (UTC) of the day that allowances count in. */
export const dayOf = (now: Date): Date => new Date(Math.floor(now.getTime() / DAY_MS) * DAY_MS)

const floorDivide = (a: bigint, b: bigint): bigint => (a < 0n && a % b !== 0n ? a / b - 1n : a / b)
