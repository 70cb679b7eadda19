import type { BalanceType } from '../kernel/bank-vocabulary.ts'
import {
  withCurrencyDecimals,
  parseCurrency,
  parseDecimal,
  type CurrencyCode,
  type Decimal,
  type Money,
} from '../kernel/money.ts'
import type { Balances, BankBalance } from './connector.ts'
import type { ResponseIssue } from './response-issues.ts'

/** The result of parsing one entry of a bank's response: a value, possibly with issues, or the issue that prevents one. */
export type ParseResult<T> =
  | { readonly value: T; readonly issues?: readonly ResponseIssue[] }
  /** `type` is the balance type, if known. */
  | { readonly issue: ResponseIssue; readonly type?: BalanceType | undefined }
  /** An entry of a type that is deliberately left out. */
  | 'SKIPPED'

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
 * Returns the consistent balances of one account. A duplicate, as in overlapping pages, counts once. Different amounts for
 * the same type, currency and credit line conflict, and none of them is used.
 */
export function reconcileBalances(
  results: readonly ParseResult<BankBalance>[],
  report: (issue: ResponseIssue) => void,
): Balances {
  const invalidTypes = new Set<BalanceType>()
  const unsupportedTypes = new Set<BalanceType>()
  for (const result of results)
    if (result !== 'SKIPPED' && 'issue' in result && result.type)
      (result.issue === 'UNKNOWN_CURRENCY' ? unsupportedTypes : invalidTypes).add(result.type)
  const balances: BankBalance[] = []
  const conflicting = new Set<BankBalance>()
  for (const balance of collectValues(results, report)) {
    const existing = balances.find((candidate) => isSameKind(candidate, balance))
    if (!existing) balances.push(balance)
    else if (existing.amount !== balance.amount) conflicting.add(existing)
  }
  for (const { type } of conflicting) {
    report('CONFLICTING_BALANCES')
    invalidTypes.add(type)
  }
  return {
    balances: balances.filter((balance) => !conflicting.has(balance)),
    invalidTypes: [...invalidTypes],
    ...(unsupportedTypes.size > 0 && { unsupportedTypes: [...unsupportedTypes] }),
  }
}

const isSameKind = (a: BankBalance, b: BankBalance): boolean =>
  a.type === b.type && a.currency === b.currency && a.creditLineIncluded === b.creditLineIncluded

/** The result for an account without usable balances. */
export const NO_BALANCES: Balances = { balances: [], invalidTypes: [] }

/**
 * Parses an amount and its ISO 4217 currency. The amount must be a decimal number with no more decimals than the currency
 * allows. `parse` reads the standard's number format.
 */
export function parseMoney(
  amountText: string,
  currencyCode: string,
  parse: (text: string) => Decimal | undefined = parseDecimal,
): Money | { readonly issue: 'INVALID_AMOUNT' | 'UNKNOWN_CURRENCY' } {
  const amount = parse(amountText)
  if (amount === undefined) return { issue: 'INVALID_AMOUNT' }
  const currency = parseCurrency(currencyCode)
  if (!currency) return { issue: 'UNKNOWN_CURRENCY' }
  return withCurrencyDecimals(amount, currency) === undefined ? { issue: 'INVALID_AMOUNT' } : { amount, currency }
}

/** The currency of an account. `null` if it is absent, `XXX` (several currencies) or, with an issue, unknown. */
export function parseAccountCurrency(currencyCode: string | undefined): {
  currency: CurrencyCode | null
  issues: ResponseIssue[]
} {
  const currency = parseCurrency(currencyCode ?? '') ?? null
  const hasNoCurrency = currency === null && (currencyCode === undefined || currencyCode === 'XXX')
  return { currency, issues: currency || hasNoCurrency ? [] : ['UNKNOWN_CURRENCY'] }
}

/** Selects the balances of the requested account. Reports `UNREQUESTED_ACCOUNT` for every other account. */
export function selectAccount(
  accountRef: string,
  balancesByRef: ReadonlyMap<string, Balances>,
  report: (issue: ResponseIssue) => void,
): Balances {
  for (const ref of balancesByRef.keys()) if (ref !== accountRef) report('UNREQUESTED_ACCOUNT')
  return balancesByRef.get(accountRef) ?? NO_BALANCES
}

/** Selects the balances of the requested accounts from a bulk response. */
export const selectAccounts = (
  accountRefs: readonly string[],
  balancesByRef: ReadonlyMap<string, Balances>,
): ReadonlyMap<string, Balances> =>
  new Map(accountRefs.flatMap((ref) => (balancesByRef.has(ref) ? [[ref, balancesByRef.get(ref)!] as const] : [])))
