import { ACCOUNT_TYPE_NAMES, type AccountStatus } from '../../kernel/bank-vocabulary.ts'
import { negate, type CurrencyCode, type Decimal } from '../../kernel/money.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { parseAccountNumber, parseIban } from '../account-number.ts'
import { ISO_ACCOUNT_TYPES, ISO_BALANCE_TYPES, lastFourDigitsOf } from '../iso20022.ts'
import type { ResponseIssue } from '../response-issues.ts'
import { parseAccountCurrency, parseMoney, reconcileBalances, type ParseResult } from '../parsing.ts'
import { createCodeMap } from '../code-map.ts'
import { CLEARED_TYPES, LEGACY_NAMES } from './quirks.ts'
import { parseWireAccount, parseWireBalance, type WireAccount, type WireBalance } from './wire.ts'

const STATUSES = createCodeMap<AccountStatus>({
  Enabled: 'OPEN',
  Disabled: 'RESTRICTED',
  Deleted: 'CLOSED',
  Pending: 'PENDING',
  ProForma: 'PENDING',
})
/** Unsigned: the sign is the indicator's. */
const AMOUNT = /^\d{1,13}(\.\d{1,5})?$/

/** One account in our words; what the bank says in words unknown to us is UNKNOWN or OTHER, with a problem. */
export function parseAccount(raw: unknown): ParseResult<BankAccount> {
  const wire = parseWireAccount(raw)
  if (!wire) return { issue: 'INVALID_ACCOUNT' }
  const accountTypeCode = wire.AccountTypeCode ?? wire.AccountSubType
  const type = ISO_ACCOUNT_TYPES.get(toCurrentName(accountTypeCode ?? ''))
  const category = wire.AccountCategory ?? wire.AccountType
  const number =
    wire.Account?.find(({ SchemeName }) => !(SchemeName ?? '').endsWith('PAN'))?.Identification ??
    wire.Account?.[0]?.Identification
  const status = wire.Status === undefined ? 'UNKNOWN' : STATUSES.get(wire.Status)
  const { currency, issues } = parseAccountCurrency(wire.Currency)
  return {
    value: {
      ref: wire.AccountId,
      type: type ?? 'OTHER',
      usage: category === 'Personal' ? 'PERSONAL' : category === 'Business' ? 'BUSINESS' : 'UNKNOWN',
      status: status ?? 'UNKNOWN',
      currency,
      number: findAccountNumber(wire),
      lastFourDigits: lastFourDigitsOf(number),
      displayName: ACCOUNT_TYPE_NAMES[type ?? 'OTHER'],
    },
    issues: [
      ...(accountTypeCode !== undefined && !type ? (['UNKNOWN_ACCOUNT_TYPE'] as const) : []),
      ...(status ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...issues,
    ],
  }
}

/** By scheme, the surest first. A building society's customers share an account and differ by the secondary identification. */
const NUMBER_PARSERS: Readonly<Record<string, (identification: string) => string | null>> = {
  IBAN: parseIban,
  SortCodeAccountNumber: (text) => (/^[0-9]{14}$/.test(text) ? parseAccountNumber(text) : null),
  BBAN: parseAccountNumber,
}

function findAccountNumber({ Account = [] }: WireAccount): string | null {
  for (const [scheme, parse] of Object.entries(NUMBER_PARSERS))
    for (const { SchemeName = '', Identification, SecondaryIdentification } of Account) {
      if (SchemeName.split('.').at(-1) !== scheme) continue
      const number = parse(Identification.replaceAll(/[\s-]/g, ''))
      if (number !== null) return SecondaryIdentification ? `${number}/${SecondaryIdentification.trim()}` : number
    }
  return null
}

/** The balances of a list, by the account that each names; each is read once, and one that cannot be read costs itself. */
export function parseBalances(
  list: readonly unknown[],
  report: (problem: ResponseIssue) => void,
): Map<string, Balances> {
  const byAccount = new Map<string, WireBalance[]>()
  for (const raw of list) {
    const wire = parseWireBalance(raw)
    if (!wire) report('INVALID_BALANCE')
    else byAccount.set(wire.AccountId, [...(byAccount.get(wire.AccountId) ?? []), wire])
  }
  return new Map(
    [...byAccount].map(([ref, balances]) => [ref, reconcileBalances(parseAccountBalances(balances), report)]),
  )
}

/** A cleared balance stands in for a booked one that the bank does not give. */
function parseAccountBalances(balances: readonly WireBalance[]): ParseResult<BankBalance>[] {
  const reportedTypes = new Set(balances.flatMap(({ Type }) => (CLEARED_TYPES.has(Type) ? [] : [toCurrentName(Type)])))
  return balances.map((wire) =>
    CLEARED_TYPES.has(wire.Type) && reportedTypes.has(toCurrentName(wire.Type)) ? 'SKIPPED' : parseBalance(wire),
  )
}

/** Amounts are unsigned and CreditDebitIndicator carries the sign; a signed amount beside it contradicts itself. */
function parseBalance({ Type, CreditDebitIndicator, Amount, CreditLine }: WireBalance): ParseResult<BankBalance> {
  const type = ISO_BALANCE_TYPES.get(toCurrentName(Type))
  if (type === null) return 'SKIPPED'
  if (!type) return { issue: 'UNKNOWN_BALANCE_TYPE' }
  const money = parseMoney(Amount.Amount, Amount.Currency)
  if ('issue' in money) return { type, issue: money.issue }
  const { amount, currency } = money
  if (!AMOUNT.test(Amount.Amount)) return { type, issue: 'AMBIGUOUS_SIGN' }
  if (CreditDebitIndicator !== 'Credit' && CreditDebitIndicator !== 'Debit') return { type, issue: 'AMBIGUOUS_SIGN' }
  return {
    value: {
      type,
      amount: CreditDebitIndicator === 'Debit' ? negate(amount) : amount,
      currency,
      creditLineIncluded: CreditLine?.length ? CreditLine.some(({ Included }) => Included) : null,
      creditLimit: creditLimitOf(CreditLine, currency),
    },
  }
}

/** The credit line, where there is exactly one: several lines overlap in ways that the standard does not say. */
function creditLimitOf(lines: WireBalance['CreditLine'], currency: CurrencyCode): Decimal | null {
  const [line, second] = lines ?? []
  if (!line?.Amount || second || line.Amount.Currency !== currency || !AMOUNT.test(line.Amount.Amount)) return null
  const money = parseMoney(line.Amount.Amount, currency)
  return 'issue' in money ? null : money.amount
}

const toCurrentName = (name: string): string => LEGACY_NAMES.get(name) ?? name
