import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { negate, parseJsonNumber } from '../../kernel/money.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { lastFourDigitsOf } from '../iso20022.ts'
import type { ResponseIssue } from '../response-issues.ts'
import { parseAccountCurrency, parseMoney, reconcileBalances, type ParseResult } from '../parsing.ts'
import { createCodeMap } from '../code-map.ts'
import { parseWireAccount, type WireAccount } from './wire.ts'

const NO_NAMED_TYPES: ReadonlyMap<string, AccountType> = new Map()
/** By category, then by type; `fallback` applies to the category's other types. */
const ACCOUNT_TYPES = createCodeMap<{
  readonly byType: ReadonlyMap<string, AccountType>
  readonly fallback: AccountType
}>({
  DEPOSIT_ACCOUNT: {
    byType: createCodeMap<AccountType>({
      CHECKING: 'CURRENT',
      SAVINGS: 'SAVINGS',
      MONEYMARKET: 'SAVINGS',
      HIGHINTERESTSAVINGSACCOUNT: 'SAVINGS',
      FIRSTHOMESAVINGSACCOUNT: 'SAVINGS',
      CD: 'TERM_DEPOSIT',
    }),
    fallback: 'OTHER',
  },
  LOC_ACCOUNT: {
    byType: createCodeMap<AccountType>({
      CREDITCARD: 'CARD',
      CHARGE: 'CARD',
      LINEOFCREDIT: 'LOAN',
      HOMELINEOFCREDIT: 'LOAN',
    }),
    fallback: 'LOAN',
  },
  LOAN_ACCOUNT: { byType: createCodeMap<AccountType>({ MORTGAGE: 'MORTGAGE' }), fallback: 'LOAN' },
  DIGITAL_WALLET: { byType: NO_NAMED_TYPES, fallback: 'PREPAID_OR_WALLET' },
  INVESTMENT_ACCOUNT: { byType: NO_NAMED_TYPES, fallback: 'OTHER' },
  ANNUITY_ACCOUNT: { byType: NO_NAMED_TYPES, fallback: 'OTHER' },
  INSURANCE_ACCOUNT: { byType: NO_NAMED_TYPES, fallback: 'OTHER' },
  COMMERCIAL_ACCOUNT: { byType: NO_NAMED_TYPES, fallback: 'OTHER' },
})
/** DELINQUENT and NEGATIVECURRENTBALANCE become OPEN: financial hardship is not disclosed. */
const STATUSES = createCodeMap<AccountStatus>({
  OPEN: 'OPEN',
  DELINQUENT: 'OPEN',
  NEGATIVECURRENTBALANCE: 'OPEN',
  PAID: 'OPEN',
  PENDINGOPEN: 'PENDING',
  PENDINGCLOSE: 'PENDING',
  RESTRICTED: 'RESTRICTED',
  CLOSED: 'CLOSED',
})
/** The fields that hold account balances, by category. Bills, payments and cash advances are not balances. */
const BALANCE_FIELDS = createCodeMap<readonly (readonly [keyof WireAccount, BalanceType])[]>({
  DEPOSIT_ACCOUNT: [
    ['currentBalance', 'INTERIM_BOOKED'],
    ['availableBalance', 'INTERIM_AVAILABLE'],
    ['openingDayBalance', 'OPENING_BOOKED'],
  ],
  DIGITAL_WALLET: [
    ['currentBalance', 'INTERIM_BOOKED'],
    ['availableBalance', 'INTERIM_AVAILABLE'],
  ],
  LOC_ACCOUNT: [
    ['currentBalance', 'INTERIM_BOOKED'],
    ['availableCredit', 'INTERIM_AVAILABLE'],
  ],
  LOAN_ACCOUNT: [['principalBalance', 'INTERIM_BOOKED']],
})
/** The categories that state an amount owed as a positive number. */
const LIABILITY_CATEGORIES: ReadonlySet<string> = new Set(['LOC_ACCOUNT', 'LOAN_ACCOUNT'])

/** Maps one account to the domain. An unsupported category becomes OTHER and has no balances. */
export function parseAccount(raw: unknown): ParseResult<BankAccount> {
  const wire = parseWireAccount(raw)
  if (!wire) return { issue: 'INVALID_ACCOUNT' }
  const types = ACCOUNT_TYPES.get(wire.accountCategory ?? '')
  const type = types?.byType.get(wire.accountType ?? '') ?? types?.fallback ?? 'OTHER'
  const status = wire.status === undefined ? 'UNKNOWN' : STATUSES.get(wire.status)
  const { currency, issues } = parseAccountCurrency(wire.currency?.currencyCode)
  return {
    value: {
      ref: wire.accountId,
      type,
      usage: usageOf(wire.lineOfBusiness),
      status: status ?? 'UNKNOWN',
      currency,
      // The display number is masked.
      number: null,
      lastFourDigits: lastFourDigitsOf(wire.accountNumberDisplay),
      displayName: ACCOUNT_TYPE_NAMES[type],
    },
    issues: [
      ...(types ? [] : (['UNKNOWN_ACCOUNT_TYPE'] as const)),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...issues,
    ],
  }
}

/** `lineOfBusiness` is free text in the standard, so anything unclear is UNKNOWN. */
const usageOf = (lineOfBusiness = ''): BankAccount['usage'] =>
  /^consumer/i.test(lineOfBusiness)
    ? 'PERSONAL'
    : /business|commercial|corporate/i.test(lineOfBusiness)
      ? 'BUSINESS'
      : 'UNKNOWN'

/** The error of one account within a successful response; undefined if the account has none. */
export const toAccountError = (
  { error }: WireAccount,
  codes: ReadonlyMap<string, ErrorCode>,
): GatewayError | undefined =>
  error &&
  new GatewayError(codes.get(error.code) ?? 'ACCOUNT_UNAVAILABLE', {
    internalMessage: 'the bank returned an error for this account',
  })

/**
 * Maps the balances of one account. Liabilities are stated as positive when owed, so they are negated. If `balanceType`
 * contradicts the category, the sign is ambiguous and the balance is not used.
 */
export function parseBalances(wire: WireAccount, report: (issue: ResponseIssue) => void): Balances {
  const { accountCategory = '', balanceType } = wire
  const isLiability = LIABILITY_CATEGORIES.has(accountCategory)
  const isSignCertain = balanceType === undefined || balanceType === (isLiability ? 'LIABILITY' : 'ASSET')
  const parseAmount = (amountText: string) => parseMoney(amountText, wire.currency?.currencyCode ?? '', parseJsonNumber)
  const limit = parseAmount(wire.creditLine ?? '')
  return reconcileBalances(
    (BALANCE_FIELDS.get(accountCategory) ?? []).flatMap(([field, type]): ParseResult<BankBalance>[] => {
      const text = wire[field]
      if (typeof text !== 'string') return []
      const money = parseAmount(text)
      if ('issue' in money) return [{ type, issue: money.issue }]
      const isAvailableCredit = field === 'availableCredit'
      if (!isSignCertain && !isAvailableCredit) return [{ type, issue: 'AMBIGUOUS_SIGN' }]
      const value: BankBalance = {
        type,
        amount: isLiability && !isAvailableCredit ? negate(money.amount) : money.amount,
        currency: money.currency,
        creditLineIncluded: isAvailableCredit ? true : null,
        creditLimit: isLiability && 'amount' in limit ? limit.amount : null,
      }
      return [{ value }]
    }),
    report,
  )
}
