import { z } from 'zod'
import { createCodeMap } from '../code-map.ts'

/** Some banks send a single object where the standard has an array. */
export const arrayOrSingle = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? [value] : value),
    z.array(item).max(5_000),
  )

/**
 * The names of balance types and account subtypes in 3.1.11, by those of 4.0; banks that serve 4.0 often still send
 * them. The "cleared" kinds are gone in 4.0 and are booked ones.
 */
export const LEGACY_NAMES = createCodeMap<string>({
  ClosingAvailable: 'CLAV',
  ClosingBooked: 'CLBD',
  ClosingCleared: 'CLBD',
  Expected: 'XPCD',
  ForwardAvailable: 'FWAV',
  Information: 'INFO',
  InterimAvailable: 'ITAV',
  InterimBooked: 'ITBD',
  InterimCleared: 'ITBD',
  OpeningAvailable: 'OPAV',
  OpeningBooked: 'OPBD',
  OpeningCleared: 'OPBD',
  PreviouslyClosedBooked: 'PRCD',
  CurrentAccount: 'CACC',
  Savings: 'SVGS',
  CreditCard: 'CARD',
  ChargeCard: 'CARD',
  Loan: 'LOAN',
  Mortgage: 'MORT',
  EMoney: 'WALT',
  PrePaidCard: 'WALT',
  Wallet: 'WALT',
})

/** The kinds that 3.1.11 has beside a booked one of the same phase: they count only where that one is missing. */
export const CLEARED_TYPES: ReadonlySet<string> = new Set(['ClosingCleared', 'InterimCleared', 'OpeningCleared'])
