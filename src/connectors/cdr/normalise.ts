import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { lastFourDigitsOf } from '../iso20022.ts'
import type { ResponseIssue } from '../response-issues.ts'
import { parseMoney, reconcileBalances, type ParseResult } from '../parsing.ts'
import { createCodeMap } from '../code-map.ts'
import { DEFAULT_CURRENCY } from './quirks.ts'
import { parseWireAccount, parseWireBalance, type WireBalance } from './wire.ts'

/** The product categories of 1.36. BUY_NOW_PAY_LATER becomes a loan, because the category itself reveals purchases. */
const ACCOUNT_TYPES = createCodeMap<AccountType>({
  TRANS_AND_SAVINGS_ACCOUNTS: 'CURRENT',
  TERM_DEPOSITS: 'TERM_DEPOSIT',
  CRED_AND_CHRG_CARDS: 'CARD',
  TRAVEL_CARDS: 'PREPAID_OR_WALLET',
  PERS_LOANS: 'LOAN',
  OVERDRAFTS: 'LOAN',
  BUSINESS_LOANS: 'LOAN',
  MARGIN_LOANS: 'LOAN',
  LEASES: 'LOAN',
  TRADE_FINANCE: 'LOAN',
  BUY_NOW_PAY_LATER: 'LOAN',
  RESIDENTIAL_MORTGAGES: 'MORTGAGE',
  REGULATED_TRUST_ACCOUNTS: 'OTHER',
})
const STATUSES = createCodeMap<AccountStatus>({ OPEN: 'OPEN', CLOSED: 'CLOSED' })

/** Maps one account to the domain. An absent status means OPEN; the currency is the standard's default. */
export function parseAccount(raw: unknown): ParseResult<BankAccount> {
  const wire = parseWireAccount(raw)
  if (!wire) return { issue: 'INVALID_ACCOUNT' }
  const type = ACCOUNT_TYPES.get(wire.productCategory ?? '')
  const status = STATUSES.get(wire.openStatus ?? 'OPEN')
  return {
    value: {
      ref: wire.accountId,
      type: type ?? 'OTHER',
      usage: 'UNKNOWN',
      status: status ?? 'UNKNOWN',
      currency: DEFAULT_CURRENCY,
      // The number is masked; the requested scope does not include the full one.
      number: null,
      lastFourDigits: lastFourDigitsOf(wire.maskedNumber),
      displayName: ACCOUNT_TYPE_NAMES[type ?? 'OTHER'],
    },
    issues: [
      ...(type ? [] : (['UNKNOWN_ACCOUNT_TYPE'] as const)),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
    ],
  }
}

/** Maps a list of balances, keyed by account ref. Reports and skips malformed entries. */
export function parseBalances(list: readonly unknown[], report: (issue: ResponseIssue) => void): Map<string, Balances> {
  const balancesByRef = new Map<string, Balances>()
  for (const raw of list) {
    const wire = parseWireBalance(raw)
    if (!wire) report('INVALID_BALANCE')
    else balancesByRef.set(wire.accountId, reconcileBalances(parseAccountBalances(wire), report))
  }
  return balancesByRef
}

/**
 * Amounts are already signed from the customer's side. The available balance includes the credit limit, if there is one.
 * Each purse is a separate balance in its own currency.
 */
function parseAccountBalances(wire: WireBalance): ParseResult<BankBalance>[] {
  const limit = parseMoney(wire.creditLimit ?? '', wire.currency ?? DEFAULT_CURRENCY)
  const creditLimit = 'amount' in limit && /[1-9]/.test(limit.amount) ? limit.amount : null
  const parseBalance = (
    type: BalanceType,
    amount: string | undefined,
    currencyCode: string | undefined,
    credit: Pick<BankBalance, 'creditLineIncluded' | 'creditLimit'>,
  ): ParseResult<BankBalance>[] => {
    if (amount === undefined) return []
    const money = parseMoney(amount, currencyCode ?? DEFAULT_CURRENCY)
    return ['issue' in money ? { type, issue: money.issue } : { value: { type, ...money, ...credit } }]
  }
  const noCredit = { creditLineIncluded: null, creditLimit: null }
  const { currency } = wire
  return [
    ...parseBalance('INTERIM_BOOKED', wire.currentBalance, currency, { creditLineIncluded: null, creditLimit }),
    ...parseBalance('INTERIM_AVAILABLE', wire.availableBalance, currency, {
      creditLineIncluded: creditLimit === null ? null : true,
      creditLimit,
    }),
    ...(wire.purses ?? [])
      // A purse in the account's own currency is already part of the available balance and would conflict with it.
      .filter((purse) => (purse.currency ?? DEFAULT_CURRENCY) !== (currency ?? DEFAULT_CURRENCY))
      .flatMap((purse) => parseBalance('INTERIM_AVAILABLE', purse.amount, purse.currency, noCredit)),
  ]
}
