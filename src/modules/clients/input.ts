import { faultAt, invalid, readAll, refuse } from '../../kernel/faults.ts'
import { nearestOf } from '../../kernel/nearest.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import { isScope, SCOPES, type Scope } from '../../kernel/scopes.ts'
import { readKeys, type Client, type ClientChange, type NewClient, type Platform } from './model.ts'

const MAX_REDIRECT_URIS = 10
const MAX_SCOPES = 50
const MAX_QUOTA = 2_147_483_647

/** The parts of a client that an admin states when it is registered. Throws one error with the faults of all of them. */
export const readNewClient = (
  given: NewClient,
  platform: Platform | null,
  http: Pick<OutboundHttp, 'addressFault'>,
  bearerAllowed: boolean,
): Pick<Client, 'platformId' | 'name' | 'tokenBinding' | 'keys' | 'redirectUris' | 'scopes'> =>
  readAll({
    platformId: () => platform?.id ?? refuse(['platformId'], 'must be the id of a platform: register it first'),
    name: () => readName(given.name),
    tokenBinding: () =>
      given.tokenBinding === 'BEARER' && !bearerAllowed
        ? refuse(['tokenBinding'], 'must be DPOP: bearer tokens are for the sandbox')
        : given.tokenBinding,
    keys: () => readKeys(given.keys),
    redirectUris: () => readRedirectUris(given.redirectUris, http),
    scopes: () => readScopes(given.scopes),
  })

/** What is to be changed of a client, by the rules of its registration; what is absent stays. Throws as `readNewClient`. */
export function readChange(given: ClientChange, http: Pick<OutboundHttp, 'addressFault'>): Partial<Client> {
  const { name, keys, redirectUris, scopes, quotaPerMinute, customerQuotaPerMinute, operations } = given
  const isGiven = (value: unknown): boolean => value !== undefined && value !== null
  return readAll<Partial<Client>>({
    ...(isGiven(name) && { name: () => readName(name!) }),
    ...(isGiven(keys) && { keys: () => readKeys(keys) }),
    ...(isGiven(redirectUris) && { redirectUris: () => readRedirectUris(redirectUris!, http) }),
    ...(isGiven(scopes) && { scopes: () => readScopes(scopes!) }),
    ...(isGiven(quotaPerMinute) && { quotaPerMinute: () => readQuota('quotaPerMinute', quotaPerMinute!) }),
    ...(isGiven(customerQuotaPerMinute) && {
      customerQuotaPerMinute: () => readQuota('customerQuotaPerMinute', customerQuotaPerMinute!),
    }),
    ...(isGiven(operations) && { operations: () => operations! }),
  })
}

/** A name that can be shown to a customer. Throws `INVALID_INPUT` at `path`. */
export function readName(given: string, path: readonly string[] = ['name']): string {
  if (/^[\p{L}\p{N}][\p{L}\p{N} .&'-]{0,59}$/u.test(given)) return given
  refuse(path, "must have 1 to 60 characters: letters, digits, spaces and . & ' -, and begin with a letter or a digit")
}

function readRedirectUris(given: readonly string[], http: Pick<OutboundHttp, 'addressFault'>): readonly string[] {
  if (given.length > MAX_REDIRECT_URIS) refuse(['redirectUris'], `must have at most ${MAX_REDIRECT_URIS} items`)
  const faults = given.flatMap((uri, at) => {
    const rule = given.indexOf(uri) < at ? 'must be listed once' : http.addressFault(uri)
    return rule === undefined ? [] : [faultAt(['redirectUris', String(at)], rule)]
  })
  if (faults.length > 0) throw invalid(faults)
  return given
}

function readScopes(given: readonly string[]): readonly Scope[] {
  if (given.length === 0) refuse(['scopes'], `must have at least one of ${SCOPES.join(', ')}`)
  if (given.length > MAX_SCOPES) refuse(['scopes'], `must have at most ${MAX_SCOPES} items`)
  const faults = given.flatMap((scope, at) => {
    if (isScope(scope)) return []
    const nearest = nearestOf(scope, SCOPES)
    const hint = nearest === undefined ? `must be one of ${SCOPES.join(', ')}` : `is no scope; did you mean ${nearest}?`
    return [faultAt(['scopes', String(at)], hint)]
  })
  if (faults.length > 0) throw invalid(faults)
  return [...new Set(given.filter(isScope))]
}

function readQuota(name: 'quotaPerMinute' | 'customerQuotaPerMinute', given: number): number {
  if (Number.isInteger(given) && given >= 1 && given <= MAX_QUOTA) return given
  refuse([name], `must be a whole number from 1 to ${MAX_QUOTA}, in points per minute`)
}
