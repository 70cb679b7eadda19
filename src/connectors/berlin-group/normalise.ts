import { ACCOUNT_TYPE_NAMES, type AccountStatus, type BalanceType } from '../../kernel/bank-vocabulary.ts'
import { negate } from '../../kernel/money.ts'
import { accountNumber, iban } from '../account-number.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { ISO_ACCOUNT_TYPES, ISO_BALANCE_TYPES, numberEndOf } from '../iso20022.ts'
import type { Problem } from '../problems.ts'
import { currencyOfAccount, moneyOf, settle, type Reading } from '../reading.ts'
import { wordTable } from '../word-table.ts'
import { cardRef, debitAccountingOf, linkedIdOf } from './quirks.ts'
import { readAccount, readBalance, type BalancesAnswer } from './wire.ts'

/** An absent status means that the account is available (1.3.11, 14.1). */
const STATUSES = wordTable<AccountStatus>({ enabled: 'OPEN', blocked: 'RESTRICTED', deleted: 'CLOSED' })
/**
 * The standard's own names; banks also send ISO codes. `forwardAvailable`, `nonInvoiced` and `authorised` are left out on
 * purpose: they tell of single payments. `information` is not defined.
 */
const BALANCE_TYPES = wordTable<BalanceType | null>({
  interimAvailable: 'INTERIM_AVAILABLE',
  interimBooked: 'INTERIM_BOOKED',
  expected: 'EXPECTED',
  closingBooked: 'CLOSING_BOOKED',
  openingBooked: 'OPENING_BOOKED',
  forwardAvailable: null,
  nonInvoiced: null,
  authorised: null,
  information: null,
  ...Object.fromEntries(ISO_BALANCE_TYPES),
})

/** One account in our words. `XXX` means several currencies, so the account has none of its own. */
export function toAccount(raw: unknown, card: boolean): Reading<BankAccount> {
  const wire = readAccount(raw)
  if (!wire) return { problem: 'NOT_AN_ACCOUNT' }
  const code = card ? 'CARD' : wire.cashAccountType
  const type = ISO_ACCOUNT_TYPES.get(code ?? '')
  const status = wire.status === undefined ? 'OPEN' : STATUSES.get(wire.status)
  const id = linkedIdOf(wire) ?? wire.resourceId
  const { currency, problems } = currencyOfAccount(wire.currency)
  return {
    value: {
      ref: card ? cardRef(id) : id,
      type: type ?? 'OTHER',
      usage: wire.usage === 'PRIV' ? 'PERSONAL' : wire.usage === 'ORGA' ? 'BUSINESS' : 'UNKNOWN',
      status: status ?? 'UNKNOWN',
      currency,
      // A card account that names a number names that of the account behind it.
      number: card ? null : (iban(wire.iban ?? '') ?? accountNumber(wire.bban ?? '')),
      numberEnd: numberEndOf(wire.iban ?? wire.bban ?? wire.maskedPan),
      displayName: ACCOUNT_TYPE_NAMES[type ?? 'OTHER'],
    },
    problems: [
      ...(code !== undefined && !type ? (['UNKNOWN_ACCOUNT_TYPE'] as const) : []),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...problems,
    ],
  }
}

/**
 * The balances of one account. Amounts are signed from the customer's side, except on card accounts whose bank counts
 * debits as positive; where a card account does not say which, its sign is unknown and the balance is left out unless
 * it is zero.
 */
export function toBalances(answer: BalancesAnswer, card: boolean, report: (problem: Problem) => void): Balances {
  const debitAccounting = debitAccountingOf(answer)
  return settle(
    answer.balances.map((raw): Reading<BankBalance> => {
      const wire = readBalance(raw)
      if (!wire) return { problem: 'NOT_A_BALANCE' }
      const type = BALANCE_TYPES.get(wire.balanceType)
      if (type === null) return 'LEFT_OUT'
      if (!type) return { problem: 'UNKNOWN_BALANCE_TYPE' }
      const money = moneyOf(wire.balanceAmount.amount, wire.balanceAmount.currency)
      if ('problem' in money) return { type, problem: money.problem }
      const { currency } = money
      if (card && debitAccounting === undefined && /[1-9]/.test(money.amount))
        return { type, problem: 'AMBIGUOUS_SIGN' }
      const amount = card && debitAccounting ? negate(money.amount) : money.amount
      return {
        value: { type, amount, currency, creditLineIncluded: wire.creditLimitIncluded ?? null, creditLimit: null },
      }
    }),
    report,
  )
}
