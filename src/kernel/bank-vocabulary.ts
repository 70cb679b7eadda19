/** The type of an account, in one vocabulary for all standards. */
export type AccountType =
  'CURRENT' | 'SAVINGS' | 'TERM_DEPOSIT' | 'CARD' | 'PREPAID_OR_WALLET' | 'LOAN' | 'MORTGAGE' | 'OTHER'
/** Whether an account is personal or for business. */
export type AccountUsage = 'PERSONAL' | 'BUSINESS' | 'UNKNOWN'
/** Whether an account can be used. Accounts in hardship, such as arrears, are reported as OPEN. */
export type AccountStatus = 'OPEN' | 'PENDING' | 'RESTRICTED' | 'CLOSED' | 'UNKNOWN'

/**
 * The balance types that Guichet passes on (ISO 20022 names). Types that can reveal individual future purchases, such as
 * forward available or non-invoiced, are left out.
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

/** The display name of each account type. A bank's own text is not passed on. */
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
