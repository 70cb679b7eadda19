import type { BalanceType } from '../kernel/bank-vocabulary.ts'
import { inMinorUnits, parseCurrency, parseDecimal, type Currency, type Decimal, type Money } from '../kernel/money.ts'
import type { Balances, BankBalance } from './connector.ts'
import type { Problem } from './problems.ts'

/** What became of one entry of a bank's answer: a value, or why there is none. */
export type Reading<T> =
  | { readonly value: T; readonly problems?: readonly Problem[] }
  /** `type` where it is known which kind of balance it would have been. */
  | { readonly problem: Problem; readonly type?: BalanceType | undefined }
  /** Of a kind that is left out on purpose. */
  | 'LEFT_OUT'

/** The values of a list, each on its own, so that one that cannot be read costs only itself. */
export function valuesOf<T>(readings: readonly Reading<T>[], report: (problem: Problem) => void): T[] {
  const values: T[] = []
  for (const reading of readings) {
    if (reading === 'LEFT_OUT') continue
    if ('problem' in reading) report(reading.problem)
    else {
      reading.problems?.forEach(report)
      values.push(reading.value)
    }
  }
  return values
}

/**
 * The balances of one account that can be trusted. The same one twice, as overlapping pages give it, counts once; two
 * amounts for the same kind, currency and credit line contradict each other, and neither is used.
 */
export function settle(readings: readonly Reading<BankBalance>[], report: (problem: Problem) => void): Balances {
  const untrusted = new Set<BalanceType>()
  const unsupported = new Set<BalanceType>()
  for (const reading of readings)
    if (reading !== 'LEFT_OUT' && 'problem' in reading && reading.type)
      (reading.problem === 'UNKNOWN_CURRENCY' ? unsupported : untrusted).add(reading.type)
  const found: BankBalance[] = []
  const contradicted = new Set<BankBalance>()
  for (const balance of valuesOf(readings, report)) {
    const known = found.find((one) => isOfOneKind(one, balance))
    if (!known) found.push(balance)
    else if (known.amount !== balance.amount) contradicted.add(known)
  }
  for (const { type } of contradicted) {
    report('CONTRADICTING_BALANCES')
    untrusted.add(type)
  }
  return {
    balances: found.filter((balance) => !contradicted.has(balance)),
    untrusted: [...untrusted],
    ...(unsupported.size > 0 && { unsupported: [...unsupported] }),
  }
}

const isOfOneKind = (one: BankBalance, other: BankBalance): boolean =>
  one.type === other.type && one.currency === other.currency && one.creditLineIncluded === other.creditLineIncluded

/** What a bank said that gave nothing. */
export const NO_BALANCES: Balances = { balances: [], untrusted: [] }

/**
 * An amount as the bank wrote it, or why it cannot be used: it must be a number that its currency can have. `parse` reads the number as the standard writes it; `code` is
 * the currency as the bank gives it.
 */
export function moneyOf(
  written: string,
  code: string,
  parse: (text: string) => Decimal | undefined = parseDecimal,
): Money | { readonly problem: 'INVALID_AMOUNT' | 'UNKNOWN_CURRENCY' } {
  const read = parse(written)
  if (read === undefined) return { problem: 'INVALID_AMOUNT' }
  const currency = parseCurrency(code)
  if (!currency) return { problem: 'UNKNOWN_CURRENCY' }
  return inMinorUnits(read, currency) === undefined ? { problem: 'INVALID_AMOUNT' } : { amount: read, currency }
}

/** The currency of an account: `null` where it has none of its own (`XXX`) or the bank's is not known, with a problem then. */
export function currencyOfAccount(code: string | undefined): { currency: Currency | null; problems: Problem[] } {
  const currency = parseCurrency(code ?? '') ?? null
  const isNone = currency === null && (code === undefined || code === 'XXX')
  return { currency, problems: currency || isNone ? [] : ['UNKNOWN_CURRENCY'] }
}

/** The balances of the account that was asked for; those of any other in the answer are left out, with a problem. */
export function theOne(
  accountRef: string,
  told: ReadonlyMap<string, Balances>,
  report: (problem: Problem) => void,
): Balances {
  for (const ref of told.keys()) if (ref !== accountRef) report('OTHER_ACCOUNT')
  return told.get(accountRef) ?? NO_BALANCES
}

/** The accounts that were asked for, of those that a bank told of in one look. */
export const only = (
  accountRefs: readonly string[],
  told: ReadonlyMap<string, Balances>,
): ReadonlyMap<string, Balances> =>
  new Map(accountRefs.flatMap((ref) => (told.has(ref) ? [[ref, told.get(ref)!] as const] : [])))
