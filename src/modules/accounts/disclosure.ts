import { addMs, subtractMs, DAY_MS } from '../../kernel/clock.ts'
import { findCurrency } from '../../kernel/currencies.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { fromScaledUnits, toScaledUnits, type CurrencyCode, type Decimal, type Money } from '../../kernel/money.ts'

/**
 * The disclosure policy: in which detail and how often a balance is disclosed. It prevents that purchases are inferred from
 * changes of a balance. This file has the limits and the computed values, as pure functions without a clock, a database or a
 * bank. The other rules of the policy are enforced where their data is:
 * - authorization.ts: the detail that token, consent and presence allow.
 * - amounts.ts: one snapshot discloses one balance type, and a disclosed amount is disclosed again without counting.
 * - bands.ts: when a band is updated from the bank.
 * - disclosure-store.ts: a disclosure is counted in one statement with the check of its limit.
 * - snapshots.ts and thresholds.ts: a disclosure is reserved before the bank is called and released if nothing was disclosed.
 */

/** The length of the rolling window to which the limits apply. No window of this length has more disclosures than a limit. */
export const DISCLOSURE_WINDOW_MS = DAY_MS
/** The maximum number of exact disclosures of one account within the window, to all clients together. */
export const EXACT_DISCLOSURES_PER_WINDOW = 4
/** The maximum number of `balanceAtLeast` results for one account within the window, for all clients together. */
export const THRESHOLD_CHECKS_PER_WINDOW = 6
/** The minimum time between two updates of an account's band, for all clients together. */
export const BAND_MAX_AGE_MS = 6 * 3_600_000
/**
 * The least age of an exact balance that every client has to accept. A disclosed amount is disclosed again from the same
 * snapshot, without counting, up to the age that the client accepts: from this time to `BAND_MAX_AGE_MS`. While the bank provides
 * no newer value, it is disclosed at any age, as STALE.
 */
export const MIN_EXACT_MAX_AGE_MS = 60_000

/** The bounds of an amount. The lower bound is inclusive, the upper bound exclusive. */
export interface Band {
  readonly lowerBound: Decimal
  readonly upperBound: Decimal
  readonly currency: CurrencyCode
}

/** The times of an account's disclosures, in ascending order. Times before the window no longer count. */
export interface DisclosureHistory {
  readonly exactAt: readonly Date[]
  /** The balance type of these exact disclosures. */
  readonly exactType: string | null
  readonly thresholdAt: readonly Date[]
}

/** The history of an account without disclosures. */
export const EMPTY_HISTORY: DisclosureHistory = { exactAt: [], exactType: null, thresholdAt: [] }

/** A limit and its remaining disclosures. */
export interface DisclosureBudget {
  readonly limit: number
  readonly remaining: number
  /** When one more becomes available; `null` if none is used. */
  readonly nextAvailableAt: Date | null
}

/** The reason why a value is not disclosed, and the time from which it can be. */
export interface DisclosureDenial {
  readonly reason: ErrorCode
  readonly retryAt: Date
}

const UNITS_PER_MAJOR_UNIT = 100_000n
/** The resolution of an offset: finer than one unit of the widest band. */
const OFFSET_STEPS = 2 ** 40

/** The width of bands in a currency. Throws `CURRENCY_NOT_SUPPORTED`. */
function bandWidthOf(currency: CurrencyCode): bigint {
  const definition = findCurrency(currency)
  if (!definition) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
  return definition.bandWidth * UNITS_PER_MAJOR_UNIT
}
/** How far an amount can move beyond a bound of its band before the band changes. */
const hysteresisMarginOf = (currency: CurrencyCode): bigint => bandWidthOf(currency) / 4n

/**
 * The band in which an amount is shown. `offset` (0 to 1) shifts all bounds. It is derived from a secret and the account, never
 * from the client or the consent, so that two clients cannot combine bands with different bounds. The `previous` band is
 * returned until the amount has moved beyond a bound by more than a quarter of the band's width (hysteresis): otherwise small
 * changes of an amount near a bound would be visible. Throws `CURRENCY_NOT_SUPPORTED`.
 */
export function bandOf({ amount, currency }: Money, offset: number, previous: Band | undefined): Band {
  const width = bandWidthOf(currency)
  const units = toScaledUnits(amount)
  // Bounds are whole units of the currency, because cents would suggest an accuracy that bands do not have.
  const shift =
    ((BigInt(Math.floor(offset * OFFSET_STEPS)) * (width / UNITS_PER_MAJOR_UNIT)) / BigInt(OFFSET_STEPS)) *
    UNITS_PER_MAJOR_UNIT
  if (previous?.currency === currency) {
    const [lower, upper] = [toScaledUnits(previous.lowerBound), toScaledUnits(previous.upperBound)]
    const margin = hysteresisMarginOf(currency)
    // False if the width or the offset has changed since.
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

/** The step of which thresholds in this currency must be multiples: twice the width of a band. */
export const thresholdStep = (currency: CurrencyCode): Decimal => fromScaledUnits(2n * bandWidthOf(currency))

/** Whether the threshold is a multiple of the step. */
export const isAllowedThreshold = (threshold: Decimal, currency: CurrencyCode): boolean =>
  toScaledUnits(threshold) % toScaledUnits(thresholdStep(currency)) === 0n

/**
 * Whether an amount in this band is certainly at least the threshold. The result depends only on the band, so it reveals nothing
 * more. The amount can be below the band by the hysteresis margin at most, so true is always correct.
 */
export const isCertainlyAtLeast = (band: Band, threshold: Decimal): boolean =>
  toScaledUnits(band.lowerBound) - hysteresisMarginOf(band.currency) >= toScaledUnits(threshold)

/** Why an exact amount of this balance type is not disclosed at `now`; `undefined` if it is. */
export function findExactDenial(
  { exactAt, exactType }: DisclosureHistory,
  type: string,
  now: Date,
): DisclosureDenial | undefined {
  const counted = filterWithinWindow(exactAt, now)
  const [oldest, newest] = [counted[0], counted.at(-1)]
  // The difference of the booked and the available balance would reveal pending purchases.
  if (newest && exactType !== type) return { reason: 'OTHER_BALANCE_TYPE_DISCLOSED', retryAt: windowEnd(newest) }
  if (!oldest || counted.length < EXACT_DISCLOSURES_PER_WINDOW) return undefined
  return { reason: 'DISCLOSURE_BUDGET_EXHAUSTED', retryAt: windowEnd(oldest) }
}

/** Both disclosure budgets of an account. */
export interface DisclosureBudgets {
  readonly exact: DisclosureBudget
  readonly threshold: DisclosureBudget
}

/** Both disclosure budgets at `now`. */
export function disclosureBudgetsOf(
  { exactAt: exact, thresholdAt: threshold }: DisclosureHistory,
  now: Date,
): DisclosureBudgets {
  const disclosureBudgetOf = (limit: number, times: readonly Date[]): DisclosureBudget => {
    const counted = filterWithinWindow(times, now)
    const [oldest] = counted
    return { limit, remaining: Math.max(0, limit - counted.length), nextAvailableAt: oldest ? windowEnd(oldest) : null }
  }
  return {
    exact: disclosureBudgetOf(EXACT_DISCLOSURES_PER_WINDOW, exact),
    threshold: disclosureBudgetOf(THRESHOLD_CHECKS_PER_WINDOW, threshold),
  }
}

/** Disclosures at or before this time no longer count at `now`. */
export const windowStart = (now: Date): Date => subtractMs(now, DISCLOSURE_WINDOW_MS)

const windowEnd = (at: Date): Date => addMs(at, DISCLOSURE_WINDOW_MS)

/** The times that count at `now`. Times in the future count, too, so that setting the clock back does not reset a limit. */
const filterWithinWindow = (times: readonly Date[], now: Date): readonly Date[] =>
  times.filter((at) => at > windowStart(now))

const floorDivide = (a: bigint, b: bigint): bigint => (a < 0n && a % b !== 0n ? a / b - 1n : a / b)
