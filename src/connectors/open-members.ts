import { completeProfile, memberAt } from './profile-catalogue.ts'

/** Documentation addresses (RFC 2606) that stand for addresses which the operator has not stated. */
const DOMAIN = 'not-stated.example'

/** A registration in which the members that the operator has to state, and has not, have values that stand for them. */
export interface OpenRegistration {
  readonly registration: unknown
  /** Their paths. */
  readonly missing: readonly string[]
}

/** Fills the members of `paths` that the registration does not state, so that the others can be checked and planned. */
export function fillOpenMembers(registration: unknown, paths: readonly string[]): OpenRegistration {
  const missing = paths.filter((path) => memberAt(registration, path) === undefined)
  const filled = missing.reduce(
    (complete, path) => completeProfile(nest(path.split('.'), placeholderOf(path)), complete),
    registration,
  )
  return { registration: filled, missing }
}

/** Text in which the members of `missing` are named, such as `{apiBase}`, in place of the addresses that stand for them. */
export const nameOpenMembers = (text: string, missing: readonly string[]): string =>
  missing.reduce((named, path) => named.replaceAll(placeholderOf(path), `{${path}}`), text)

/** Endpoints have to be on the authorization server's origin, and outside of the account API. */
function placeholderOf(path: string): string {
  if (path === 'bank.id') return 'not-stated'
  if (path === 'bank.name') return 'Not stated'
  if (path === 'bank.country') return 'XX'
  if (path.startsWith('oauth.authorizationParameters.')) return `{${path}}`
  const host = path === 'apiBase' ? 'api' : 'auth'
  const name = path.split('.').at(-1)!.toLowerCase()
  return path === 'authorizationServer' ? `https://auth.${DOMAIN}` : `https://${host}.${DOMAIN}/${name}`
}

const nest = ([name, ...rest]: readonly string[], value: string): unknown =>
  name === undefined ? value : { [name]: nest(rest, value) }
