import type { Balances } from '../../../src/connectors/index.ts'
import { minorUnitsOf } from './seeded-values.ts'

/** One balance of a bank's response, as the standard's own text reads it. */
export interface StatedBalance {
  readonly type: string
  readonly currency: string
  /** Signed, from the customer's side, in the bank's digits. */
  readonly amount: string
  readonly creditLineIncluded: boolean | null
  /** When the bank says that the balance was valid, the deciding date first; undefined where it does not. */
  readonly dates?: readonly (string | undefined)[]
  /** Whether the standard leaves open what the amount means, so that it may be absent. */
  readonly isAmbiguous?: boolean
}

/** The digits of an amount without leading zeros and without the sign of a zero. */
export function canonicalAmount(text: string): string {
  const negative = text.startsWith('-') && /[1-9]/.test(text)
  return (negative ? '-' : '') + text.replace(/^-/, '').replace(/^0+(?=\d)/, '')
}

/** The amount with the other sign. */
export const negated = (text: string): string => (text.startsWith('-') ? text.slice(1) : `-${text}`)

/**
 * Compares what a connector returned for one account with what the bank stated: each kind of balance is there with the newest
 * amount, digit by digit, and nothing else is. Only a currency that does not exist, more decimals than the currency has, and two
 * amounts for the same kind and date excuse an absence. Returns what is wrong, with the rule.
 */
export function findBalanceLosses(stated: readonly StatedBalance[], { balances }: Balances): string[] {
  const kinds = Map.groupBy(stated, ({ type, currency, creditLineIncluded }) =>
    [type, currency, String(creditLineIncluded)].join(' '),
  )
  const faults: string[] = []
  for (const { type, currency, creditLineIncluded, amount } of balances) {
    const kind = [type, currency, String(creditLineIncluded)].join(' ')
    const candidates = newestAmounts(kinds.get(kind) ?? [])
    if (!candidates.has(amount)) faults.push(`WRONG_BALANCE: ${kind} ${amount}, not ${[...candidates].join(' or ')}`)
  }
  for (const [kind, list] of kinds) {
    const amounts = newestAmounts(list)
    const isPresent = balances.some(
      ({ type, currency, creditLineIncluded }) => kind === [type, currency, String(creditLineIncluded)].join(' '),
    )
    if (isPresent || amounts.size > 1 || list.some(isExcused)) continue
    faults.push(`${list.length > 1 ? 'LOST_DATED_BALANCE' : 'LOST_BALANCE'}: ${kind} ${[...amounts].join('')}`)
  }
  return faults
}

/** The amounts of the newest date. A date that not every balance has decides nothing. */
function newestAmounts(list: readonly StatedBalance[]): Set<string> {
  let newest = list
  for (const index of [0, 1]) {
    const times = newest.map(({ dates }) => Date.parse(dates?.[index] ?? 'none'))
    const last = Math.max(...times)
    if (!Number.isNaN(last)) newest = newest.filter((_, place) => times[place] === last)
  }
  return new Set(newest.map(({ amount }) => canonicalAmount(amount)))
}

function isExcused({ currency, amount, isAmbiguous }: StatedBalance): boolean {
  const minorUnits = minorUnitsOf(currency)
  const decimals = (amount.split('.')[1] ?? '').replace(/0+$/, '').length
  return isAmbiguous === true || minorUnits === undefined || decimals > minorUnits
}
