import type { BalancesResponse, WireAccount } from './wire.ts'

/** Card accounts have their own path and may share ids with cash accounts, so their refs have a prefix. */
const CARD_PREFIX = 'card:'
/** The ref of a card account; differs from that of a cash account with the same id. */
export const cardRef = (resourceId: string): string => `${CARD_PREFIX}${resourceId}`

/** The bank's id of a card account; undefined for the ref of a cash account. */
export const cardIdOf = (ref: string): string | undefined =>
  ref.startsWith(CARD_PREFIX) ? ref.slice(CARD_PREFIX.length) : undefined

/**
 * The account id in the bank's link to the balances. In the standard's multi-currency example it differs from
 * `resourceId`, and only the linked id works. The rest of the link is ignored.
 */
export const findLinkedId = ({ _links }: WireAccount): string | undefined =>
  /\/v\d[^/]*\/(?:card-)?accounts\/([A-Za-z0-9._~:-]{1,115})\/balances\/?$/.exec(_links?.balances?.href ?? '')?.[1]

/** Whether a card account states debits as positive. An example in the standard puts the flag inside the list. */
export function findDebitAccounting({ debitAccounting, balances }: BalancesResponse): boolean | undefined {
  if (debitAccounting !== undefined) return debitAccounting
  for (const balance of balances) {
    const misplaced = (balance as { debitAccounting?: unknown } | null)?.debitAccounting
    if (typeof misplaced === 'boolean') return misplaced
  }
  return undefined
}
