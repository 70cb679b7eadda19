import { GatewayError } from '../kernel/errors.ts'
import type { StatedEndpoints } from './oauth-profile.ts'

/** The allowlist of a standard's API calls: operation name, method and path template. No other call is possible. */
export type AllowedOperations = Readonly<
  Record<string, readonly [method: 'GET' | 'POST' | 'PUT' | 'DELETE', template: string]>
>

/** An account API of a bank: its base URL and the operations that are called there. */
export interface ResourceServer {
  readonly baseUrl: string
  readonly operations: AllowedOperations
}

/**
 * Checks whether `url` may be an endpoint of the bank's authorization server or a sign-in page. Returns the violated rule,
 * which continues the name of the field, or undefined. Whatever the source of the URL (registration, metadata or a
 * response), it must be on a registered origin and outside the account API: otherwise metadata could direct the gateway's
 * authenticated requests to any resource of the bank.
 */
export type EndpointCheck = (url: string) => string | undefined

/** Creates the endpoint check of one registration with the given account APIs. */
export function createEndpointCheck(
  registration: RegisteredOrigins,
  resourceServers: readonly ResourceServer[],
): EndpointCheck {
  const { authorizationServer, events, alertResponses, oauth = {} } = registration
  const checkPath = createPathCheck(
    resourceServers,
    [
      authorizationServer,
      oauth.metadataUrl,
      events?.pollUrl,
      events?.stream?.configurationUrl,
      alertResponses?.url,
      ...Object.values<string | undefined>({ ...oauth.endpoints }),
    ],
    oauth.tokenEndpoint,
  )
  return (endpointUrl) => {
    if (!isOnRegisteredOrigin(endpointUrl, registration))
      return 'must be on the origin of authorizationServer or apiBase, or on one of authorizationOrigins'
    return checkPath(endpointUrl)
  }
}

/** Whether a URL is on an origin that the registration allows for the bank's authorization server. */
export function isOnRegisteredOrigin(
  url: string,
  { authorizationServer, apiBase, authorizationOrigins = [] }: RegisteredOrigins,
): boolean {
  const origins = [authorizationServer ?? apiBase, apiBase, ...authorizationOrigins]
  const origin = URL.parse(url)?.origin
  return origin !== undefined && origins.some((allowed) => URL.parse(allowed)?.origin === origin)
}

/**
 * The same check without the rule for origins. `statedUrls` are those that the registration itself names, and `tokenEndpoint` is one
 * that may be below an account API, unless one of its operations is there.
 */
export function createPathCheck(
  resourceServers: readonly ResourceServer[],
  statedUrls: readonly (string | undefined)[],
  tokenEndpoint?: string,
): EndpointCheck {
  const resourceRoots = resourceServers.map(({ baseUrl, operations }) => resourceRootOf(baseUrl, operations))
  const stated = new Set(statedUrls.map(withoutParameters))
  return (endpointUrl) => {
    const { origin, pathname } = new URL(endpointUrl)
    if (!UNESCAPED_PATH.test(pathname)) return 'must have a path without percent-escapes or special characters'
    const path = normalizePath(pathname)
    const isResource = resourceRoots.some(
      (root) =>
        root.origin === origin &&
        isBelow(path, root.path) &&
        !(endpointUrl === tokenEndpoint && !root.operationPaths.some((operation) => isBelow(path, operation))) &&
        !(root.path === '' && stated.has(withoutParameters(endpointUrl)) && !root.resources.has(firstSegmentOf(path))),
    )
    return isResource ? 'must not be below the account API (apiBase, eventsApi)' : undefined
  }
}

/** The issuer of the bank's authorization server. A registration that uses OAuth has one, unless consents lead to its metadata. */
export function requireIssuer({ authorizationServer }: Pick<RegisteredOrigins, 'authorizationServer'>): string {
  if (authorizationServer === undefined)
    throw new GatewayError('INTERNAL', { internalMessage: 'the registration has no authorization server' })
  return authorizationServer
}

/** The URLs of a registration whose origins the bank may use. */
interface RegisteredOrigins {
  readonly authorizationServer?: string | undefined
  readonly apiBase: string
  readonly authorizationOrigins?: readonly string[] | undefined
  readonly events?:
    | {
        readonly pollUrl?: string | undefined
        readonly stream?: { readonly configurationUrl?: string | undefined } | undefined
      }
    | undefined
  readonly alertResponses?: { readonly url: string } | undefined
  readonly oauth?:
    | {
        readonly metadataUrl?: string | undefined
        readonly tokenEndpoint?: string | undefined
        readonly endpoints?: StatedEndpoints | undefined
      }
    | undefined
}

/** Servers interpret percent-escapes and other special characters in paths differently, so such paths are rejected. */
const UNESCAPED_PATH = /^[\w.~/:@+,=-]*$/
const normalizePath = (path: string): string => path.replace(/\/+/g, '/').replace(/\/$/, '').toLowerCase()

/**
 * The path below which everything is a resource. For an API at the root of its host, it is the common prefix of all its
 * paths; if there is none, it is the whole origin, except for the endpoints that the registration itself states.
 */
function resourceRootOf(baseUrl: string, operations: AllowedOperations): ResourceRoot {
  const { origin, pathname } = new URL(baseUrl)
  const templates = Object.values(operations).map(([, template]) => template)
  return {
    origin,
    path: normalizePath(pathname) || commonPathOf(templates),
    resources: new Set(templates.map(firstSegmentOf)),
    operationPaths: templates.map((template) => normalizePath(`${pathname}/${template.replace(/\{.*$/s, '')}`)),
  }
}

interface ResourceRoot {
  readonly origin: string
  readonly path: string
  /** The first segments of the API's paths. */
  readonly resources: ReadonlySet<string>
  /** The whole paths of its operations, up to their first parameter. */
  readonly operationPaths: readonly string[]
}

const isBelow = (path: string, root: string): boolean => path === root || path.startsWith(`${root}/`)

const withoutParameters = (url: string | undefined): string | undefined => url?.replace(/[?#].*$/s, '')
const firstSegmentOf = (path: string): string => path.split('/')[1] ?? ''

function commonPathOf(templates: readonly string[]): string {
  const [first = [], ...others] = templates.map((template) => template.split('/'))
  const commonLength = first.findIndex(
    (segment, index) => segment.startsWith('{') || others.some((segments) => segments[index] !== segment),
  )
  return normalizePath(first.slice(0, commonLength < 0 ? undefined : commonLength).join('/'))
}
