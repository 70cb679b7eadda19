import { z } from 'zod'
import { createCodeMap } from '../code-map.ts'

/** Accepts a single object in place of an array, as some banks send it. */
export const arrayOrSingle = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? [value] : value),
    z.array(item).max(5_000),
  )

/**
 * The 3.1.11 names of balance types and account subtypes, mapped to those of 4.0; banks with 4.0 often still send them.
 * The "cleared" types do not exist in 4.0 and map to booked ones.
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

/** The 3.1.11 types that are used only if the booked balance of the same phase is missing. */
export const CLEARED_TYPES: ReadonlySet<string> = new Set(['ClosingCleared', 'InterimCleared', 'OpeningCleared'])
