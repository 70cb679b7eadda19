import { ACCOUNT_TYPE_NAMES, type AccountStatus } from '../../kernel/bank-vocabulary.ts'
import { negate, type Currency, type Decimal } from '../../kernel/money.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { accountNumber, iban } from '../account-number.ts'
import { ISO_ACCOUNT_TYPES, ISO_BALANCE_TYPES, numberEndOf } from '../iso20022.ts'
import type { Problem } from '../problems.ts'
import { currencyOfAccount, moneyOf, settle, type Reading } from '../reading.ts'
import { wordTable } from '../word-table.ts'
import { CLEARED, OLDER_NAMES } from './quirks.ts'
import { readAccount, readBalance, type WireAccount, type WireBalance } from './wire.ts'

const STATUSES = wordTable<AccountStatus>({
  Enabled: 'OPEN',
  Disabled: 'RESTRICTED',
  Deleted: 'CLOSED',
  Pending: 'PENDING',
  ProForma: 'PENDING',
})
/** Unsigned: the sign is the indicator's. */
const AMOUNT = /^\d{1,13}(\.\d{1,5})?$/

/** One account in our words; what the bank says in words unknown to us is UNKNOWN or OTHER, with a problem. */
export function toAccount(raw: unknown): Reading<BankAccount> {
  const wire = readAccount(raw)
  if (!wire) return { problem: 'NOT_AN_ACCOUNT' }
  const code = wire.AccountTypeCode ?? wire.AccountSubType
  const type = ISO_ACCOUNT_TYPES.get(current(code ?? ''))
  const category = wire.AccountCategory ?? wire.AccountType
  const number =
    wire.Account?.find(({ SchemeName }) => !(SchemeName ?? '').endsWith('PAN'))?.Identification ??
    wire.Account?.[0]?.Identification
  const status = wire.Status === undefined ? 'UNKNOWN' : STATUSES.get(wire.Status)
  const { currency, problems } = currencyOfAccount(wire.Currency)
  return {
    value: {
      ref: wire.AccountId,
      type: type ?? 'OTHER',
      usage: category === 'Personal' ? 'PERSONAL' : category === 'Business' ? 'BUSINESS' : 'UNKNOWN',
      status: status ?? 'UNKNOWN',
      currency,
      number: numberOf(wire),
      numberEnd: numberEndOf(number),
      displayName: ACCOUNT_TYPE_NAMES[type ?? 'OTHER'],
    },
    problems: [
      ...(code !== undefined && !type ? (['UNKNOWN_ACCOUNT_TYPE'] as const) : []),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...problems,
    ],
  }
}

/** By scheme, the surest first. A building society's customers share an account and differ by the secondary identification. */
const NUMBERS: Readonly<Record<string, (identification: string) => string | null>> = {
  IBAN: iban,
  SortCodeAccountNumber: (text) => (/^[0-9]{14}$/.test(text) ? accountNumber(text) : null),
  BBAN: accountNumber,
}

function numberOf({ Account = [] }: WireAccount): string | null {
  for (const [scheme, read] of Object.entries(NUMBERS))
    for (const { SchemeName = '', Identification, SecondaryIdentification } of Account) {
      if (SchemeName.split('.').at(-1) !== scheme) continue
      const number = read(Identification.replaceAll(/[\s-]/g, ''))
      if (number !== null) return SecondaryIdentification ? `${number}/${SecondaryIdentification.trim()}` : number
    }
  return null
}

/** The balances of a list, by the account that each names; each is read once, and one that cannot be read costs itself. */
export function toBalances(list: readonly unknown[], report: (problem: Problem) => void): Map<string, Balances> {
  const byAccount = new Map<string, WireBalance[]>()
  for (const raw of list) {
    const wire = readBalance(raw)
    if (!wire) report('NOT_A_BALANCE')
    else byAccount.set(wire.AccountId, [...(byAccount.get(wire.AccountId) ?? []), wire])
  }
  return new Map([...byAccount].map(([ref, wires]) => [ref, settle(readingsOf(wires), report)]))
}

/** A cleared balance stands in for a booked one that the bank does not give. */
function readingsOf(wires: readonly WireBalance[]): Reading<BankBalance>[] {
  const given = new Set(wires.flatMap(({ Type }) => (CLEARED.has(Type) ? [] : [current(Type)])))
  return wires.map((wire) => (CLEARED.has(wire.Type) && given.has(current(wire.Type)) ? 'LEFT_OUT' : toBalance(wire)))
}

/** Amounts are unsigned and CreditDebitIndicator carries the sign; a signed amount beside it contradicts itself. */
function toBalance({ Type, CreditDebitIndicator, Amount, CreditLine }: WireBalance): Reading<BankBalance> {
  const type = ISO_BALANCE_TYPES.get(current(Type))
  if (type === null) return 'LEFT_OUT'
  if (!type) return { problem: 'UNKNOWN_BALANCE_TYPE' }
  const money = moneyOf(Amount.Amount, Amount.Currency)
  if ('problem' in money) return { type, problem: money.problem }
  const { amount, currency } = money
  if (!AMOUNT.test(Amount.Amount)) return { type, problem: 'AMBIGUOUS_SIGN' }
  if (CreditDebitIndicator !== 'Credit' && CreditDebitIndicator !== 'Debit') return { type, problem: 'AMBIGUOUS_SIGN' }
  return {
    value: {
      type,
      amount: CreditDebitIndicator === 'Debit' ? negate(amount) : amount,
      currency,
      creditLineIncluded: CreditLine?.length ? CreditLine.some(({ Included }) => Included) : null,
      creditLimit: limitOf(CreditLine, currency),
    },
  }
}

/** The credit line, where there is exactly one: several lines overlap in ways that the standard does not say. */
function limitOf(lines: WireBalance['CreditLine'], currency: Currency): Decimal | null {
  const [line, second] = lines ?? []
  if (!line?.Amount || second || line.Amount.Currency !== currency || !AMOUNT.test(line.Amount.Amount)) return null
  const money = moneyOf(line.Amount.Amount, currency)
  return 'problem' in money ? null : money.amount
}

const current = (name: string): string => OLDER_NAMES.get(name) ?? name
