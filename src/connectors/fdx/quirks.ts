import { isOpaqueId } from '../wire-members.ts'

/** The account wrappers of 4.x and 5.x, `{ "depositAccount": { … } }`, and the matching categories of 6.x. */
const WRAPPERS = Object.entries({
  depositAccount: 'DEPOSIT_ACCOUNT',
  locAccount: 'LOC_ACCOUNT',
  loanAccount: 'LOAN_ACCOUNT',
  digitalWallet: 'DIGITAL_WALLET',
  investmentAccount: 'INVESTMENT_ACCOUNT',
  annuityAccount: 'ANNUITY_ACCOUNT',
  insuranceAccount: 'INSURANCE_ACCOUNT',
  commercialAccount: 'COMMERCIAL_ACCOUNT',
})

/**
 * Converts a wrapped account to the flat form with its category. Detects the form by its shape, not by the registered
 * version, because one server may send both. Returns anything else unchanged.
 */
export function unwrapAccount(entry: unknown): unknown {
  if (typeof entry !== 'object' || entry === null) return entry
  for (const [wrapper, accountCategory] of WRAPPERS) {
    const account = (entry as Record<string, unknown>)[wrapper]
    if (typeof account === 'object' && account !== null) return { ...account, accountCategory }
  }
  return entry
}

/**
 * The consent id in a token response, under the name of FDX, of Grant Management for OAuth 2.0, or within the granted
 * authorization details; undefined if there is none.
 */
export function findConsentId(tokenResponse: Readonly<Record<string, unknown>>): string | undefined {
  const [details] = Array.isArray(tokenResponse['authorization_details'])
    ? (tokenResponse['authorization_details'] as unknown[])
    : []
  const candidates = [
    tokenResponse['fdx_consent_id'],
    tokenResponse['grant_id'],
    tokenResponse['consent_id'],
    (details as { consentId?: unknown } | undefined)?.consentId,
  ]
  return candidates.find((id): id is string => typeof id === 'string' && isOpaqueId(id))
}

/** The longest `accountIds`, in characters, so that every server accepts the address. */
const MAX_ID_LIST_LENGTH = 4_000

/** The values of `accountIds` that ask for these accounts, and the ids that have a comma, so that no list can have them. */
export function toIdLists(ids: readonly string[]): { readonly lists: readonly string[]; readonly unlisted: string[] } {
  const lists: string[] = []
  for (const id of ids) {
    if (id.includes(',')) continue
    const last = lists.at(-1)
    if (last !== undefined && last.length + id.length < MAX_ID_LIST_LENGTH) lists[lists.length - 1] = `${last},${id}`
    else lists.push(id)
  }
  return { lists, unlisted: ids.filter((id) => id.includes(',')) }
}
