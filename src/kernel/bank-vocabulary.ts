/** What an account can be, in one vocabulary for all standards. */
export type AccountType =
  'CURRENT' | 'SAVINGS' | 'TERM_DEPOSIT' | 'CARD' | 'PREPAID_OR_WALLET' | 'LOAN' | 'MORTGAGE' | 'OTHER'
/** Whom an account is for. */
export type AccountUsage = 'PERSONAL' | 'BUSINESS' | 'UNKNOWN'
/** Whether an account can be used; hardship such as arrears reads OPEN. */
export type AccountStatus = 'OPEN' | 'PENDING' | 'RESTRICTED' | 'CLOSED' | 'UNKNOWN'

/**
 * The kinds of balance that Guichet passes on (ISO 20022 names). Kinds that tell of single purchases to come, such as
 * forward available or non-invoiced, have no name here.
 */
export type BalanceType =
  | 'INTERIM_AVAILABLE'
  | 'INTERIM_BOOKED'
  | 'EXPECTED'
  | 'CLOSING_BOOKED'
  | 'CLOSING_AVAILABLE'
  | 'OPENING_BOOKED'
  | 'OPENING_AVAILABLE'
  | 'PREVIOUSLY_CLOSED_BOOKED'

/** What customers call each type of account; used as the display name, since a bank's own text is not passed on. */
export const ACCOUNT_TYPE_NAMES: Readonly<Record<AccountType, string>> = {
  CURRENT: 'Current account',
  SAVINGS: 'Savings account',
  TERM_DEPOSIT: 'Term deposit',
  CARD: 'Card',
  PREPAID_OR_WALLET: 'Wallet',
  LOAN: 'Loan',
  MORTGAGE: 'Mortgage',
  OTHER: 'Account',
}
