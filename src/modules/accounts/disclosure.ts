import { DAY_MS, later } from '../../kernel/clock.ts'
import { currencyFacts } from '../../kernel/currencies.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { fromUnits, toUnits, type Currency, type Decimal, type Money } from '../../kernel/money.ts'

/**
 * How much of a balance may be told, and how often. Everything by which what a customer bought could be inferred from
 * what their balance is stands on this page; nothing here reads a clock, a table or a bank.
 */

/** Limits count over a rolling window of this length: at no moment does the time before it hold more than a limit. */
export const DISCLOSURE_WINDOW_MS = DAY_MS
/** Amounts disclosed of one account within the window, to all clients together. */
export const AMOUNTS_PER_WINDOW = 4
/** Questions of "at least so much?" answered about one account within the window, to all clients together. */
export const QUESTIONS_PER_WINDOW = 6
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

/** What was disclosed of one account, as times in ascending order; those before the window no longer count. */
export interface Disclosed {
  readonly amounts: readonly Date[]
  /** The one kind of balance whose amounts these are. */
  readonly amountType: string | null
  readonly questions: readonly Date[]
}

/** Nothing yet. */
export const NOTHING_DISCLOSED: Disclosed = { amounts: [], amountType: null, questions: [] }

/** What is left of a limit. */
export interface Budget {
  readonly limit: number
  readonly remaining: number
  /** When the next unit comes free; the present where none is used. */
  readonly resetsAt: Date
}

/** Why something is not disclosed now, and from when on it can be. */
export interface Withheld {
  readonly reason: ErrorCode
  readonly retryAt: Date
}

const UNIT = 100_000n
/** So many places an offset can be told apart at: more than any range is wide. */
const OFFSETS = 2 ** 40

/** How wide a range is. Throws `CURRENCY_NOT_SUPPORTED`. */
function widthOf(currency: Currency): bigint {
  const facts = currencyFacts(currency)
  if (!facts) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
  return facts.bandWidth * UNIT
}
/** How far an amount may have moved out of its range before a new one is drawn. */
const marginOf = (currency: Currency): bigint => widthOf(currency) / 4n

/**
 * The range that an amount is shown as. `offset` (0 to 1) shifts the edges; it comes from a secret and the account, never
 * from the client or the consent, so that two clients cannot lay two grids over each other. An amount that has moved
 * out of the `previous` range by less than a quarter of a width is still shown there: otherwise one that lies near an
 * edge would tell every small step across it. Throws `CURRENCY_NOT_SUPPORTED`.
 */
export function bandOf({ amount, currency }: Money, offset: number, previous: Band | undefined): Band {
  const width = widthOf(currency)
  const units = toUnits(amount)
  // Edges lie on whole units: cents in an edge would be read as meaning something.
  const shift = ((BigInt(Math.floor(offset * OFFSETS)) * (width / UNIT)) / BigInt(OFFSETS)) * UNIT
  if (previous?.currency === currency) {
    const [from, to, margin] = [toUnits(previous.from), toUnits(previous.to), marginOf(currency)]
    // One of an older width or of other edges is another grid.
    const isOnGrid = to - from === width && (from - shift) % width === 0n
    if (isOnGrid && units >= from - margin && units < to + margin) return previous
  }
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

/** Why an amount of this kind is not disclosed at `now`; `undefined` where it is. */
export function whyNoAmount({ amounts, amountType }: Disclosed, type: string, now: Date): Withheld | undefined {
  const counted = withinWindow(amounts, now)
  const [oldest, newest] = [counted[0], counted.at(-1)]
  // Booked beside available would show the sum of all that is pending.
  if (newest && amountType !== type) return { reason: 'OTHER_BALANCE_TYPE_DISCLOSED', retryAt: windowEnd(newest) }
  if (!oldest || counted.length < AMOUNTS_PER_WINDOW) return undefined
  return { reason: 'DISCLOSURE_BUDGET_EXHAUSTED', retryAt: windowEnd(oldest) }
}

/** What is left of both limits at `now`. */
export function budgetsOf({ amounts, questions }: Disclosed, now: Date): { amounts: Budget; questions: Budget } {
  const left = (limit: number, times: readonly Date[]): Budget => {
    const counted = withinWindow(times, now)
    const [oldest] = counted
    return { limit, remaining: Math.max(0, limit - counted.length), resetsAt: oldest ? windowEnd(oldest) : now }
  }
  return { amounts: left(AMOUNTS_PER_WINDOW, amounts), questions: left(QUESTIONS_PER_WINDOW, questions) }
}

/** What happened at this time or before counts no longer at `now`. */
export const windowStart = (now: Date): Date => later(now, -DISCLOSURE_WINDOW_MS)

const windowEnd = (at: Date): Date => later(at, DISCLOSURE_WINDOW_MS)

/** What lies in the future counts as well: a clock that is put back renews nothing. */
const withinWindow = (times: readonly Date[], now: Date): readonly Date[] => times.filter((at) => at > windowStart(now))

const floorDivide = (a: bigint, b: bigint): bigint => (a < 0n && a % b !== 0n ? a / b - 1n : a / b)
