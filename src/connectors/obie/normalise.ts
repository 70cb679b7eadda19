import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountUsage,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { negate, type CurrencyCode, type Decimal } from '../../kernel/money.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { parseAccountNumber, parseIban } from '../account-number.ts'
import { readAccountType, ISO_BALANCE_TYPES, lastFourDigitsOf } from '../iso20022.ts'
import { parseAccountCurrency, parseMoney, reconcileBalances, type ParseResult, type ReadTools } from '../parsing.ts'
import { createCodeMap, readCode, type ReadCode } from '../code-map.ts'
import { CLEARED_TYPES, LEGACY_NAMES } from './quirks.ts'
import type { Entry } from '../wire-members.ts'
import { parseWireAccount, parseWireBalance, type WireAccount, type WireBalance } from './wire.ts'

const STATUSES = createCodeMap<AccountStatus>({
  Enabled: 'OPEN',
  Disabled: 'RESTRICTED',
  Deleted: 'CLOSED',
  Pending: 'PENDING',
  ProForma: 'PENDING',
})
const SIGNS = createCodeMap<'CREDIT' | 'DEBIT'>({ Credit: 'CREDIT', Debit: 'DEBIT', CRDT: 'CREDIT', DBIT: 'DEBIT' })
/** Unsigned: `CreditDebitIndicator` has the sign. */
const AMOUNT = /^\d{1,13}(\.\d{1,5})?$/

const USAGES = createCodeMap<AccountUsage>({ Personal: 'PERSONAL', Business: 'BUSINESS' })

/** Maps one account to the domain. Unknown codes become UNKNOWN or OTHER, with an issue. */
export function parseAccount(raw: unknown): ParseResult<BankAccount> {
  const entry = parseWireAccount(raw)
  if (!entry) return { issue: 'INVALID_ACCOUNT' }
  const { wire } = entry
  const accountTypeCode = wire.AccountTypeCode ?? wire.AccountSubType
  const type = readAccountType(accountTypeCode ?? '')
  const usage = readCode(USAGES, wire.AccountCategory ?? wire.AccountType ?? '')
  const identifications = identificationsOf(wire)
  const number =
    identifications.find(({ SchemeName }) => !(SchemeName ?? '').endsWith('PAN'))?.Identification ??
    identifications[0]?.Identification
  const status = readCode(STATUSES, wire.Status ?? '')
  const { currency, issues } = parseAccountCurrency(wire.Currency)
  return {
    value: {
      ref: wire.AccountId,
      type: type?.value ?? 'OTHER',
      usage: usage?.value ?? 'UNKNOWN',
      status: status?.value ?? 'UNKNOWN',
      currency,
      number: findAccountNumber(identifications),
      lastFourDigits: lastFourDigitsOf(number),
      displayName: ACCOUNT_TYPE_NAMES[type?.value ?? 'OTHER'],
    },
    issues: [
      ...entry.issues,
      ...(type?.issues ?? (accountTypeCode === undefined ? [] : (['UNKNOWN_ACCOUNT_TYPE'] as const))),
      ...(status?.issues ?? (wire.Status === undefined ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const))),
      ...(usage?.issues ?? []),
      ...issues,
    ],
  }
}

/** An identification of an account, such as its IBAN. */
type Identification = NonNullable<NonNullable<WireAccount['Account']>[number]>

const identificationsOf = ({ Account = [] }: WireAccount): Identification[] =>
  Account.filter((identification) => identification !== undefined)

/** By scheme, the most reliable first. */
const NUMBER_PARSERS: Readonly<Record<string, (identification: string) => string | null>> = {
  IBAN: parseIban,
  SortCodeAccountNumber: (text) => (/^[0-9]{14}$/.test(text) ? parseAccountNumber(text) : null),
  BBAN: parseAccountNumber,
}

function findAccountNumber(identifications: readonly Identification[]): string | null {
  for (const [scheme, parse] of Object.entries(NUMBER_PARSERS))
    for (const { SchemeName = '', Identification, SecondaryIdentification } of identifications) {
      if (SchemeName.split('.').at(-1) !== scheme) continue
      const number = parse(Identification.replaceAll(/[\s-]/g, ''))
      // Customers of a building society can share an account number and differ in the secondary identification.
      if (number !== null) return SecondaryIdentification ? `${number}/${SecondaryIdentification.trim()}` : number
    }
  return null
}

/** Maps a list of balances, keyed by account ref. Reports and skips malformed entries. */
export function parseBalances(list: readonly unknown[], tools: ReadTools): Map<string, Balances> {
  const entries = list.flatMap((raw) => {
    const entry = parseWireBalance(raw)
    if (!entry) tools.report('INVALID_BALANCE')
    return entry ?? []
  })
  const byAccount = Map.groupBy(entries, ({ wire }) => wire.AccountId)
  return new Map(
    [...byAccount].map(([ref, balances]) => [ref, reconcileBalances(parseAccountBalances(balances), tools)]),
  )
}

/** A cleared balance is used only if the bank does not return the booked one. */
function parseAccountBalances(balances: readonly Entry<WireBalance>[]): ParseResult<BankBalance>[] {
  const reportedTypes = new Set(
    balances.flatMap(({ wire: { Type } }) => (readCode(CLEARED_TYPES, Type) ? [] : [readBalanceType(Type)?.value])),
  )
  return balances.map((entry) =>
    readCode(CLEARED_TYPES, entry.wire.Type) && reportedTypes.has(readBalanceType(entry.wire.Type)?.value)
      ? 'SKIPPED'
      : parseBalance(entry),
  )
}

/** Amounts are unsigned and `CreditDebitIndicator` has the sign, so a signed amount is ambiguous. */
function parseBalance({ wire, issues }: Entry<WireBalance>): ParseResult<BankBalance> {
  const { Type, CreditDebitIndicator, DateTime, Amount, CreditLine } = wire
  const balanceType = readBalanceType(Type)
  if (!balanceType) return { issue: 'UNKNOWN_BALANCE_TYPE' }
  const { value: type } = balanceType
  if (type === null) return 'SKIPPED'
  const parsed = parseMoney(Amount.Amount, Amount.Currency)
  if ('issue' in parsed) return { type, issue: parsed.issue }
  const { amount, currency } = parsed.money
  if (!AMOUNT.test(Amount.Amount)) return { type, issue: 'AMBIGUOUS_SIGN' }
  const sign = readCode(SIGNS, CreditDebitIndicator)
  if (!sign) return { type, issue: 'AMBIGUOUS_SIGN' }
  return {
    value: {
      type,
      amount: sign.value === 'DEBIT' ? negate(amount) : amount,
      currency,
      creditLineIncluded: CreditLine?.length ? CreditLine.some(({ Included }) => Included) : null,
      creditLimit: creditLimitOf(CreditLine, currency),
    },
    issues: [...issues, ...balanceType.issues, ...parsed.issues, ...sign.issues],
    statedFor: { instant: DateTime },
  }
}

/** The credit line if there is exactly one: the standard does not define how several lines overlap. */
function creditLimitOf(lines: WireBalance['CreditLine'], currency: CurrencyCode): Decimal | null {
  const [line, second] = lines ?? []
  if (!line?.Amount || second || !AMOUNT.test(line.Amount.Amount)) return null
  const parsed = parseMoney(line.Amount.Amount, line.Amount.Currency)
  return 'issue' in parsed || parsed.money.currency !== currency ? null : parsed.money.amount
}

/** Reads a balance type of 4.0 or 3.1.11; `null` for a type that is skipped. */
function readBalanceType(name: string): ReadCode<BalanceType | null> | undefined {
  const current = readCode(LEGACY_NAMES, name)
  const type = readCode(ISO_BALANCE_TYPES, current?.value ?? name)
  return type && { value: type.value, issues: [...(current?.issues ?? []), ...type.issues] }
}
