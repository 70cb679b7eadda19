import type { BankBalance } from '../../connectors/index.ts'
import { chain, type MaybePromise } from '../../kernel/maybe-promise.ts'
import type { Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { problemOfError, type Problem } from '../../kernel/problem.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Seal } from '../../storage/seal.ts'
import type { AccountAccess, SharedAccount } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import { isTemporary, startBalanceFetch, type FetchedSnapshot } from './balance-fetch.ts'
import { missingBalance, pickBalance, resultCurrencies, toUnavailable } from './currencies.ts'
import { BAND_MAX_AGE_MS, bandOf } from './disclosure.ts'
import type { Disclosure } from './flights.ts'
import type { BalanceBand, BalanceQuery, BalanceUnavailable, DisclosedBand, Freshness, Snapshot } from './model.ts'
import type { Snapshots } from './snapshots.ts'

/** Dependencies of the bands. */
export interface BandsDependencies {
  snapshots: Snapshots
  ledger: Pick<Ledger, 'commitReads'>
  seal: Pick<Seal, 'digest'>
  clock: Clock
}

/** The band in one currency, or why there is none. */
export type BandResult = BalanceBand | BalanceUnavailable

/** Reads the bands of accounts. A disclosed band is returned again for six hours; after that it is updated from the bank. */
export interface Bands {
  /**
   * One result per currency. `fallbackReason` is why a band is read in place of an exact balance. Throws the bank's error if there
   * is no band in any currency.
   */
  read(
    query: BalanceQuery,
    access: AccountAccess,
    context: RequestContext,
    fallbackReason: Problem | null,
  ): MaybePromise<readonly BandResult[]>
}

/** Creates the reader of bands. */
export function createBands({ snapshots, ledger, seal, clock }: BandsDependencies): Bands {
  function fetchBands(
    query: BalanceQuery,
    access: AccountAccess,
    context: RequestContext,
    fallbackReason: Problem | null,
  ): Promise<readonly BandResult[]> {
    const { account } = query.row
    return snapshots.read(
      startBalanceFetch(ledger, access, context, { maxAgeMs: BAND_MAX_AGE_MS, exactType: null }),
      account,
      (fetched) =>
        updateBands(query, fetched, { now: clock.now(), offset: bandOffsetOf(seal, account), fallbackReason }),
      (error, saved) => {
        if (!isTemporary(error)) return undefined
        const now = clock.now()
        return bandsAfterFailure(query, saved, {
          now,
          fallbackReason,
          failure: problemOfError(toGatewayError(error), now),
        })
      },
    )
  }

  return {
    read(query, access, context, fallbackReason) {
      const fromSaved = (saved: Snapshot | undefined): MaybePromise<readonly BandResult[]> =>
        (saved && currentBands(query, saved, clock.now(), fallbackReason)) ??
        fetchBands(query, access, context, fallbackReason)
      return chain(snapshots.find(query.row.account), fromSaved)
    },
  }
}

/** All results from the saved snapshot. Undefined if a band must be updated, or if the bank may have a missing balance by now. */
function currentBands(
  query: BalanceQuery,
  saved: Snapshot,
  now: Date,
  fallbackReason: Problem | null,
): readonly BandResult[] | undefined {
  const results: BandResult[] = []
  for (const currency of resultCurrencies(query, saved)) {
    const balance = pickBalance(saved, query.type, currency)
    const band = balance && saved.bands[bandKeyOf(balance)]
    if (band && isCurrent(band.asOf, now)) results.push(toBand(query, balance, band, 'CACHED', { fallbackReason }))
    else if (!balance && isCurrent(saved.fetchedAt, now)) results.push(missingBalance(query, currency, saved))
    else return undefined
  }
  return results
}

/** The results from a recent snapshot, and the snapshot with the bands that were updated. */
function updateBands(
  query: BalanceQuery,
  { snapshot, freshness }: FetchedSnapshot,
  { now, offset, fallbackReason }: { now: Date; offset: number; fallbackReason: Problem | null },
): Disclosure<readonly BandResult[]> {
  const updatedBands: Record<string, DisclosedBand> = {}
  const value = resultCurrencies(query, snapshot).map((currency) => {
    const balance = pickBalance(snapshot, query.type, currency)
    if (!balance) return missingBalance(query, currency, snapshot)
    const key = bandKeyOf(balance)
    const previous = snapshot.bands[key]
    if (previous && isCurrent(previous.asOf, now)) return toBand(query, balance, previous, 'CACHED', { fallbackReason })
    const band = { ...bandOf(balance, offset, previous), asOf: snapshot.fetchedAt.toISOString() }
    updatedBands[key] = band
    return toBand(query, balance, band, freshness, { fallbackReason })
  })
  const hasUpdates = Object.keys(updatedBands).length > 0
  return { value, snapshot: hasUpdates ? { ...snapshot, bands: { ...snapshot.bands, ...updatedBands } } : snapshot }
}

/** The saved bands of any age, because the bank provided no newer value. Undefined if there are none. */
function bandsAfterFailure(
  query: BalanceQuery,
  saved: Snapshot,
  { now, fallbackReason, failure }: { now: Date; fallbackReason: Problem | null; failure: Problem },
): readonly BandResult[] | undefined {
  const results = resultCurrencies(query, saved).map((currency) => {
    const balance = pickBalance(saved, query.type, currency)
    const band = balance && saved.bands[bandKeyOf(balance)]
    if (!band) return toUnavailable(query, currency, failure)
    return isCurrent(band.asOf, now)
      ? toBand(query, balance, band, 'CACHED', { fallbackReason })
      : toBand(query, balance, band, 'STALE', { fallbackReason, staleReason: failure })
  })
  return results.some(({ kind }) => kind === 'BAND') ? results : undefined
}

/** The key of a band in `Snapshot.bands`. */
export const bandKeyOf = ({ type, currency }: Pick<BankBalance, 'type' | 'currency'>): string => `${type}/${currency}`

/** By what share of a band's width the bands of an account are shifted, from 0 to 1. */
export const bandOffsetOf = (
  seal: Pick<Seal, 'digest'>,
  { disclosureKey }: Pick<SharedAccount, 'disclosureKey'>,
): number => Buffer.from(seal.digest('band-offset', disclosureKey), 'base64url').readUInt32BE(0) / 2 ** 32

/** Whether a band, or a balance, is recent enough not to be updated. */
export const isCurrent = (at: string | Date, now: Date): boolean =>
  new Date(at).getTime() + BAND_MAX_AGE_MS > now.getTime()

const toBand = (
  { row, type }: BalanceQuery,
  { creditLineIncluded }: BankBalance,
  band: DisclosedBand,
  freshness: Freshness,
  { fallbackReason, staleReason = null }: { fallbackReason: Problem | null; staleReason?: Problem | null },
): BalanceBand => ({
  kind: 'BAND',
  bankId: row.account.bankId,
  type,
  band,
  creditLineIncluded,
  freshness,
  fallbackReason,
  staleReason,
})
