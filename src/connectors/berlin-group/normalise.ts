import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { negate, parseCurrency, parseDecimal } from '../../kernel/money.ts'
import type { BankAccount, BankBalance } from '../connector.ts'
import { readBalance, type BalancesAnswer, type WireAccount } from './wire.ts'

const ACCOUNT_TYPES: Readonly<Record<string, AccountType>> = {
  CACC: 'CURRENT',
  TRAN: 'CURRENT',
  SVGS: 'SAVINGS',
  LLSV: 'SAVINGS',
  CARD: 'CARD',
  LOAN: 'LOAN',
}
/** An absent status means that the account is available (1.3.11, 14.1). */
const STATUSES: Readonly<Record<string, AccountStatus>> = { enabled: 'OPEN', blocked: 'RESTRICTED', deleted: 'CLOSED' }
/** forwardAvailable and nonInvoiced are left out on purpose: both tell of single payments. */
const BALANCE_TYPES: Readonly<Record<string, BalanceType>> = {
  interimAvailable: 'INTERIM_AVAILABLE',
  interimBooked: 'INTERIM_BOOKED',
  expected: 'EXPECTED',
  closingBooked: 'CLOSING_BOOKED',
  openingBooked: 'OPENING_BOOKED',
  CLBD: 'CLOSING_BOOKED',
}

/** One account in our words. `XXX` means several currencies, so the account has none of its own. */
export function toAccount(wire: WireAccount, ref: string): BankAccount {
  const type = ACCOUNT_TYPES[wire.cashAccountType ?? ''] ?? 'OTHER'
  const number = wire.iban ?? wire.bban ?? wire.maskedPan
  return {
    ref,
    type,
    usage: wire.usage === 'PRIV' ? 'PERSONAL' : wire.usage === 'ORGA' ? 'BUSINESS' : 'UNKNOWN',
    status: wire.status === undefined ? 'OPEN' : (STATUSES[wire.status] ?? 'UNKNOWN'),
    currency: parseCurrency(wire.currency ?? '') ?? null,
    numberEnd: number && /[A-Za-z0-9]{4}$/.test(number) ? number.slice(-4) : null,
    displayName: ACCOUNT_TYPE_NAMES[type],
  }
}

/**
 * The balances of one account that can be trusted. Amounts are signed from the customer's side, except on card
 * accounts whose bank counts debits as positive; where a card account does not say which, its sign is unknown and the
 * balance is left out unless it is zero.
 */
export function toBalances(answer: BalancesAnswer, card: boolean): BankBalance[] {
  return answer.balances.flatMap((raw) => {
    const wire = readBalance(raw)
    const type = BALANCE_TYPES[wire?.balanceType ?? '']
    const currency = parseCurrency(wire?.balanceAmount.currency ?? '')
    const signed = parseDecimal(wire?.balanceAmount.amount ?? '')
    if (!wire || !type || !currency || signed === undefined) return []
    if (card && answer.debitAccounting === undefined && /[1-9]/.test(signed)) return []
    const amount = card && answer.debitAccounting ? negate(signed) : signed
    return [{ type, amount, currency, creditLineIncluded: wire.creditLimitIncluded ?? null }]
  })
}
