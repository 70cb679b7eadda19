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

/** What became of one entry of a bank's answer: a value, or why there is none. */
export type ParseResult<T> =
  | { readonly value: T; readonly issues?: readonly ResponseIssue[] }
  /** `type` where it is known which kind of balance it would have been. */
  | { readonly issue: ResponseIssue; readonly type?: BalanceType | undefined }
  /** Of a kind that is left out on purpose. */
  | 'SKIPPED'

/** The values of a list, each on its own, so that one that cannot be read costs only itself. */
export function collectValues<T>(results: readonly ParseResult<T>[], report: (problem: ResponseIssue) => void): T[] {
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
 * The balances of one account that can be trusted. The same one twice, as overlapping pages give it, counts once; two
 * amounts for the same kind, currency and credit line contradict each other, and neither is used.
 */
export function reconcileBalances(
  results: readonly ParseResult<BankBalance>[],
  report: (problem: ResponseIssue) => void,
): Balances {
  const invalidTypes = new Set<BalanceType>()
  const unsupportedTypes = new Set<BalanceType>()
  for (const result of results)
    if (result !== 'SKIPPED' && 'issue' in result && result.type)
      (result.issue === 'UNKNOWN_CURRENCY' ? unsupportedTypes : invalidTypes).add(result.type)
  const balances: BankBalance[] = []
  const conflicting = new Set<BankBalance>()
  for (const balance of collectValues(results, report)) {
    const existing = balances.find((one) => isSameBalance(one, balance))
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

const isSameBalance = (one: BankBalance, other: BankBalance): boolean =>
  one.type === other.type && one.currency === other.currency && one.creditLineIncluded === other.creditLineIncluded

/** What a bank said that gave nothing. */
export const NO_BALANCES: Balances = { balances: [], invalidTypes: [] }

/**
 * An amount as the bank wrote it, or why it cannot be used: it must be a number that its currency can have. `parse` reads the number as the standard writes it; `code` is
 * the currency as the bank gives it.
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
  return withCurrencyDecimals(amount, currency) === undefined
    ? { issue: 'INVALID_AMOUNT' }
    : { amount: amount, currency }
}

/** The currency of an account: `null` where it has none of its own (`XXX`) or the bank's is not known, with a problem then. */
export function parseAccountCurrency(currencyCode: string | undefined): {
  currency: CurrencyCode | null
  issues: ResponseIssue[]
} {
  const currency = parseCurrency(currencyCode ?? '') ?? null
  const hasNoCurrency = currency === null && (currencyCode === undefined || currencyCode === 'XXX')
  return { currency, issues: currency || hasNoCurrency ? [] : ['UNKNOWN_CURRENCY'] }
}

/** The balances of the account that was asked for; those of any other in the answer are left out, with a problem. */
export function selectAccount(
  accountRef: string,
  balancesByRef: ReadonlyMap<string, Balances>,
  report: (problem: ResponseIssue) => void,
): Balances {
  for (const ref of balancesByRef.keys()) if (ref !== accountRef) report('UNREQUESTED_ACCOUNT')
  return balancesByRef.get(accountRef) ?? NO_BALANCES
}

/** The accounts that were asked for, of those that a bank told of in one look. */
export const selectAccounts = (
  accountRefs: readonly string[],
  balancesByRef: ReadonlyMap<string, Balances>,
): ReadonlyMap<string, Balances> =>
  new Map(accountRefs.flatMap((ref) => (balancesByRef.has(ref) ? [[ref, balancesByRef.get(ref)!] as const] : [])))
