import { completeProfile, memberAt } from './profile-catalogue.ts'

/** A registration in which the members that the operator has to state, and has not, have values that stand for them. */
export interface OpenRegistration {
  readonly registration: unknown
  /** Those values by the paths of their members, such as `oauth.metadataUrl`. */
  readonly missing: ReadonlyMap<string, string>
}

/** Fills the members of `paths` that the registration does not state, so that the others can be checked and planned. */
export function fillOpenMembers(registration: unknown, paths: readonly string[]): OpenRegistration {
  const missing = new Map(
    paths
      .filter((path) => memberAt(registration, path) === undefined)
      .map((path) => [path, placeholderOf(path, memberAt(registration, 'authorizationServer'))]),
  )
  let filled = registration
  for (const [path, value] of missing) filled = completeProfile(nest(path.split('.'), value), filled)
  return { registration: filled, missing }
}

/** A URL in which the missing addresses are named, such as `{apiBase}`. */
export function nameOpenMembers(url: string, missing: OpenRegistration['missing']): string {
  const addresses = [...missing].filter(([, value]) => value.startsWith('https:'))
  // One address can begin with another.
  const longestFirst = addresses.sort(([, one], [, other]) => other.length - one.length)
  return longestFirst.reduce((named, [path, value]) => named.replaceAll(value, `{${path}}`), url)
}

/** An address of documentation (RFC 2606), or text. Endpoints have to be on the authorization server's origin. */
function placeholderOf(path: string, authorizationServer: unknown): string {
  if (path === 'bank.id') return 'not-stated'
  if (path === 'bank.name') return 'Not stated'
  if (path === 'apiBase') return 'https://api.not-stated.example/api'
  if (path === 'authorizationServer') return AUTHORIZATION_SERVER
  if (!/(url|endpoints\.\w+)$/i.test(path)) return `{${path}}`
  const server = typeof authorizationServer === 'string' ? URL.parse(authorizationServer) : null
  return `${server?.origin ?? AUTHORIZATION_SERVER}/not-stated/${path.split('.').at(-1)!}`
}
const AUTHORIZATION_SERVER = 'https://auth.not-stated.example'

const nest = ([name, ...rest]: readonly string[], value: string): unknown =>
  name === undefined ? value : { [name]: nest(rest, value) }
