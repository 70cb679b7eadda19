import type { PlannedRequest } from './plan.ts'
import { completeProfile, memberAt } from './profile-catalogue.ts'

/** A registration in which the members that the operator has to state, and has not, have values that stand for them. */
export interface OpenRegistration {
  readonly registration: unknown
  /** Those values by the paths of their members, such as `oauth.metadataUrl`. */
  readonly missing: ReadonlyMap<string, unknown>
}

/**
 * Fills the members of `paths` that the registration does not state, so that the others can be checked and planned. Who has a client ID
 * needs no member for a registration request.
 */
export function fillOpenMembers(registration: unknown, paths: readonly string[]): OpenRegistration {
  const hasClientId = memberAt(registration, 'clientId') !== undefined
  const missing = new Map(
    paths
      .filter((path) => memberAt(registration, path) === undefined)
      .filter((path) => !hasClientId || !path.startsWith('dynamicRegistration.'))
      .map((path) => [path, placeholderOf(path, memberAt(registration, 'authorizationServer'))]),
  )
  let filled = registration
  for (const [path, value] of missing) filled = completeProfile(nest(path.split('.'), value), filled)
  return { registration: filled, missing }
}

/** A request in which the missing members are named, such as `{apiBase}`. */
export function nameOpenMembers(request: PlannedRequest, missing: OpenRegistration['missing']): PlannedRequest {
  const addresses = [...missing].flatMap(([path, value]) =>
    typeof value === 'string' && value.startsWith('https:') ? [{ path, value }] : [],
  )
  // One address can begin with another.
  const longestFirst = addresses.sort((one, other) => other.value.length - one.value.length)
  const { authentication } = request
  return {
    ...request,
    url: longestFirst.reduce((named, { path, value }) => named.replaceAll(value, `{${path}}`), request.url),
    authentication: authentication === missing.get(METHOD) ? `{${METHOD}}` : authentication,
  }
}
const METHOD = 'oauth.clientAuthentication'

/** Stands for members that are neither text nor the address of an endpoint. */
const PLACEHOLDERS: Readonly<Record<string, unknown>> = {
  'bank.id': 'not-stated',
  'bank.name': 'Not stated',
  apiBase: 'https://api.not-stated.example/api',
  authorizationServer: 'https://auth.not-stated.example',
  trustAnchors: [],
  'certificates.transport': 'SELF_SIGNED',
  'customerIdentification.label': 'CUSTOMER_NUMBER',
  [METHOD]: 'client_secret_basic',
}

/** An address of documentation (RFC 2606), or text. Endpoints have to be on the authorization server's origin. */
function placeholderOf(path: string, authorizationServer: unknown): unknown {
  if (Object.hasOwn(PLACEHOLDERS, path)) return PLACEHOLDERS[path]
  if (!/(url|endpoints\.\w+)$/i.test(path)) return `{${path}}`
  const server = typeof authorizationServer === 'string' ? URL.parse(authorizationServer) : null
  return `${server?.origin ?? String(PLACEHOLDERS['authorizationServer'])}/not-stated/${path.split('.').at(-1)!}`
}

const nest = ([name, ...rest]: readonly string[], value: unknown): unknown =>
  name === undefined ? value : { [name]: nest(rest, value) }
