import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { negate, parseCurrency, parseDecimal } from '../../kernel/money.ts'
import type { BankAccount, BankBalance } from '../connector.ts'
import { OLDER_NAMES } from './quirks.ts'
import { readBalance, type BalancesAnswer, type WireAccount } from './wire.ts'

const ACCOUNT_TYPES: Readonly<Record<string, AccountType>> = {
  CACC: 'CURRENT',
  TRAN: 'CURRENT',
  SVGS: 'SAVINGS',
  LLSV: 'SAVINGS',
  MOMA: 'SAVINGS',
  ONDP: 'SAVINGS',
  CARD: 'CARD',
  WALT: 'PREPAID_OR_WALLET',
  LOAN: 'LOAN',
  ODFT: 'LOAN',
  MGLD: 'LOAN',
  MORT: 'MORTGAGE',
}
const STATUSES: Readonly<Record<string, AccountStatus>> = {
  Enabled: 'OPEN',
  Disabled: 'RESTRICTED',
  Deleted: 'CLOSED',
  Pending: 'PENDING',
  ProForma: 'PENDING',
}
/** FWAV and INFO are left out on purpose: the one tells of payments to come, the other of nothing defined. */
const BALANCE_TYPES: Readonly<Record<string, BalanceType>> = {
  ITAV: 'INTERIM_AVAILABLE',
  ITBD: 'INTERIM_BOOKED',
  XPCD: 'EXPECTED',
  CLBD: 'CLOSING_BOOKED',
  CLAV: 'CLOSING_AVAILABLE',
  OPBD: 'OPENING_BOOKED',
  OPAV: 'OPENING_AVAILABLE',
  PRCD: 'PREVIOUSLY_CLOSED_BOOKED',
}

/** One account in our words; what the bank does not say, or says in words unknown to us, is UNKNOWN or OTHER. */
export function toAccount(wire: WireAccount): BankAccount {
  const type = ACCOUNT_TYPES[current(wire.AccountTypeCode ?? wire.AccountSubType ?? '')] ?? 'OTHER'
  const category = wire.AccountCategory ?? wire.AccountType
  const number =
    wire.Account?.find(({ SchemeName }) => !(SchemeName ?? '').endsWith('PAN'))?.Identification ??
    wire.Account?.[0]?.Identification
  return {
    ref: wire.AccountId,
    type,
    usage: category === 'Personal' ? 'PERSONAL' : category === 'Business' ? 'BUSINESS' : 'UNKNOWN',
    status: STATUSES[wire.Status ?? ''] ?? 'UNKNOWN',
    currency: parseCurrency(wire.Currency ?? '') ?? null,
    numberEnd: number && /[A-Za-z0-9]{4}$/.test(number) ? number.slice(-4) : null,
    displayName: ACCOUNT_TYPE_NAMES[type],
  }
}

/**
 * The balances of one account that can be trusted. Amounts are unsigned and CreditDebitIndicator carries the sign; a
 * signed amount beside it contradicts itself and is left out, as is one of another account or of an unknown kind.
 */
export function toBalances(accountRef: string, answer: BalancesAnswer): BankBalance[] {
  return answer.Data.Balance.flatMap((raw) => {
    const wire = readBalance(raw)
    const type = BALANCE_TYPES[current(wire?.Type ?? '')]
    const amount = /^\d{1,13}(\.\d{1,5})?$/.test(wire?.Amount.Amount ?? '')
      ? parseDecimal(wire!.Amount.Amount)
      : undefined
    const currency = parseCurrency(wire?.Amount.Currency ?? '')
    if (wire?.AccountId !== accountRef || !type || amount === undefined || !currency) return []
    if (wire.CreditDebitIndicator !== 'Credit' && wire.CreditDebitIndicator !== 'Debit') return []
    const creditLineIncluded = wire.CreditLine?.length ? wire.CreditLine.some(({ Included }) => Included) : null
    return [
      { type, amount: wire.CreditDebitIndicator === 'Debit' ? negate(amount) : amount, currency, creditLineIncluded },
    ]
  })
}

const current = (name: string): string => OLDER_NAMES[name] ?? name
