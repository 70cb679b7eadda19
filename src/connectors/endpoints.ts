import type { AllowedPaths } from './bank-api.ts'
import type { Registration } from './connector.ts'

/** An account API of a bank: where it begins, and what is called there. */
export interface Resources {
  readonly base: string
  readonly paths: AllowedPaths
}

/**
 * Why the gateway may not use `url` as an endpoint of the bank's authorization server or as a page to sign in at, as a rule;
 * nothing where it may. Whatever names it (the registration, metadata or an answer at run time), it lies on a registered
 * origin and is no resource of the account API: a token endpoint there would send the gateway's requests to any
 * address of the bank that its metadata likes.
 */
export type EndpointFault = (url: string) => string | undefined

/** The rule for the endpoints of one registration, whose account APIs are `resources`. */
export function endpointFaultOf(
  { authorizationServer, apiBase, authorizationOrigins = [] }: RegisteredOrigins,
  resources: readonly Resources[],
): EndpointFault {
  const origins = new Set([authorizationServer, apiBase, ...authorizationOrigins].map((url) => URL.parse(url)?.origin))
  const bases = resources.map(({ base, paths }) => resourceBaseOf(base, paths))
  return (text) => {
    const url = URL.parse(text)
    if (!url || !origins.has(url.origin))
      return 'must lie on the origin of authorizationServer or apiBase, or on one of authorizationOrigins'
    if (!PLAIN_PATH.test(url.pathname)) return 'must have a path without escapes'
    const path = plain(url.pathname)
    const isResource = bases.some(
      (base) => base.origin === url.origin && (path === base.path || path.startsWith(`${base.path}/`)),
    )
    return isResource ? 'must not lie below the account API (apiBase, eventsApi)' : undefined
  }
}

type RegisteredOrigins = Pick<Registration, 'authorizationServer' | 'apiBase' | 'authorizationOrigins'>

/** Servers read escapes, parameters and double slashes in different ways. */
const PLAIN_PATH = /^[\w.~/:@+,=-]*$/
const plain = (path: string): string => path.replace(/\/+/g, '/').replace(/\/$/, '').toLowerCase()

/**
 * Below which path everything is a resource. An API that begins at the root of its host counts from what all of its paths
 * have in common; where that is nothing, the whole origin is its own.
 */
function resourceBaseOf(base: string, paths: AllowedPaths): { origin: string; path: string } {
  const { origin, pathname } = new URL(base)
  return { origin, path: plain(pathname) || commonPathOf(Object.values(paths).map(([, template]) => template)) }
}

function commonPathOf(templates: readonly string[]): string {
  const [first = [], ...others] = templates.map((template) => template.split('/'))
  const until = first.findIndex((part, at) => part.startsWith('{') || others.some((other) => other[at] !== part))
  return plain(first.slice(0, until < 0 ? undefined : until).join('/'))
}
