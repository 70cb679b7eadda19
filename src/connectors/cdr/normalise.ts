import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { lastFourDigitsOf } from '../iso20022.ts'
import { parseMoney, reconcileBalances, type ParseResult, type ReadTools } from '../parsing.ts'
import { createCodeMap, readCode } from '../code-map.ts'
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
  const entry = parseWireAccount(raw)
  if (!entry) return { issue: 'INVALID_ACCOUNT' }
  const { wire } = entry
  const type = readCode(ACCOUNT_TYPES, wire.productCategory ?? '')
  const status = readCode(STATUSES, wire.openStatus ?? 'OPEN')
  return {
    value: {
      ref: wire.accountId,
      type: type?.value ?? 'OTHER',
      usage: 'UNKNOWN',
      status: status?.value ?? 'UNKNOWN',
      currency: DEFAULT_CURRENCY,
      // The number is masked; the requested scope does not include the full one.
      number: null,
      lastFourDigits: lastFourDigitsOf(wire.maskedNumber),
      displayName: ACCOUNT_TYPE_NAMES[type?.value ?? 'OTHER'],
    },
    issues: [
      ...entry.issues,
      ...(type?.issues ?? (['UNKNOWN_ACCOUNT_TYPE'] as const)),
      ...(status?.issues ?? (['UNKNOWN_ACCOUNT_STATUS'] as const)),
    ],
  }
}

/** Maps a list of balances, keyed by account ref. Reports and skips malformed entries. */
export function parseBalances(list: readonly unknown[], tools: ReadTools): Map<string, Balances> {
  const balances = list.flatMap((raw) => {
    const entry = parseWireBalance(raw)
    if (!entry) tools.report('INVALID_BALANCE')
    entry?.issues.forEach(tools.report)
    return entry?.wire ?? []
  })
  const byRef = Map.groupBy(balances, ({ accountId }) => accountId)
  return new Map([...byRef].map(([ref, wires]) => [ref, reconcileBalances(wires.flatMap(parseAccountBalances), tools)]))
}

/**
 * Amounts are already signed from the customer's side. The available balance includes the credit limit, if there is one.
 * Each purse is a separate balance in its own currency.
 */
function parseAccountBalances(wire: WireBalance): ParseResult<BankBalance>[] {
  const currencyCode = wire.currency ?? DEFAULT_CURRENCY
  const limit = parseMoney(wire.creditLimit ?? '', currencyCode)
  const creditLimit = 'money' in limit && /[1-9]/.test(limit.money.amount) ? limit.money.amount : null
  const creditLineIncluded = creditLimit === null ? null : true
  return [
    ...parseBalance('INTERIM_BOOKED', wire.currentBalance, currencyCode, { creditLineIncluded: null, creditLimit }),
    ...parseBalance('INTERIM_AVAILABLE', wire.availableBalance, currencyCode, { creditLineIncluded, creditLimit }),
    ...(wire.purses ?? []).flatMap((purse) => (purse ? parsePurse(purse, currencyCode) : [])),
  ]
}

function parseBalance(
  type: BalanceType,
  amount: string | undefined,
  currencyCode: string,
  credit: Pick<BankBalance, 'creditLineIncluded' | 'creditLimit'>,
): ParseResult<BankBalance>[] {
  if (amount === undefined) return []
  const parsed = parseMoney(amount, currencyCode)
  if ('issue' in parsed) return [{ type, issue: parsed.issue }]
  return [{ value: { type, ...parsed.money, ...credit }, issues: parsed.issues }]
}

type Purse = NonNullable<NonNullable<WireBalance['purses']>[number]>

/**
 * Purses are for other currencies than the account's, so the default currency does not apply. A purse in the account's own
 * currency is already part of the available balance and would conflict with it.
 */
function parsePurse({ amount, currency }: Purse, accountCurrency: string): ParseResult<BankBalance>[] {
  if (currency === undefined) return [{ issue: 'MISSING_CURRENCY' }]
  if (currency.toUpperCase() === accountCurrency.toUpperCase()) return []
  return parseBalance('INTERIM_AVAILABLE', amount, currency, { creditLineIncluded: null, creditLimit: null })
}
