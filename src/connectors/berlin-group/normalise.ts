import {
  ACCOUNT_TYPE_NAMES,
  type AccountStatus,
  type AccountUsage,
  type BalanceType,
} from '../../kernel/bank-vocabulary.ts'
import { negate } from '../../kernel/money.ts'
import { parseAccountNumber, parseIban } from '../account-number.ts'
import type { Balances, BankAccount, BankBalance } from '../connector.ts'
import { readAccountType, ISO_BALANCE_TYPES, lastFourDigitsOf } from '../iso20022.ts'
import { parseAccountCurrency, parseMoney, reconcileBalances, type ParseResult, type ReadTools } from '../parsing.ts'
import { createCodeMap, readCode, type ReadCode } from '../code-map.ts'
import type { Entry } from '../wire-members.ts'
import { cardRef, cashRef, findDebitAccounting, findLinkedId, findSharedLinks, listedRef } from './quirks.ts'
import { parseWireAccount, parseWireBalance, type BalancesResponse, type WireAccount } from './wire.ts'

const STATUSES = createCodeMap<AccountStatus>({ enabled: 'OPEN', blocked: 'RESTRICTED', deleted: 'CLOSED' })
/** An absent status means that the account is available (1.3.11, 14.1). */
const AVAILABLE: ReadCode<AccountStatus> = { value: 'OPEN', issues: [] }
const USAGES = createCodeMap<AccountUsage>({ PRIV: 'PERSONAL', ORGA: 'BUSINESS' })
/**
 * The standard's own names, and two that banks form like them; banks also send ISO codes. `null` marks a type that is skipped: `forwardAvailable`,
 * `nonInvoiced` and `authorised` can reveal single payments, and `information` has no definition.
 */
const BALANCE_TYPES = createCodeMap<BalanceType | null>({
  interimAvailable: 'INTERIM_AVAILABLE',
  interimBooked: 'INTERIM_BOOKED',
  expected: 'EXPECTED',
  closingBooked: 'CLOSING_BOOKED',
  closingAvailable: 'CLOSING_AVAILABLE',
  openingBooked: 'OPENING_BOOKED',
  openingAvailable: 'OPENING_AVAILABLE',
  forwardAvailable: null,
  nonInvoiced: null,
  authorised: null,
  information: null,
  ...Object.fromEntries(ISO_BALANCE_TYPES),
})

/** How a list of accounts is read. */
export interface AccountListRules {
  readonly isCard: boolean
  /** Whether an account can do without an id, because its balances are in the list. */
  readonly needsNoId: boolean
}

/** Maps a list of accounts to the domain. The currency `XXX` means several currencies and becomes `null`. */
export function parseAccounts(list: readonly unknown[], rules: AccountListRules): ParseResult<BankAccount>[] {
  const entries = list.map(parseWireAccount)
  const sharedLinks = sharedLinksOf(entries)
  return entries.map((entry) => (entry ? parseAccount(entry, sharedLinks, rules) : { issue: 'INVALID_ACCOUNT' }))
}

/** Maps the balances in a list of accounts (`withBalance`), by the ref of their account. */
export function parseListedBalances(
  list: readonly unknown[],
  rules: AccountListRules,
  tools: ReadTools,
): ReadonlyMap<string, Balances> {
  const entries = list.map(parseWireAccount)
  const sharedLinks = sharedLinksOf(entries)
  const listed = entries.flatMap((entry) => {
    const ref = entry && refOf(entry.wire, sharedLinks, rules)
    return ref !== undefined && entry?.wire.balances ? [{ ref, balances: entry.wire.balances }] : []
  })
  const byRef = Map.groupBy(listed, ({ ref }) => ref)
  return new Map(
    [...byRef].map(([ref, lists]) => [
      ref,
      parseBalances({ balances: lists.flatMap(({ balances }) => balances) }, rules.isCard, tools),
    ]),
  )
}

const sharedLinksOf = (entries: readonly (Entry<WireAccount> | undefined)[]): ReadonlySet<string> =>
  findSharedLinks(entries.flatMap((entry) => (entry ? [entry.wire] : [])))

/** The ref of an account. Undefined if nothing identifies it. */
function refOf(
  wire: WireAccount,
  sharedLinks: ReadonlySet<string>,
  { isCard, needsNoId }: AccountListRules,
): string | undefined {
  const linkedId = findLinkedId(wire)
  const isLinkWrong = linkedId !== undefined && sharedLinks.has(linkedId)
  const id = isLinkWrong ? wire.resourceId : (linkedId ?? wire.resourceId)
  if (id === undefined) return needsNoId ? listedRef(wire) : undefined
  return isCard ? cardRef(id) : cashRef(id)
}

function parseAccount(
  { wire, issues }: Entry<WireAccount>,
  sharedLinks: ReadonlySet<string>,
  rules: AccountListRules,
): ParseResult<BankAccount> {
  const { isCard } = rules
  const accountTypeCode = isCard ? 'CARD' : wire.cashAccountType
  const type = readAccountType(accountTypeCode ?? '')
  const status = wire.status === undefined ? AVAILABLE : readCode(STATUSES, wire.status)
  const usage = readCode(USAGES, wire.usage ?? '')
  const isLinkWrong = sharedLinks.has(findLinkedId(wire) ?? '')
  const ref = refOf(wire, sharedLinks, rules)
  if (ref === undefined) return { issue: 'INVALID_ACCOUNT' }
  const currency = parseAccountCurrency(wire.currency)
  return {
    value: {
      ref,
      type: type?.value ?? 'OTHER',
      usage: usage?.value ?? 'UNKNOWN',
      status: status?.value ?? 'UNKNOWN',
      currency: currency.currency,
      // The bank states the number of the current account from which the card is paid.
      number: isCard ? null : (parseIban(wire.iban ?? '') ?? parseAccountNumber(wire.bban ?? '')),
      lastFourDigits: lastFourDigitsOf(wire.iban ?? wire.bban ?? wire.maskedPan),
      displayName: ACCOUNT_TYPE_NAMES[type?.value ?? 'OTHER'],
    },
    issues: [
      ...issues,
      ...(isLinkWrong ? (['INVALID_MEMBER'] as const) : []),
      ...(type?.issues ?? (accountTypeCode === undefined ? [] : (['UNKNOWN_ACCOUNT_TYPE'] as const))),
      ...(status?.issues ?? (['UNKNOWN_ACCOUNT_STATUS'] as const)),
      ...(usage?.issues ?? []),
      ...currency.issues,
    ],
  }
}

/**
 * Maps the balances of one account. Amounts are signed from the customer's side, except on card accounts with
 * `debitAccounting`, where debits are positive. If a card account has no such flag, the sign is ambiguous and only zero
 * balances are used.
 */
export function parseBalances(response: BalancesResponse, isCard: boolean, tools: ReadTools): Balances {
  const debitAccounting = findDebitAccounting(response)
  return reconcileBalances(
    response.balances.map((raw) => parseBalance(raw, isCard, debitAccounting)),
    tools,
  )
}

function parseBalance(raw: unknown, isCard: boolean, debitAccounting: boolean | undefined): ParseResult<BankBalance> {
  const entry = parseWireBalance(raw)
  if (!entry) return { issue: 'INVALID_BALANCE' }
  const { balanceType, balanceAmount, creditLimitIncluded, referenceDate, lastChangeDateTime } = entry.wire
  const type = readCode(BALANCE_TYPES, balanceType)
  if (!type) return { issue: 'UNKNOWN_BALANCE_TYPE' }
  if (type.value === null) return 'SKIPPED'
  const parsed = parseMoney(balanceAmount.amount, balanceAmount.currency)
  if ('issue' in parsed) return { type: type.value, issue: parsed.issue }
  const { amount, currency } = parsed.money
  if (isCard && debitAccounting === undefined && /[1-9]/.test(amount))
    return { type: type.value, issue: 'AMBIGUOUS_SIGN' }
  return {
    value: {
      type: type.value,
      amount: isCard && debitAccounting ? negate(amount) : amount,
      currency,
      creditLineIncluded: creditLimitIncluded ?? null,
      creditLimit: null,
    },
    issues: [...entry.issues, ...type.issues, ...parsed.issues],
    statedFor: { day: referenceDate, instant: lastChangeDateTime },
  }
}
