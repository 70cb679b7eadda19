import { z } from 'zod'

/** Some banks send a single object where the standard has an array. */
export const listOf = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (typeof value === 'object' && value !== null && !Array.isArray(value) ? [value] : value),
    z.array(item).max(5_000),
  )

/** The names of balance types and account subtypes in 3.1.11; banks that serve 4.0 often still send them. */
export const OLDER_NAMES: Readonly<Record<string, string>> = {
  ClosingAvailable: 'CLAV',
  ClosingBooked: 'CLBD',
  Expected: 'XPCD',
  InterimAvailable: 'ITAV',
  InterimBooked: 'ITBD',
  OpeningAvailable: 'OPAV',
  OpeningBooked: 'OPBD',
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
}
