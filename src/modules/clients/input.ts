import type { InputFault } from '../../kernel/errors.ts'
import { faultAt, invalidInputError, parseAll, throwInvalidInput } from '../../kernel/input-faults.ts'
import { closestMatch } from '../../kernel/closest-match.ts'
import { isEmailAddress } from '../../kernel/email-address.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import { isScope, SCOPES, type Scope } from '../../kernel/scopes.ts'
import { parseKeys, type Client, type ClientChange, type NewClient, type Organization } from './model.ts'

const MAX_REDIRECT_URIS = 10
const MAX_SCOPES = 50
const MAX_SEARCH_LENGTH = 60
const MAX_QUOTA = 2_147_483_647

/** Parses the fields of a new client. Throws one error with the faults of all fields. */
export const parseNewClient = (
  input: NewClient,
  organization: Organization | null,
  http: Pick<OutboundHttp, 'urlFault'>,
  isBearerAllowed: boolean,
): Pick<Client, 'organizationId' | 'name' | 'tokenBinding' | 'jwks' | 'redirectUris' | 'scopes'> =>
  parseAll({
    organizationId: () =>
      organization?.id ?? throwInvalidInput(['organizationId'], 'must be the id of an organization: register it first'),
    name: () => parseName(input.name),
    tokenBinding: () =>
      input.tokenBinding === 'BEARER' && !isBearerAllowed
        ? throwInvalidInput(['tokenBinding'], 'must be DPOP: bearer tokens are for the sandbox')
        : input.tokenBinding,
    jwks: () => parseKeys(input.jwks),
    redirectUris: () => parseRedirectUris(input.redirectUris, http),
    scopes: () => parseScopes(input.scopes),
  })

/** Parses the changed fields of a client by the rules of registration. Throws one error with the faults of all fields. */
export function parseClientChange(input: ClientChange, http: Pick<OutboundHttp, 'urlFault'>): Partial<Client> {
  const { name, jwks, redirectUris, scopes, pointsPerMinute, pointsPerCustomerPerMinute, operationPolicy } = input
  const { contactEmail } = input
  const isGiven = (value: unknown): boolean => value !== undefined && value !== null
  return parseAll<Partial<Client>>({
    ...(isGiven(name) && { name: () => parseName(name!) }),
    ...(isGiven(jwks) && { jwks: () => parseKeys(jwks) }),
    ...(isGiven(redirectUris) && { redirectUris: () => parseRedirectUris(redirectUris!, http) }),
    ...(isGiven(scopes) && { scopes: () => parseScopes(scopes!) }),
    ...(isGiven(pointsPerMinute) && { pointsPerMinute: () => parseQuota('pointsPerMinute', pointsPerMinute!) }),
    ...(isGiven(pointsPerCustomerPerMinute) && {
      pointsPerCustomerPerMinute: () => parseQuota('pointsPerCustomerPerMinute', pointsPerCustomerPerMinute!),
    }),
    ...(isGiven(operationPolicy) && { operationPolicy: () => operationPolicy! }),
    ...(isGiven(contactEmail) && { contactEmail: () => parseContactEmail(contactEmail!) }),
  })
}

/** Parses a name that customers may see. Throws `INVALID_INPUT` at `path`. */
export function parseName(input: string, path: readonly string[] = ['name']): string {
  if (/^[\p{L}\p{N}][\p{L}\p{N} .&'-]{0,59}$/u.test(input)) return input
  throwInvalidInput(
    path,
    "must have 1 to 60 characters: letters, digits, spaces and . & ' -, and begin with a letter or a digit",
  )
}

/** Parses the address of a contact. Throws `INVALID_INPUT`. */
export function parseContactEmail(input: string): string {
  if (isEmailAddress(input)) return input
  throwInvalidInput(['contactEmail'], 'must be an email address such as team@parley.example, in ASCII characters')
}

function parseRedirectUris(input: readonly string[], http: Pick<OutboundHttp, 'urlFault'>): readonly string[] {
  if (input.length > MAX_REDIRECT_URIS)
    throwInvalidInput(['redirectUris'], `must have at most ${MAX_REDIRECT_URIS} items`)
  const faults = input.flatMap((uri, index) => {
    const rule = input.indexOf(uri) < index ? 'must be listed once' : http.urlFault(uri)
    return rule === undefined ? [] : [faultAt(['redirectUris', String(index)], rule)]
  })
  if (faults.length > 0) throw invalidInputError(faults)
  return input
}

function parseScopes(input: readonly string[]): readonly Scope[] {
  if (input.length === 0) throwInvalidInput(['scopes'], `must have at least one of ${SCOPES.join(', ')}`)
  if (input.length > MAX_SCOPES) throwInvalidInput(['scopes'], `must have at most ${MAX_SCOPES} items`)
  const faults = input.flatMap((scope, index) => {
    if (isScope(scope)) return []
    const nearest = closestMatch(scope, SCOPES)
    const hint = nearest === undefined ? `must be one of ${SCOPES.join(', ')}` : `is no scope; did you mean ${nearest}?`
    return [faultAt(['scopes', String(index)], hint)]
  })
  if (faults.length > 0) throw invalidInputError(faults)
  return [...new Set(input.filter(isScope))]
}

function parseQuota(name: 'pointsPerMinute' | 'pointsPerCustomerPerMinute', input: number): number {
  if (Number.isInteger(input) && input >= 1 && input <= MAX_QUOTA) return input
  throwInvalidInput([name], `must be a whole number from 1 to ${MAX_QUOTA}, in points per minute`)
}

/** The faults of the search text of a filter. */
export const findSearchFaults = ({ search }: { readonly search?: string | null | undefined }): InputFault[] =>
  (search?.length ?? 0) > MAX_SEARCH_LENGTH
    ? [faultAt(['filter', 'search'], `must have at most ${MAX_SEARCH_LENGTH} characters`)]
    : []
