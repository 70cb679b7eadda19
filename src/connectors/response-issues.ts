/** The issues that a part of a bank's response can have, with their descriptions. Each affects only that part. */
export const RESPONSE_ISSUES = {
  INVALID_ACCOUNT: 'an entry in a list of accounts is malformed; it is left out',
  UNKNOWN_ACCOUNT_TYPE: 'an account type is not defined by the standard; it is shown as OTHER',
  UNKNOWN_ACCOUNT_STATUS: 'an account status is not defined by the standard; it is shown as UNKNOWN',
  INVALID_MEMBER: 'an optional part of a response cannot be used, such as one of a wrong type; it is left out',
  NONSTANDARD_CODE: 'a code is not written as the standard has it, such as in lower case; it is read all the same',
  INVALID_BALANCE: 'an entry in a list of balances is malformed; it is left out',
  UNKNOWN_BALANCE_TYPE: 'a balance type is not defined by the standard; it is left out',
  INVALID_AMOUNT: 'an amount is not a decimal number or has more decimals than its currency; the balance is absent',
  AMBIGUOUS_SIGN: 'the sign of an amount is ambiguous; the balance is absent',
  UNKNOWN_CURRENCY: 'a currency is not in the ISO 4217 table; the balance, or the currency of the account, is absent',
  CONFLICTING_BALANCES: 'two amounts for the same balance conflict; both are absent',
  MISSING_CURRENCY: 'an additional balance names no currency; it is left out',
  UNREQUESTED_ACCOUNT: 'a balance belongs to an account that was not requested; it is left out',
  TOO_MANY_PAGES: 'a list has more than 20 pages or 10,000 entries; the pages before are used',
  INVALID_NEXT_PAGE: 'the link to the next page of a list leads nowhere, or elsewhere; the pages before it are used',
  REPEATED_PAGE: 'the link to the next page of a list leads back to a page; the pages before it are used',
  UNREADABLE_PAGE: 'a further page of a list is refused or malformed; the pages before it are used',
} as const satisfies Record<string, string>

/** The code of an issue. */
export type ResponseIssue = keyof typeof RESPONSE_ISSUES
