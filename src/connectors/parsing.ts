import type { BalanceType } from '../kernel/bank-vocabulary.ts'
import { GatewayError } from '../kernel/errors.ts'
import {
  withCurrencyDecimals,
  parseCurrency,
  parseDecimal,
  toScaledUnits,
  type CurrencyCode,
  type Decimal,
  type Money,
} from '../kernel/money.ts'
import { HOUR_MS } from '../kernel/clock.ts'
import type { Balances, BankAccount, BankBalance, ConnectorTools } from './connector.ts'
import type { ResponseIssue } from './response-issues.ts'

/** The result of parsing one entry of a bank's response: a value, possibly with issues, or the issue that prevents one. */
export type ParseResult<T> =
  | { readonly value: T; readonly issues?: readonly ResponseIssue[]; readonly statedFor?: StatedTime }
  /** `type` is the balance type, if known. */
  | { readonly issue: ResponseIssue; readonly type?: BalanceType | undefined }
  /** An entry of a type that is deliberately left out. */
  | 'SKIPPED'

/** The dependencies of reading a response. */
export type ReadTools = Pick<ConnectorTools, 'report' | 'clock'>

/** For when a bank states a balance, as it wrote it. Decides between balances of one kind, and is not used for anything else. */
export interface StatedTime {
  /** A day, such as `2026-11-25`. */
  readonly day?: string | undefined
  /** A date and time, with or without a time zone. */
  readonly instant?: string | undefined
}

/** Returns the values of the entries that could be parsed and reports all issues. */
export function collectValues<T>(results: readonly ParseResult<T>[], report: (issue: ResponseIssue) => void): T[] {
  const values: T[] = []
  for (const result of results) {
    if (result === 'SKIPPED') continue
    if ('issue' in result) report(result.issue)
    else {
      result.issues?.forEach(report)
      values.push(result.value)
    }
  }
  return values
}

/**
 * Returns each account once. If the bank lists an account several times, as overlapping pages do, the later entry counts. Its
 * currency is `null` if the entries have different ones: then it has several.
 */
export function mergeAccounts(accounts: readonly BankAccount[]): BankAccount[] {
  const byRef = new Map<string, BankAccount>()
  for (const account of accounts) {
    const earlier = byRef.get(account.ref)
    byRef.set(account.ref, earlier ? { ...account, currency: commonOf(earlier.currency, account.currency) } : account)
  }
  return [...byRef.values()]
}

const commonOf = (one: string | null, other: string | null): string | null => (one === other ? one : null)

/** A balance that could be parsed, and when it is stated for. */
type StatedBalance = Extract<ParseResult<BankBalance>, { readonly value: BankBalance }>

/**
 * Returns the consistent balances of one account, one for each type, currency and credit line. A duplicate, as in overlapping
 * pages, counts once. If a bank states one kind for several times, the newest is used that is not in the future; if that does not
 * decide between different amounts, they conflict and none of them is used.
 */
export function reconcileBalances(
  results: readonly ParseResult<BankBalance>[],
  { report, clock }: ReadTools,
): Balances {
  const invalidTypes = new Set<BalanceType>()
  const unsupportedTypes = new Set<BalanceType>()
  const stated: StatedBalance[] = []
  collectValues(results, report)
  for (const result of results) {
    if (result === 'SKIPPED') continue
    if ('value' in result) stated.push(result)
    else if (result.type) (result.issue === 'UNKNOWN_CURRENCY' ? unsupportedTypes : invalidTypes).add(result.type)
  }
  const kinds = Map.groupBy(
    stated,
    ({ value: { type, currency, creditLineIncluded } }) => `${type}/${currency}/${creditLineIncluded}`,
  )
  const balances: BankBalance[] = []
  for (const candidates of kinds.values()) {
    const balance = findNewest(candidates, clock.now())
    if (balance) balances.push(balance)
    else {
      report('CONFLICTING_BALANCES')
      invalidTypes.add(candidates[0]!.value.type)
    }
  }
  return {
    balances,
    invalidTypes: [...invalidTypes],
    ...(unsupportedTypes.size > 0 && { unsupportedTypes: [...unsupportedTypes] }),
  }
}

/** The local time of a bank is ahead of UTC by 14 hours at most. */
const MAX_AHEAD_MS = 14 * HOUR_MS

/**
 * The balance of the newest day and, within it, of the newest instant; undefined if several amounts are left. A time in the future,
 * to which a bank projects a balance, is not the newest; if all are, they decide nothing.
 */
function findNewest(candidates: readonly StatedBalance[], now: Date): BankBalance | undefined {
  let newest = candidates
  for (const timesOf of [daysOf, instantsOf]) {
    if (haveSameAmount(newest)) break
    const times = timesOf(newest) ?? []
    const past = times.filter((time) => time <= now.getTime() + MAX_AHEAD_MS)
    const last = past.reduce((one, other) => Math.max(one, other), -Infinity)
    if (past.length > 0) newest = newest.filter((_candidate, index) => times[index] === last)
  }
  return haveSameAmount(newest) ? newest[0]!.value : undefined
}

const haveSameAmount = ([first, ...others]: readonly StatedBalance[]): boolean =>
  others.every(({ value }) => toScaledUnits(value.amount) === toScaledUnits(first!.value.amount))

const DAY = /^\d{4}-\d\d-\d\d$/
const INSTANT = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:\d\d)?$/

/** The days of all candidates, as numbers; undefined if one of them has none. */
const daysOf = (candidates: readonly StatedBalance[]): number[] | undefined =>
  allNumbers(candidates.map(({ statedFor }) => (DAY.test(statedFor?.day ?? '') ? Date.parse(statedFor!.day!) : NaN)))

/** The instants of all candidates; undefined if one of them has none, or if only some of them have a time zone. */
function instantsOf(candidates: readonly StatedBalance[]): number[] | undefined {
  const matches = candidates.map(({ statedFor }) => INSTANT.exec(statedFor?.instant ?? ''))
  const withZone = matches.filter((match) => match?.[1] !== undefined).length
  if (withZone !== 0 && withZone !== matches.length) return undefined
  return allNumbers(matches.map((match) => (match ? Date.parse(match[1] ? match[0] : `${match[0]}Z`) : NaN)))
}

const allNumbers = (numbers: number[]): number[] | undefined => (numbers.some(Number.isNaN) ? undefined : numbers)

/** The result for an account without usable balances. */
export const NO_BALANCES: Balances = { balances: [], invalidTypes: [] }

/** An amount that could be parsed. */
interface ParsedMoney {
  readonly money: Money
  readonly issues: readonly ResponseIssue[]
}

/**
 * Parses an amount and its ISO 4217 currency. The amount must be a decimal number with no more decimals than the currency
 * allows. `parse` reads the standard's number format.
 */
export function parseMoney(
  amountText: string,
  currencyCode: string,
  parse: (text: string) => Decimal | undefined = parseDecimal,
): ParsedMoney | { readonly issue: 'INVALID_AMOUNT' | 'UNKNOWN_CURRENCY' } {
  const amount = parse(amountText)
  if (amount === undefined) return { issue: 'INVALID_AMOUNT' }
  const { currency, issues } = readCurrency(currencyCode)
  if (!currency) return { issue: 'UNKNOWN_CURRENCY' }
  if (withCurrencyDecimals(amount, currency) === undefined) return { issue: 'INVALID_AMOUNT' }
  return { money: { amount, currency }, issues }
}

/** A currency of the ISO 4217 table, whose code may be in lower case. */
function readCurrency(code: string): { currency: CurrencyCode | undefined; issues: ResponseIssue[] } {
  const exact = parseCurrency(code)
  if (exact) return { currency: exact, issues: [] }
  const currency = /^[A-Za-z]{3}$/.test(code) ? parseCurrency(code.toUpperCase()) : undefined
  return { currency, issues: currency ? ['NONSTANDARD_CODE'] : [] }
}

/** The currency of an account. `null` if it is absent, `XXX` (several currencies) or, with an issue, unknown. */
export function parseAccountCurrency(currencyCode: string | undefined): {
  currency: CurrencyCode | null
  issues: ResponseIssue[]
} {
  if (currencyCode === undefined || currencyCode === 'XXX') return { currency: null, issues: [] }
  const { currency, issues } = readCurrency(currencyCode)
  return currency ? { currency, issues } : { currency: null, issues: ['UNKNOWN_CURRENCY'] }
}

/** The balances of accounts, keyed by account ref. If the list is partial, accounts and balances can be missing. */
export interface BalanceList<T = Balances> {
  readonly byRef: ReadonlyMap<string, T>
  readonly isPartial: boolean
}

/** Selects the balances of the requested account. Reports `UNREQUESTED_ACCOUNT` for every other account. */
export function selectAccount(
  accountRef: string,
  { byRef, isPartial }: BalanceList,
  report: (issue: ResponseIssue) => void,
): Balances {
  for (const ref of byRef.keys()) if (ref !== accountRef) report('UNREQUESTED_ACCOUNT')
  return withCompleteness(byRef.get(accountRef) ?? NO_BALANCES, isPartial)
}

/** Selects the balances of the requested accounts from a bulk response. An account that a partial list lacks has an error. */
export const selectAccounts = (
  accountRefs: readonly string[],
  { byRef, isPartial }: BalanceList<Balances | GatewayError>,
): ReadonlyMap<string, Balances | GatewayError> =>
  new Map(
    accountRefs.flatMap((ref): [string, Balances | GatewayError][] => {
      const balances = byRef.get(ref)
      if (balances instanceof GatewayError) return [[ref, balances]]
      if (balances) return [[ref, withCompleteness(balances, isPartial)]]
      return isPartial ? [[ref, missingInPartialList()]] : []
    }),
  )

const withCompleteness = (balances: Balances, isPartial: boolean): Balances =>
  isPartial ? { ...balances, isPartial } : balances

/** The error for an account that may be on a page that could not be read. */
const missingInPartialList = (): GatewayError =>
  new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the list of balances is partial' })
