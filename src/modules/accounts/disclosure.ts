import { addMs, subtractMs, DAY_MS } from '../../kernel/clock.ts'
import { findCurrency } from '../../kernel/currencies.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { fromScaledUnits, toScaledUnits, type CurrencyCode, type Decimal, type Money } from '../../kernel/money.ts'

/**
 * How much of a balance may be told, and how often. Everything by which what a customer bought could be inferred from
 * what their balance is stands on this page; nothing here reads a clock, a table or a bank.
 */

/** Limits count over a rolling window of this length: at no moment does the time before it hold more than a limit. */
export const DISCLOSURE_WINDOW_MS = DAY_MS
/** Amounts disclosed of one account within the window, to all clients together. */
export const EXACT_DISCLOSURES_PER_WINDOW = 4
/** Questions of "at least so much?" answered about one account within the window, to all clients together. */
export const THRESHOLD_CHECKS_PER_WINDOW = 6
/** A range is drawn anew at most this often, for all clients together. */
export const BAND_MAX_AGE_MS = 6 * 3_600_000
/** An amount that was told is told again from the same snapshot for this long at least, and costs nothing then. */
export const EXACT_REUSE_MS = 60_000

/** A band that an amount lies in: the lower bound included, the upper one not. */
export interface Band {
  readonly lowerBound: Decimal
  readonly upperBound: Decimal
  readonly currency: CurrencyCode
}

/** What was disclosed of one account, as times in ascending order; those before the window no longer count. */
export interface DisclosureHistory {
  readonly exactAt: readonly Date[]
  /** The one kind of balance whose amounts these are. */
  readonly exactType: string | null
  readonly thresholdAt: readonly Date[]
}

/** Nothing yet. */
export const EMPTY_HISTORY: DisclosureHistory = { exactAt: [], exactType: null, thresholdAt: [] }

/** What is left of a limit. */
export interface DisclosureBudget {
  readonly limit: number
  readonly remaining: number
  /** When one more becomes available; `null` if none is used. */
  readonly nextAvailableAt: Date | null
}

/** Why something is not disclosed now, and from when on it can be. */
export interface DisclosureDenial {
  readonly reason: ErrorCode
  readonly retryAt: Date
}

const UNITS_PER_MAJOR_UNIT = 100_000n
/** So many places an offset can be told apart at: more than any range is wide. */
const OFFSET_STEPS = 2 ** 40

/** How wide a range is. Throws `CURRENCY_NOT_SUPPORTED`. */
function bandWidthOf(currency: CurrencyCode): bigint {
  const facts = findCurrency(currency)
  if (!facts) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
  return facts.bandWidth * UNITS_PER_MAJOR_UNIT
}
/** How far an amount may have moved out of its range before a new one is drawn. */
const hysteresisMarginOf = (currency: CurrencyCode): bigint => bandWidthOf(currency) / 4n

/**
 * The range that an amount is shown as. `offset` (0 to 1) shifts the edges; it comes from a secret and the account, never
 * from the client or the consent, so that two clients cannot lay two grids over each other. An amount that has moved
 * out of the `previous` range by less than a quarter of a width is still shown there: otherwise one that lies near an
 * edge would tell every small step across it. Throws `CURRENCY_NOT_SUPPORTED`.
 */
export function bandOf({ amount, currency }: Money, offset: number, previous: Band | undefined): Band {
  const width = bandWidthOf(currency)
  const units = toScaledUnits(amount)
  // Edges lie on whole units: cents in an edge would be read as meaning something.
  const shift =
    ((BigInt(Math.floor(offset * OFFSET_STEPS)) * (width / UNITS_PER_MAJOR_UNIT)) / BigInt(OFFSET_STEPS)) *
    UNITS_PER_MAJOR_UNIT
  if (previous?.currency === currency) {
    const [lower, upper] = [toScaledUnits(previous.lowerBound), toScaledUnits(previous.upperBound)]
    const margin = hysteresisMarginOf(currency)
    // One of an older width or of other edges is another grid.
    const isOnGrid = upper - lower === width && (lower - shift) % width === 0n
    if (isOnGrid && units >= lower - margin && units < upper + margin) return previous
  }
  const index = floorDivide(units - shift, width)
  return {
    lowerBound: fromScaledUnits(index * width + shift),
    upperBound: fromScaledUnits((index + 1n) * width + shift),
    currency,
  }
}

/** What thresholds in this currency must be multiples of: twice the width of a range. */
export const thresholdStep = (currency: CurrencyCode): Decimal => fromScaledUnits(2n * bandWidthOf(currency))

/** Whether the threshold may be asked about. */
export const isAllowedThreshold = (threshold: Decimal, currency: CurrencyCode): boolean =>
  toScaledUnits(threshold) % toScaledUnits(thresholdStep(currency)) === 0n

/**
 * Whether an amount that is shown as this range is certainly at least the threshold. It is a function of the range alone,
 * so it tells nothing that the range does not; and since the amount is never further below the range than the margin, a
 * yes is never wrong.
 */
export const isCertainlyAtLeast = (band: Band, threshold: Decimal): boolean =>
  toScaledUnits(band.lowerBound) - hysteresisMarginOf(band.currency) >= toScaledUnits(threshold)

/** Why an amount of this kind is not disclosed at `now`; `undefined` where it is. */
export function findExactDenial(
  { exactAt, exactType }: DisclosureHistory,
  type: string,
  now: Date,
): DisclosureDenial | undefined {
  const counted = filterWithinWindow(exactAt, now)
  const [oldest, newest] = [counted[0], counted.at(-1)]
  // Booked beside available would show the sum of all that is pending.
  if (newest && exactType !== type) return { reason: 'OTHER_BALANCE_TYPE_DISCLOSED', retryAt: windowEnd(newest) }
  if (!oldest || counted.length < EXACT_DISCLOSURES_PER_WINDOW) return undefined
  return { reason: 'DISCLOSURE_BUDGET_EXHAUSTED', retryAt: windowEnd(oldest) }
}

/** What is left of both limits of an account. */
export interface DisclosureBudgets {
  readonly exact: DisclosureBudget
  readonly threshold: DisclosureBudget
}

/** What is left of both limits at `now`. */
export function budgetsOf({ exactAt: exact, thresholdAt: threshold }: DisclosureHistory, now: Date): DisclosureBudgets {
  const budgetOf = (limit: number, times: readonly Date[]): DisclosureBudget => {
    const counted = filterWithinWindow(times, now)
    const [oldest] = counted
    return { limit, remaining: Math.max(0, limit - counted.length), nextAvailableAt: oldest ? windowEnd(oldest) : null }
  }
  return {
    exact: budgetOf(EXACT_DISCLOSURES_PER_WINDOW, exact),
    threshold: budgetOf(THRESHOLD_CHECKS_PER_WINDOW, threshold),
  }
}

/** What happened at this time or before counts no longer at `now`. */
export const windowStart = (now: Date): Date => subtractMs(now, DISCLOSURE_WINDOW_MS)

const windowEnd = (at: Date): Date => addMs(at, DISCLOSURE_WINDOW_MS)

/** What lies in the future counts as well: a clock that is put back renews nothing. */
const filterWithinWindow = (times: readonly Date[], now: Date): readonly Date[] =>
  times.filter((at) => at > windowStart(now))

const floorDivide = (a: bigint, b: bigint): bigint => (a < 0n && a % b !== 0n ? a / b - 1n : a / b)
