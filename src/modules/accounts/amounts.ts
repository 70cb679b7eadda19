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
import type { ReadResult } from './flights.ts'
import type { BalanceResult, BalanceUnavailable, ExactBalance, ExactQuery, Snapshot } from './model.ts'
import type { Snapshots } from './snapshots.ts'

/** What exact balances are read with. */
export interface AmountsDependencies {
  snapshots: Snapshots
  disclosures: Pick<DisclosureStore, 'findHistories'>
  bands: Bands
  ledger: Pick<Ledger, 'addRead' | 'commitReads'>
  clock: Clock
}

type ExactResult = ExactBalance | BalanceUnavailable

/** The exact balances of an account, within the limit of its disclosures. */
export interface Amounts {
  /**
   * One result per currency. All exact balances of one snapshot and type count once against the account's limit; if nothing is
   * left of it, the bands are read, with the reason. Throws what the bank said.
   */
  read(query: ExactQuery, access: AccountAccess, context: RequestContext): MaybePromise<readonly BalanceResult[]>
}

/** Reads exact balances from snapshots. */
export function createAmounts(dependencies: AmountsDependencies): Amounts {
  const { snapshots, ledger, clock } = dependencies

  function disclose(
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
      return disclose(query, access, context).catch((error: unknown) => {
        if (toGatewayError(error).code !== 'DISCLOSURE_BUDGET_EXHAUSTED') throw error
        return fallBackToBands(dependencies, query, access, context)
      })
    },
  }
}

/** The bands in place of exact balances that the limit withholds: noted as such, with the reason. */
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
 * The results from a snapshot, which counts as disclosed if there is a value among them: of one snapshot, values of one type
 * are disclosed. Throws `DISCLOSURE_BUDGET_EXHAUSTED` for another type; the limit withholds it as well, and says why.
 */
function discloseAmounts(
  query: ExactQuery,
  { snapshot, freshness }: FetchedSnapshot,
): ReadResult<readonly ExactResult[]> {
  const value = toResults(query, snapshot, freshness)
  if (!value.some(isExact) || snapshot.disclosedType === query.type) return { value, snapshot }
  if (snapshot.disclosedType !== null) throw new GatewayError('DISCLOSURE_BUDGET_EXHAUSTED')
  return { value, snapshot: { ...snapshot, disclosedType: query.type } }
}

const isExact = ({ kind }: ExactResult): boolean => kind === 'EXACT'

/** What was returned from a snapshot, by currency: made once, so that what is written of it is written once. */
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
