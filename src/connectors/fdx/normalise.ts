import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountType,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { negate, parseJsonNumber, toScaledUnits, type Decimal } from '../../kernel/money.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { lastFourDigitsOf } from '../iso20022.ts'
import { parseAccountCurrency, parseMoney, reconcileBalances, type ParseResult, type ReadTools } from '../parsing.ts'
import { createCodeMap, readCode } from '../code-map.ts'
import type { ErrorCodes } from '../error-bodies.ts'
import type { Entry } from '../wire-members.ts'
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
const BALANCE_FIELDS = {
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
} as const satisfies Record<string, readonly (readonly [keyof WireAccount, BalanceType])[]>
type BalanceCategory = keyof typeof BALANCE_FIELDS
const CATEGORIES = createCodeMap<BalanceCategory>({
  DEPOSIT_ACCOUNT: 'DEPOSIT_ACCOUNT',
  DIGITAL_WALLET: 'DIGITAL_WALLET',
  LOC_ACCOUNT: 'LOC_ACCOUNT',
  LOAN_ACCOUNT: 'LOAN_ACCOUNT',
})
/** The categories that state an amount owed as a positive number. */
const LIABILITY_CATEGORIES: ReadonlySet<BalanceCategory> = new Set(['LOC_ACCOUNT', 'LOAN_ACCOUNT'])

/** Maps one account to the domain. An unsupported category becomes OTHER and has no balances. */
export function parseAccount(raw: unknown): ParseResult<BankAccount> {
  const entry = parseWireAccount(raw)
  if (!entry) return { issue: 'INVALID_ACCOUNT' }
  const { wire } = entry
  const category = readCode(ACCOUNT_TYPES, wire.accountCategory ?? '')
  const namedType = category && readCode(category.value.byType, wire.accountType ?? '')
  const type = namedType?.value ?? category?.value.fallback ?? 'OTHER'
  const status = readCode(STATUSES, wire.status ?? '')
  const { currency, issues } = parseAccountCurrency(wire.currency?.currencyCode)
  return {
    value: {
      ref: wire.accountId,
      type,
      usage: usageOf(wire.lineOfBusiness),
      status: status?.value ?? 'UNKNOWN',
      currency,
      // The display number is masked.
      number: null,
      lastFourDigits: lastFourDigitsOf(wire.accountNumberDisplay),
      displayName: ACCOUNT_TYPE_NAMES[type],
    },
    issues: [
      ...entry.issues,
      ...(category?.issues ?? (['UNKNOWN_ACCOUNT_TYPE'] as const)),
      ...(namedType?.issues ?? []),
      ...(status?.issues ?? (wire.status === undefined ? [] : (['UNKNOWN_ACCOUNT_STATUS'] as const))),
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

/**
 * The balances of one account, of which the bank may have sent several entries, or the error of the account if no entry is without
 * one.
 */
export function readBalances(
  entries: readonly Entry<WireAccount>[],
  { codes }: ErrorCodes,
  tools: ReadTools,
): Balances | GatewayError {
  const usable = entries.filter(({ wire }) => !wire.error)
  const error = entries[0]?.wire.error
  if (usable.length === 0 && error)
    return new GatewayError(codes.get(error.code) ?? 'ACCOUNT_UNAVAILABLE', {
      internalMessage: 'the bank returned an error for this account',
    })
  for (const { issues } of usable) issues.forEach(tools.report)
  return reconcileBalances(
    usable.flatMap(({ wire }) => parseBalances(wire)),
    tools,
  )
}

/** Liabilities are stated as positive when owed, so they are negated. */
function parseBalances(wire: WireAccount): ParseResult<BankBalance>[] {
  const category = readCode(CATEGORIES, wire.accountCategory ?? '')
  if (!category) return readCode(ACCOUNT_TYPES, wire.accountCategory ?? '') ? [] : [{ issue: 'UNKNOWN_ACCOUNT_TYPE' }]
  const isLiability = LIABILITY_CATEGORIES.has(category.value)
  const parseAmount = (text: string) => parseMoney(text, wire.currency?.currencyCode ?? '', parseJsonNumber)
  const limit = parseAmount(wire.creditLine ?? '')
  return BALANCE_FIELDS[category.value].flatMap(([field, type]): ParseResult<BankBalance>[] => {
    const text = wire[field]
    if (text === undefined) return []
    const parsed = parseAmount(text)
    if ('issue' in parsed) return [{ type, issue: parsed.issue }]
    const { amount, currency } = parsed.money
    const isAvailableCredit = field === 'availableCredit'
    const signed = isAvailableCredit ? amount : signAmount(amount, isLiability, wire)
    if (signed === undefined) return [{ type, issue: 'AMBIGUOUS_SIGN' }]
    const value: BankBalance = {
      type,
      amount: signed,
      currency,
      creditLineIncluded: isAvailableCredit ? true : null,
      creditLimit: isLiability && 'money' in limit ? limit.money.amount : null,
    }
    return [{ value, issues: [...category.issues, ...parsed.issues] }]
  })
}

const BALANCE_TYPES = createCodeMap<'ASSET' | 'LIABILITY'>({ ASSET: 'ASSET', LIABILITY: 'LIABILITY' })

/**
 * The amount from the customer's side. What is owed on a liability is positive, unless `balanceType` or `debitAccounting` say
 * otherwise, or the amount is exactly the negative of what is drawn of the credit line (`creditLine` less `availableCredit`).
 * Then what is drawn decides if it has this size; otherwise the sign is ambiguous, and the result is undefined.
 */
function signAmount(amount: Decimal, isLiability: boolean, wire: WireAccount): Decimal | undefined {
  if (!/[1-9]/.test(amount)) return amount
  const balanceType = wire.balanceType === undefined ? undefined : readCode(BALANCE_TYPES, wire.balanceType)?.value
  const isTypeAsExpected = wire.balanceType === undefined || balanceType === (isLiability ? 'LIABILITY' : 'ASSET')
  if (!isLiability) return isTypeAsExpected ? amount : undefined
  const drawn = drawnOf(wire)
  const units = toScaledUnits(amount)
  if (drawn !== undefined && drawn !== 0n && (units === drawn || units === -drawn)) return fromUnitsLike(amount, -drawn)
  return isTypeAsExpected && wire.debitAccounting !== false ? negate(amount) : undefined
}

/** What is drawn of a credit line, in scaled units; undefined if the bank does not say. */
function drawnOf({ creditLine, availableCredit }: WireAccount): bigint | undefined {
  const [line, available] = [creditLine, availableCredit].map((text) => parseJsonNumber(text ?? ''))
  return line === undefined || available === undefined ? undefined : toScaledUnits(line) - toScaledUnits(available)
}

/** The amount, or its negative: whichever is negative if `units` is. Keeps the written decimals. */
const fromUnitsLike = (amount: Decimal, units: bigint): Decimal =>
  toScaledUnits(amount) < 0n === units < 0n ? amount : negate(amount)
