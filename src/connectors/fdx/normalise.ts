import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { negate, parseJsonNumber } from '../../kernel/money.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { numberEndOf } from '../iso20022.ts'
import type { Problem } from '../problems.ts'
import { currencyOfAccount, moneyOf, settle, type Reading } from '../reading.ts'
import { wordTable } from '../word-table.ts'
import { readAccount, type WireAccount } from './wire.ts'

const NONE: ReadonlyMap<string, AccountType> = new Map()
/** By category, then by type; `other` for a type of the category that is not named. */
const ACCOUNT_TYPES = wordTable<{ readonly named: ReadonlyMap<string, AccountType>; readonly other: AccountType }>({
  DEPOSIT_ACCOUNT: {
    named: wordTable<AccountType>({
      CHECKING: 'CURRENT',
      SAVINGS: 'SAVINGS',
      MONEYMARKET: 'SAVINGS',
      HIGHINTERESTSAVINGSACCOUNT: 'SAVINGS',
      FIRSTHOMESAVINGSACCOUNT: 'SAVINGS',
      CD: 'TERM_DEPOSIT',
    }),
    other: 'OTHER',
  },
  LOC_ACCOUNT: {
    named: wordTable<AccountType>({
      CREDITCARD: 'CARD',
      CHARGE: 'CARD',
      LINEOFCREDIT: 'LOAN',
      HOMELINEOFCREDIT: 'LOAN',
    }),
    other: 'LOAN',
  },
  LOAN_ACCOUNT: { named: wordTable<AccountType>({ MORTGAGE: 'MORTGAGE' }), other: 'LOAN' },
  DIGITAL_WALLET: { named: NONE, other: 'PREPAID_OR_WALLET' },
  INVESTMENT_ACCOUNT: { named: NONE, other: 'OTHER' },
  ANNUITY_ACCOUNT: { named: NONE, other: 'OTHER' },
  INSURANCE_ACCOUNT: { named: NONE, other: 'OTHER' },
  COMMERCIAL_ACCOUNT: { named: NONE, other: 'OTHER' },
})
/** Arrears and overdrafts read OPEN: hardship is not passed on. */
const STATUSES = wordTable<AccountStatus>({
  OPEN: 'OPEN',
  DELINQUENT: 'OPEN',
  NEGATIVECURRENTBALANCE: 'OPEN',
  PAID: 'OPEN',
  PENDINGOPEN: 'PENDING',
  PENDINGCLOSE: 'PENDING',
  RESTRICTED: 'RESTRICTED',
  CLOSED: 'CLOSED',
})
/** The fields that are balances of the account, by category; bills, payments and cash advances are none. */
const BALANCE_FIELDS = wordTable<readonly (readonly [keyof WireAccount, BalanceType])[]>({
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
/** Where the amount that is owed is stated as a positive number. */
const OWED: ReadonlySet<string> = new Set(['LOC_ACCOUNT', 'LOAN_ACCOUNT'])

/** One account in our words; a category out of scope keeps its place as OTHER and has no balances. */
export function toAccount(raw: unknown): Reading<BankAccount> {
  const wire = readAccount(raw)
  if (!wire) return { problem: 'NOT_AN_ACCOUNT' }
  const types = ACCOUNT_TYPES.get(wire.accountCategory ?? '')
  const type = types?.named.get(wire.accountType ?? '') ?? types?.other ?? 'OTHER'
  const status = wire.status === undefined ? 'UNKNOWN' : STATUSES.get(wire.status)
  const { currency, problems } = currencyOfAccount(wire.currency?.currencyCode)
  return {
    value: {
      ref: wire.accountId,
      type,
      usage: usageOf(wire.lineOfBusiness),
      status: status ?? 'UNKNOWN',
      currency,
      // The display number is masked: it names no account.
      number: null,
      numberEnd: numberEndOf(wire.accountNumberDisplay),
      displayName: ACCOUNT_TYPE_NAMES[type],
    },
    problems: [
      ...(types ? [] : (['UNKNOWN_ACCOUNT_TYPE'] as const)),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...problems,
    ],
  }
}

/** Free text in the standard; only what is certain is said. */
const usageOf = (line = ''): BankAccount['usage'] =>
  /^consumer/i.test(line) ? 'PERSONAL' : /business|commercial|corporate/i.test(line) ? 'BUSINESS' : 'UNKNOWN'

/** What an error in the place of one account of a good answer stands for. */
export const errorOf = ({ error }: WireAccount, codes: ReadonlyMap<string, ErrorCode>): GatewayError | undefined =>
  error && new GatewayError(codes.get(error.code) ?? 'ACCOUNT_UNAVAILABLE', { internal: 'an error in its place' })

/**
 * The balances that ride on one account. Amounts of liabilities are positive when owed and are turned; `balanceType`
 * must agree with the category, for where it does not nobody can tell who owes whom.
 */
export function toBalances(wire: WireAccount, report: (problem: Problem) => void): Balances {
  const { accountCategory = '', balanceType } = wire
  const owed = OWED.has(accountCategory)
  const agrees = balanceType === undefined || balanceType === (owed ? 'LIABILITY' : 'ASSET')
  const moneyIn = (written: string) => moneyOf(written, wire.currency?.currencyCode ?? '', parseJsonNumber)
  const limit = moneyIn(wire.creditLine ?? '')
  return settle(
    (BALANCE_FIELDS.get(accountCategory) ?? []).flatMap(([field, type]): Reading<BankBalance>[] => {
      const written = wire[field]
      if (typeof written !== 'string') return []
      const money = moneyIn(written)
      if ('problem' in money) return [{ type, problem: money.problem }]
      const spendable = field === 'availableCredit'
      if (!agrees && !spendable) return [{ type, problem: 'AMBIGUOUS_SIGN' }]
      const value: BankBalance = {
        type,
        amount: owed && !spendable ? negate(money.amount) : money.amount,
        currency: money.currency,
        creditLineIncluded: spendable ? true : null,
        creditLimit: owed && 'amount' in limit ? limit.amount : null,
      }
      return [{ value }]
    }),
    report,
  )
}
