import type { BankBalance } from '../../connectors/index.ts'
import type { BalanceType } from '../../kernel/bank-vocabulary.ts'
import type { ErrorCode } from '../../kernel/errors.ts'
import { parseCurrency } from '../../kernel/money.ts'
import { problemOf, type Problem } from '../../kernel/problem.ts'
import type { SharedAccount } from '../consents/index.ts'
import type { BalanceQuery, BalanceUnavailable, Snapshot } from './model.ts'

/** The currencies of a snapshot that the account is not known to hold, in the bank's order. */
export function newCurrencies({ currencies }: SharedAccount, { balances }: Snapshot): readonly string[] {
  if (balances.every(({ currency }) => currencies.includes(currency))) return []
  const shown = balances.map(({ currency }) => currency).filter((code) => parseCurrency(code) !== undefined)
  return [...new Set<string>(shown)].filter((code) => !currencies.includes(code))
}

/** All currencies of an account, its main one first; empty if the bank has named none. */
function heldCurrencies(account: SharedAccount, snapshot: Snapshot | undefined): readonly string[] {
  const added = snapshot ? newCurrencies(account, snapshot) : []
  return added.length === 0 ? account.currencies : [...account.currencies, ...added]
}

/**
 * The currencies of the results, never empty: the requested ones that the account holds in the account's order, then those that
 * it does not hold. Only `null` if no currency is known or requested.
 */
export function resultCurrencies(
  { row, currencies }: BalanceQuery,
  snapshot: Snapshot | undefined,
): readonly (string | null)[] {
  const held = heldCurrencies(row.account, snapshot)
  if (currencies === null) return held.length > 0 ? held : [null]
  return [...held.filter((code) => currencies.includes(code)), ...currencies.filter((code) => !held.includes(code))]
}

/** The balance of a type in a supported currency; if there are several, the one without a credit line. */
export function pickBalance(
  { balances }: Snapshot,
  type: BalanceType,
  currency: string | null,
): BankBalance | undefined {
  if (currency === null || !parseCurrency(currency)) return undefined
  const candidates = balances.filter((balance) => balance.type === type && balance.currency === currency)
  return candidates.find((balance) => balance.creditLineIncluded !== true) ?? candidates[0]
}

/** Why a snapshot holds no balance of the requested type in this currency. */
export function missingBalance(query: BalanceQuery, currency: string | null, snapshot: Snapshot): BalanceUnavailable {
  return toUnavailable(query, currency, problemOf(missingBalanceCode(query, currency, snapshot)))
}

function missingBalanceCode({ row, type }: BalanceQuery, currency: string | null, snapshot: Snapshot): ErrorCode {
  if (currency !== null && !parseCurrency(currency)) return 'CURRENCY_NOT_SUPPORTED'
  const held = heldCurrencies(row.account, snapshot)
  // What a partial list lacks may exist, so that the absence is not final.
  const absent = snapshot.isPartial ? 'BANK_RESPONSE_INVALID' : 'BALANCE_NOT_PROVIDED'
  if (currency !== null && held.length > 0 && !held.includes(currency)) return absent
  if (snapshot.invalidTypes.includes(type)) return 'BALANCE_INCONSISTENT'
  const isUnsupported =
    snapshot.unsupportedTypes?.includes(type) === true ||
    snapshot.balances.some((balance) => balance.type === type && !parseCurrency(balance.currency))
  return isUnsupported ? 'CURRENCY_NOT_SUPPORTED' : absent
}

/** The result for a currency in which nothing is disclosed. */
export const toUnavailable = (
  { row, type }: Pick<BalanceQuery, 'row' | 'type'>,
  currency: string | null,
  reason: Problem,
): BalanceUnavailable => ({ kind: 'UNAVAILABLE', bankId: row.account.bankId, type, currency, reason })

/** The same reason for every currency of the request. */
export const allUnavailable = (query: BalanceQuery, reason: Problem): readonly BalanceUnavailable[] =>
  resultCurrencies(query, undefined).map((currency) => toUnavailable(query, currency, reason))
