import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { numberEndOf } from '../iso20022.ts'
import type { Problem } from '../problems.ts'
import { moneyOf, settle, type Reading } from '../reading.ts'
import { wordTable } from '../word-table.ts'
import { DEFAULT_CURRENCY } from './quirks.ts'
import { readAccount, readBalance, type WireBalance } from './wire.ts'

/** The product categories of 1.36. "Buy now, pay later" is a loan: its name alone would tell of purchases. */
const ACCOUNT_TYPES = wordTable<AccountType>({
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
const STATUSES = wordTable<AccountStatus>({ OPEN: 'OPEN', CLOSED: 'CLOSED' })

/** One account in our words. An absent status means OPEN, and the currency is the standard's default. */
export function toAccount(raw: unknown): Reading<BankAccount> {
  const wire = readAccount(raw)
  if (!wire) return { problem: 'NOT_AN_ACCOUNT' }
  const type = ACCOUNT_TYPES.get(wire.productCategory ?? '')
  const status = STATUSES.get(wire.openStatus ?? 'OPEN')
  return {
    value: {
      ref: wire.accountId,
      type: type ?? 'OTHER',
      usage: 'UNKNOWN',
      status: status ?? 'UNKNOWN',
      currency: DEFAULT_CURRENCY,
      // The masked number names no account; the whole one is beyond the permissions that are asked for.
      number: null,
      numberEnd: numberEndOf(wire.maskedNumber),
      displayName: ACCOUNT_TYPE_NAMES[type ?? 'OTHER'],
    },
    problems: [
      ...(type ? [] : (['UNKNOWN_ACCOUNT_TYPE'] as const)),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
    ],
  }
}

/** The balances of a list, by account; one that cannot be read costs itself. */
export function toBalances(list: readonly unknown[], report: (problem: Problem) => void): Map<string, Balances> {
  const told = new Map<string, Balances>()
  for (const raw of list) {
    const wire = readBalance(raw)
    if (!wire) report('NOT_A_BALANCE')
    else told.set(wire.accountId, settle(readingsOf(wire), report))
  }
  return told
}

/**
 * Signed from the customer's side already. What is available counts the credit limit where there is one; each purse is
 * money of its own in its own currency, never added to anything.
 */
function readingsOf(wire: WireBalance): Reading<BankBalance>[] {
  const limit = moneyOf(wire.creditLimit ?? '', wire.currency ?? DEFAULT_CURRENCY)
  const creditLimit = 'amount' in limit && /[1-9]/.test(limit.amount) ? limit.amount : null
  const reading = (
    type: BalanceType,
    written: string | undefined,
    code: string | undefined,
    credit: Pick<BankBalance, 'creditLineIncluded' | 'creditLimit'>,
  ): Reading<BankBalance>[] => {
    if (written === undefined) return []
    const money = moneyOf(written, code ?? DEFAULT_CURRENCY)
    return ['problem' in money ? { type, problem: money.problem } : { value: { type, ...money, ...credit } }]
  }
  const none = { creditLineIncluded: null, creditLimit: null }
  const { currency } = wire
  return [
    ...reading('INTERIM_BOOKED', wire.currentBalance, currency, { creditLineIncluded: null, creditLimit }),
    ...reading('INTERIM_AVAILABLE', wire.availableBalance, currency, {
      creditLineIncluded: creditLimit === null ? null : true,
      creditLimit,
    }),
    ...(wire.purses ?? [])
      // A purse in the account's own currency is part of what is available already, and would contradict it.
      .filter((purse) => (purse.currency ?? DEFAULT_CURRENCY) !== (currency ?? DEFAULT_CURRENCY))
      .flatMap((purse) => reading('INTERIM_AVAILABLE', purse.amount, purse.currency, none)),
  ]
}
