import type { Clock } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { parseCurrency, parseDecimal, type Money } from '../../kernel/money.ts'
import { problemOf } from '../../kernel/problem.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { AccountAccess } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { BandResult, Bands } from './bands.ts'
import { toUnavailable } from './currencies.ts'
import { disclosureBudgetsOf, isAllowedThreshold, isCertainlyAtLeast, thresholdStep } from './disclosure.ts'
import type { DisclosureStore } from './disclosure-store.ts'
import type { AuthorizedAccount, BalanceAtLeast, BalanceBand, BalanceUnavailable, ThresholdQuery } from './model.ts'

/** Dependencies of the thresholds. */
export interface ThresholdsDependencies {
  disclosures: Pick<DisclosureStore, 'reserveThreshold' | 'releaseThreshold' | 'findHistories'>
  bands: Bands
  ledger: Pick<Ledger, 'commitReads'>
  clock: Clock
}

/** Compares balances with thresholds, within the disclosure limit. */
export interface Thresholds {
  /**
   * Whether the balance is certainly at least the threshold. Only an outcome counts against the limit. Throws
   * `CURRENCY_NOT_SUPPORTED`, `BALANCE_NOT_PROVIDED`, `THRESHOLD_NOT_A_MULTIPLE` or the bank's error.
   */
  read(
    query: ThresholdQuery,
    access: AccountAccess,
    context: RequestContext,
  ): Promise<BalanceAtLeast | BalanceUnavailable>
}

/** Creates the comparison with thresholds. */
export function createThresholds({ disclosures, bands, ledger, clock }: ThresholdsDependencies): Thresholds {
  async function limitReached(query: ThresholdQuery, now: Date): Promise<BalanceUnavailable> {
    const { disclosureKey } = query.row.account
    const history = (await disclosures.findHistories([disclosureKey])).get(disclosureKey)!
    const { nextAvailableAt } = disclosureBudgetsOf(history, now).threshold
    return toUnavailable(query, query.threshold.currency, problemOf('DISCLOSURE_BUDGET_EXHAUSTED', nextAvailableAt))
  }

  return {
    async read(query, access, context) {
      const { row, type } = query
      const threshold = parseThreshold(query)
      await ledger.commitReads(context)
      const now = clock.now()
      const { disclosureKey } = row.account
      if (!(await disclosures.reserveThreshold(disclosureKey, now))) return limitReached(query, now)
      let result: BandResult | undefined
      try {
        ;[result] = await bands.read({ row, type, currencies: [threshold.currency] }, access, context, null)
      } catch (error) {
        await disclosures.releaseThreshold(disclosureKey, now)
        throw error
      }
      if (result?.kind === 'BAND') return toAtLeast(result, disclosureKey, threshold)
      await disclosures.releaseThreshold(disclosureKey, now)
      return result!
    },
  }
}

/** The step of which thresholds must be multiples, for each known currency of the account. */
export const thresholdStepsOf = ({ account }: AuthorizedAccount): readonly Money[] =>
  account.currencies.flatMap((code) => {
    const currency = parseCurrency(code)
    return currency ? [{ amount: thresholdStep(currency), currency }] : []
  })

function parseThreshold({ row, threshold }: ThresholdQuery): Money {
  const amount = parseDecimal(threshold.amount)
  const currency = parseCurrency(threshold.currency)
  if (!currency) throw new GatewayError('CURRENCY_NOT_SUPPORTED')
  const { currencies } = row.account
  if (currencies.length > 0 && !currencies.includes(currency)) throw new GatewayError('BALANCE_NOT_PROVIDED')
  if (amount === undefined || !isAllowedThreshold(amount, currency)) throw new GatewayError('THRESHOLD_NOT_A_MULTIPLE')
  return { amount, currency }
}

const toAtLeast = (
  { bankId, type, band, creditLineIncluded, freshness, staleReason }: BalanceBand,
  disclosureKey: string,
  threshold: Money,
): BalanceAtLeast => ({
  kind: 'AT_LEAST',
  bankId,
  disclosureKey,
  type,
  threshold,
  outcome: isCertainlyAtLeast(band, threshold.amount) ? 'AT_LEAST' : 'NOT_CERTAIN',
  asOf: band.asOf,
  creditLineIncluded,
  freshness,
  staleReason,
})
