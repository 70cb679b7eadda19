import { digest } from '../../kernel/ids.ts'
import { decodeSegment } from '../pagination.ts'
import { isOpaqueId } from '../wire-members.ts'
import { parseMisplacedFlag, type BalancesResponse, type WireAccount } from './wire.ts'

/** Card accounts have their own path and may share ids with cash accounts, so their refs have a prefix. */
const CARD_PREFIX = 'card:'
/** The refs of cash accounts have one only if their id begins like a prefix. */
const CASH_PREFIX = 'cash:'
/** Accounts that have no id. */
const LISTED_PREFIX = 'listed:'

/** The ref of a card account; differs from that of a cash account with the same id. */
export const cardRef = (resourceId: string): string => `${CARD_PREFIX}${resourceId}`

/** The ref of a cash account: nearly always the bank's id. */
export const cashRef = (resourceId: string): string =>
  [CARD_PREFIX, CASH_PREFIX, LISTED_PREFIX].some((prefix) => resourceId.startsWith(prefix))
    ? `${CASH_PREFIX}${resourceId}`
    : resourceId

/**
 * The ref of an account without an id, which a bank can only list: from its number and currency, which no other account of the bank
 * has together. Undefined if it has no number.
 */
export function listedRef({ iban, bban, maskedPan, currency }: WireAccount): string | undefined {
  const number = (iban ?? bban ?? maskedPan)?.replaceAll(/\s/g, '').toUpperCase()
  return number === undefined ? undefined : `${LISTED_PREFIX}${digest(`${number}|${currency ?? ''}`)}`
}

/** The bank's id of an account. Undefined if it has none. */
export const toAccountId = (ref: string): string | undefined =>
  ref.startsWith(LISTED_PREFIX) ? undefined : readRef(ref).resourceId

/** The bank's id of an account, and whether it is a card account. */
export function readRef(ref: string): { readonly resourceId: string; readonly isCard: boolean } {
  if (ref.startsWith(CARD_PREFIX)) return { resourceId: ref.slice(CARD_PREFIX.length), isCard: true }
  return { resourceId: ref.startsWith(CASH_PREFIX) ? ref.slice(CASH_PREFIX.length) : ref, isCard: false }
}

/**
 * The account id in the bank's link to the balances, decoded once. In the standard's multi-currency example it differs from
 * `resourceId`, and only the linked id works. The rest of the link is ignored.
 */
export function findLinkedId({ _links }: Pick<WireAccount, '_links'>): string | undefined {
  const href = _links?.balances?.href ?? ''
  const segment = /\/v\d[^/]*\/(?:card-)?accounts\/([^/?#]+)\/balances\/?(?:[?#].*)?$/.exec(href)?.[1]
  const id = segment === undefined ? undefined : decodeSegment(segment)
  return id !== undefined && isOpaqueId(id) ? id : undefined
}

/**
 * The linked ids that accounts with different numbers have in common. Such links are wrong, so the ids of the accounts are used.
 * Accounts with one number are the currencies of one account, or one account that is listed twice.
 */
export function findSharedLinks(accounts: readonly WireAccount[]): ReadonlySet<string> {
  const numbersByLink = new Map<string, Set<string>>()
  for (const account of accounts) {
    const linkedId = findLinkedId(account)
    const number = (account.iban ?? account.bban ?? account.maskedPan)?.replaceAll(/\s/g, '')
    if (linkedId === undefined || number === undefined) continue
    numbersByLink.set(linkedId, (numbersByLink.get(linkedId) ?? new Set()).add(number))
  }
  return new Set([...numbersByLink].flatMap(([linkedId, numbers]) => (numbers.size > 1 ? [linkedId] : [])))
}

/**
 * Whether a card account states debits as positive; undefined if the bank does not say, or contradicts itself. An example in the
 * standard puts the flag inside the list.
 */
export function findDebitAccounting({ debitAccounting, balances }: BalancesResponse): boolean | undefined {
  const stated = new Set([debitAccounting, ...balances.map(parseMisplacedFlag)].filter((value) => value !== undefined))
  return stated.size === 1 ? [...stated][0] : undefined
}
