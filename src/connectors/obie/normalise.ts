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
/** Unsigned: `CreditDebitIndicator` has the sign. */
const AMOUNT = /^\d{1,13}(\.\d{1,5})?$/

/** Maps one account to the domain. Unknown codes become UNKNOWN or OTHER, with an issue. */
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

/** By scheme, the most reliable first. */
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
      // Customers of a building society can share an account number and differ in the secondary identification.
      if (number !== null) return SecondaryIdentification ? `${number}/${SecondaryIdentification.trim()}` : number
    }
  return null
}

/** Maps a list of balances, keyed by account ref. Reports and skips malformed entries. */
export function parseBalances(list: readonly unknown[], report: (issue: ResponseIssue) => void): Map<string, Balances> {
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

/** A cleared balance is used only if the bank does not return the booked one. */
function parseAccountBalances(balances: readonly WireBalance[]): ParseResult<BankBalance>[] {
  const reportedTypes = new Set(balances.flatMap(({ Type }) => (CLEARED_TYPES.has(Type) ? [] : [toCurrentName(Type)])))
  return balances.map((wire) =>
    CLEARED_TYPES.has(wire.Type) && reportedTypes.has(toCurrentName(wire.Type)) ? 'SKIPPED' : parseBalance(wire),
  )
}

/** Amounts are unsigned and `CreditDebitIndicator` has the sign, so a signed amount is ambiguous. */
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

/** The credit line if there is exactly one: the standard does not define how several lines overlap. */
function creditLimitOf(lines: WireBalance['CreditLine'], currency: CurrencyCode): Decimal | null {
  const [line, second] = lines ?? []
  if (!line?.Amount || second || line.Amount.Currency !== currency || !AMOUNT.test(line.Amount.Amount)) return null
  const money = parseMoney(line.Amount.Amount, currency)
  return 'issue' in money ? null : money.amount
}

const toCurrentName = (name: string): string => LEGACY_NAMES.get(name) ?? name
