import type { BalancesResponse, WireAccount } from './wire.ts'

/** Card accounts live under their own path and may share ids with cash accounts, so their refs carry a mark. */
const CARD_PREFIX = 'card:'
/** The ref of a card account, told apart from a cash account of the same id. */
export const cardRef = (resourceId: string): string => `${CARD_PREFIX}${resourceId}`

/** The bank's own id where the ref is that of a card account. */
export const cardIdOf = (ref: string): string | undefined =>
  ref.startsWith(CARD_PREFIX) ? ref.slice(CARD_PREFIX.length) : undefined

/**
 * The id that the bank's own link to the balances carries: in the standard's multi-currency example it is not the
 * `resourceId`, and it is the link that works. Only the id is taken from it; the path stays ours.
 */
export const findLinkedId = ({ _links }: WireAccount): string | undefined =>
  /\/v\d[^/]*\/(?:card-)?accounts\/([A-Za-z0-9._~:-]{1,115})\/balances\/?$/.exec(_links?.balances?.href ?? '')?.[1]

/** Whether a card's debits are quoted as positive; one of the standard's examples has the flag inside the list. */
export function findDebitAccounting({ debitAccounting, balances }: BalancesResponse): boolean | undefined {
  if (debitAccounting !== undefined) return debitAccounting
  for (const balance of balances) {
    const misplaced = (balance as { debitAccounting?: unknown } | null)?.debitAccounting
    if (typeof misplaced === 'boolean') return misplaced
  }
  return undefined
}
