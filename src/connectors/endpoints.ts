import type { AllowedOperations } from './bank-api.ts'
import type { Registration } from './connector.ts'

/** An account API of a bank: where it begins, and what is called there. */
export interface ResourceServer {
  readonly baseUrl: string
  readonly operations: AllowedOperations
}

/**
 * Why the gateway may not use `url` as an endpoint of the bank's authorization server or as a page to sign in at, as a rule;
 * nothing where it may. Whatever names it (the registration, metadata or an answer at run time), it lies on a registered
 * origin and is no resource of the account API: a token endpoint there would send the gateway's requests to any
 * address of the bank that its metadata likes.
 */
export type EndpointCheck = (url: string) => string | undefined

/** The rule for the endpoints of one registration, whose account APIs are `resources`. */
export function createEndpointCheck(
  { authorizationServer, apiBase, authorizationOrigins = [] }: RegisteredOrigins,
  resourceServers: readonly ResourceServer[],
): EndpointCheck {
  const origins = new Set([authorizationServer, apiBase, ...authorizationOrigins].map((url) => URL.parse(url)?.origin))
  const resourceRoots = resourceServers.map(({ baseUrl: root, operations }) => resourceRootOf(root, operations))
  return (endpointUrl) => {
    const url = URL.parse(endpointUrl)
    if (!url || !origins.has(url.origin))
      return 'must lie on the origin of authorizationServer or apiBase, or on one of authorizationOrigins'
    if (!UNESCAPED_PATH.test(url.pathname)) return 'must have a path without escapes'
    const path = normalizePath(url.pathname)
    const isResource = resourceRoots.some(
      (root) => root.origin === url.origin && (path === root.path || path.startsWith(`${root.path}/`)),
    )
    return isResource ? 'must not lie below the account API (apiBase, eventsApi)' : undefined
  }
}

type RegisteredOrigins = Pick<Registration, 'authorizationServer' | 'apiBase' | 'authorizationOrigins'>

/** Servers read escapes, parameters and double slashes in different ways. */
const UNESCAPED_PATH = /^[\w.~/:@+,=-]*$/
const normalizePath = (path: string): string => path.replace(/\/+/g, '/').replace(/\/$/, '').toLowerCase()

/**
 * Below which path everything is a resource. An API that begins at the root of its host counts from what all of its paths
 * have in common; where that is nothing, the whole origin is its own.
 */
function resourceRootOf(baseUrl: string, paths: AllowedOperations): { origin: string; path: string } {
  const { origin, pathname } = new URL(baseUrl)
  return { origin, path: normalizePath(pathname) || commonPathOf(Object.values(paths).map(([, template]) => template)) }
}

function commonPathOf(templates: readonly string[]): string {
  const [first = [], ...others] = templates.map((template) => template.split('/'))
  const commonLength = first.findIndex(
    (segment, index) => segment.startsWith('{') || others.some((segments) => segments[index] !== segment),
  )
  return normalizePath(first.slice(0, commonLength < 0 ? undefined : commonLength).join('/'))
}
