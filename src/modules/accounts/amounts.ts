import type { MaybePromise } from '../../kernel/maybe-promise.ts'
import { addMs, type Clock } from '../../kernel/clock.ts'
import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { withCurrencyDecimals, type CurrencyCode, type Decimal, type Money } from '../../kernel/money.ts'
import { problemOf, problemOfError, type Problem } from '../../kernel/problem.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { AccountAccess } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import { isTemporary, startBalanceFetch, type FetchedSnapshot } from './balance-fetch.ts'
import type { Bands } from './bands.ts'
import { missingBalance, pickBalance, resultCurrencies } from './currencies.ts'
import { DISCLOSURE_WINDOW_MS, findExactDenial } from './disclosure.ts'
import type { DisclosureStore } from './disclosure-store.ts'
import type { Disclosure } from './flights.ts'
import type { BalanceResult, BalanceUnavailable, ExactBalance, ExactQuery, Snapshot } from './model.ts'
import type { Snapshots } from './snapshots.ts'

/** Dependencies of the amounts. */
export interface AmountsDependencies {
  snapshots: Snapshots
  disclosures: Pick<DisclosureStore, 'findHistories'>
  bands: Bands
  ledger: Pick<Ledger, 'addRead' | 'commitReads'>
  clock: Clock
}

type ExactResult = ExactBalance | BalanceUnavailable

/** Reads the exact balances of accounts, within the disclosure limit. */
export interface Amounts {
  /**
   * One result per currency. All exact balances of one snapshot and type count once against the account's limit. If the limit is
   * reached, the results are bands with the reason. Throws the bank's error.
   */
  read(query: ExactQuery, access: AccountAccess, context: RequestContext): MaybePromise<readonly BalanceResult[]>
}

/** Creates the reader of exact balances. */
export function createAmounts(dependencies: AmountsDependencies): Amounts {
  const { snapshots, ledger, clock } = dependencies

  function fetchAmounts(
    query: ExactQuery,
    access: AccountAccess,
    context: RequestContext,
  ): Promise<readonly ExactResult[]> {
    const { row, type, maxAgeMs } = query
    return snapshots.read(
      startBalanceFetch(ledger, access, context, { maxAgeMs, exactType: type }),
      row.account,
      (fetched) => discloseAmounts(query, fetched),
      (error, saved) => {
        if (saved.disclosedType !== type || !isTemporary(error)) return undefined
        const results = toResults(query, saved, 'STALE', problemOfError(toGatewayError(error), clock.now()))
        return results.some(isExact) ? results : undefined
      },
    )
  }

  return {
    read(query, access, context) {
      const { row, type, maxAgeMs } = query
      const saved = snapshots.peek(row.account)
      if (saved?.disclosedType === type && saved.fetchedAt.getTime() + maxAgeMs > clock.now().getTime())
        return toResults(query, saved, 'CACHED')
      return fetchAmounts(query, access, context).catch((error: unknown) => {
        if (toGatewayError(error).code !== 'DISCLOSURE_BUDGET_EXHAUSTED') throw error
        return fallBackToBands(dependencies, query, access, context)
      })
    },
  }
}

/** Reads bands in place of exact balances that the limit denies, with a ledger entry of their own. */
async function fallBackToBands(
  { disclosures, bands, ledger, clock }: AmountsDependencies,
  query: ExactQuery,
  access: AccountAccess,
  context: RequestContext,
): Promise<readonly BalanceResult[]> {
  const { row, type } = query
  const { disclosureKey } = row.account
  ledger.addRead(context, { action: 'READ_BALANCE_BAND', access, detail: type })
  const now = clock.now()
  const history = (await disclosures.findHistories([disclosureKey])).get(disclosureKey)!
  const { reason, retryAt } = findExactDenial(history, type, now) ?? {
    reason: 'DISCLOSURE_BUDGET_EXHAUSTED',
    retryAt: addMs(now, DISCLOSURE_WINDOW_MS),
  }
  return bands.read(query, access, context, problemOf(reason, retryAt))
}

/**
 * The results from a snapshot, and the snapshot with their type if they contain a value. Throws `DISCLOSURE_BUDGET_EXHAUSTED` if
 * another type was disclosed from the snapshot: a snapshot discloses only one. The caller then finds the denial by the limit.
 */
function discloseAmounts(
  query: ExactQuery,
  { snapshot, freshness }: FetchedSnapshot,
): Disclosure<readonly ExactResult[]> {
  const value = toResults(query, snapshot, freshness)
  if (!value.some(isExact) || snapshot.disclosedType === query.type) return { value, snapshot }
  if (snapshot.disclosedType !== null) throw new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED')
  return { value, snapshot: { ...snapshot, disclosedType: query.type } }
}

const isExact = ({ kind }: ExactResult): boolean => kind === 'EXACT'

/** The CACHED results of a snapshot, by currency. Created once, so that they are serialized only once. */
const cachedResults = new WeakMap<Snapshot, Map<string, ExactBalance>>()

function toResults(
  query: ExactQuery,
  snapshot: Snapshot,
  freshness: ExactBalance['freshness'],
  staleReason: Problem | null = null,
): readonly ExactResult[] {
  let cached = freshness === 'CACHED' ? cachedResults.get(snapshot) : undefined
  if (!cached && freshness === 'CACHED') cachedResults.set(snapshot, (cached = new Map<string, ExactBalance>()))
  return resultCurrencies(query, snapshot).map((currency) => {
    const existing = currency === null ? undefined : cached?.get(currency)
    if (existing?.type === query.type) return existing
    const balance = pickBalance(snapshot, query.type, currency)
    if (!balance) return missingBalance(query, currency, snapshot)
    const { bankId, disclosureKey } = query.row.account
    const { type, amount, creditLimit, creditLineIncluded } = balance
    const result: ExactBalance = {
      kind: 'EXACT',
      bankId,
      disclosureKey,
      type,
      value: toMoney(amount, balance.currency),
      creditLineIncluded,
      creditLimit: creditLimit && toMoney(creditLimit, balance.currency),
      asOf: snapshot.fetchedAt.toISOString(),
      freshness,
      staleReason,
    }
    cached?.set(balance.currency, result)
    return result
  })
}

const toMoney = (amount: Decimal, currency: CurrencyCode): Money => ({
  amount: withCurrencyDecimals(amount, currency) ?? amount,
  currency,
})
