import type { BalanceLineDirection } from '../../kernel/alert-vocabulary.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import { addMs, HOUR_MS } from '../../kernel/clock.ts'
import { randomFraction, type Randomness } from '../../kernel/ids.ts'
import { toScaledUnits, type Money } from '../../kernel/money.ts'
import { bandOf, DISCLOSURE_WINDOW_MS, type Band } from './disclosure.ts'

/**
 * The policy of lines, as pure functions: where a line can lie, when it is compared with the balance, and what counts as a
 * crossing. A crossing follows from the bands alone, so that it discloses nothing that the bands do not (decision 35).
 */

/** The maximum number of lines of one account, of all clients together. */
export const LINES_PER_ACCOUNT = 2
/** The time between two checks of a line, and the most that is added to it at random. */
const CHECK_INTERVAL_MS = 6 * HOUR_MS
const CHECK_JITTER_MS = 2 * HOUR_MS

/** On which side of a line a balance is. */
export type LineSide = 'ABOVE' | 'BELOW'

/** A line that a customer drew for one client. */
export interface BalanceLine {
  readonly id: string
  readonly clientId: string
  /** The account as the customer shares it. */
  readonly accountId: string
  readonly customerId: string
  readonly bankId: string
  /** The type of the balance. */
  readonly type: BalanceType
  /** An edge of the account's bands. */
  readonly line: Money
  /** The crossings that are reported. */
  readonly direction: BalanceLineDirection
  /** The side at the last check; null if none had a result. */
  readonly side: LineSide | null
  /** When a crossing was last reported. */
  readonly alertedAt: Date | null
}

/** The edges of the account's bands at and above the amount: the first equals the amount if that is an edge itself. */
export function edgesAround(amount: Money, offset: number): readonly [Money, Money] {
  const { lowerBound, upperBound, currency } = bandOf(amount, offset, undefined)
  return [
    { amount: lowerBound, currency },
    { amount: upperBound, currency },
  ]
}

/** The side on which a band is. Undefined if it lies across the line, because the edges of the account's bands have changed. */
export function sideOf(band: Band, { amount, currency }: Money): LineSide | undefined {
  if (band.currency !== currency) return undefined
  const units = toScaledUnits(amount)
  if (toScaledUnits(band.lowerBound) >= units) return 'ABOVE'
  return toScaledUnits(band.upperBound) <= units ? 'BELOW' : undefined
}

/** Whether a crossing to `side` is reported at `now`: in the direction of the line, and at most once in 24 hours. */
export const isReported = ({ side: previous, direction, alertedAt }: BalanceLine, side: LineSide, now: Date): boolean =>
  previous !== null &&
  previous !== side &&
  side === (direction === 'FALLING' ? 'BELOW' : 'ABOVE') &&
  (alertedAt === null || addMs(alertedAt, DISCLOSURE_WINDOW_MS) <= now)

/**
 * When a line is checked next. Never earlier than a band is updated, so that the checks fetch at most four times a day, and at a
 * random time, which nobody who knows one check can compute.
 */
export function nextCheckAt(now: Date, randomness: Randomness): Date {
  return addMs(now, CHECK_INTERVAL_MS + Math.floor(randomFraction(randomness) * CHECK_JITTER_MS))
}
