/** What can be wrong with a part of a bank's answer, in words of our own. Each costs only the part that it is about. */
export const RESPONSE_ISSUES = {
  INVALID_ACCOUNT: 'an entry of a list of accounts that cannot be read as one',
  UNKNOWN_ACCOUNT_TYPE: 'a type of account that the standard does not name; it is shown as OTHER',
  UNKNOWN_ACCOUNT_STATUS: 'a status of an account that the standard does not name; it is shown as UNKNOWN',
  INVALID_BALANCE: 'an entry of a list of balances that cannot be read as one',
  UNKNOWN_BALANCE_TYPE: 'a kind of balance that the standard does not name; it is left out',
  INVALID_AMOUNT: 'an amount that is no decimal number, or has more decimals than its currency; the balance is absent',
  AMBIGUOUS_SIGN: 'an amount that may be owed or owned; the balance is absent',
  UNKNOWN_CURRENCY:
    'a currency that is not in the ISO 4217 table; the balance, or the currency of the account, is absent',
  CONFLICTING_BALANCES: 'two amounts for one kind of balance; both are absent',
  UNREQUESTED_ACCOUNT: 'a balance of an account that was not asked for; it is left out',
  TOO_MANY_PAGES: 'a list that did not end; what was read is used',
} as const satisfies Record<string, string>

/** One of them. */
export type ResponseIssue = keyof typeof RESPONSE_ISSUES
