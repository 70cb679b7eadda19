import { errors } from 'oidc-provider'
import { nearestOf } from '../../kernel/nearest.ts'

/** Scopes of OpenID Connect, which are no scopes of the API. */
const PROTOCOL_SCOPES = ['openid', 'offline_access']
/** What looks like a scope may be repeated in an error; anything else could be anything. */
const REPEATABLE = /^[a-z]{1,20}(:[a-z_-]{1,20})?$/

/** Throws `invalid_scope` (RFC 6749, 5.2) that names each requested scope which is none of `allowed`, and the nearest one that is. */
export function requireAllowed(requested: unknown, allowed: readonly string[]): void {
  const unknown = (typeof requested === 'string' ? requested : '')
    .split(' ')
    .filter((scope) => scope !== '' && !PROTOCOL_SCOPES.includes(scope) && !allowed.includes(scope))
  if (unknown.length === 0) return
  const named = unknown.filter((scope) => REPEATABLE.test(scope)).slice(0, MAX_NAMED)
  const faults = named.map((scope) => {
    const nearest = nearestOf(scope, allowed)
    return `${scope} cannot be granted to this client here${nearest === undefined ? '' : ` (did you mean ${nearest}?)`}`
  })
  const rest = unknown.length > named.length ? ['other requested scopes cannot be granted to this client here'] : []
  const all = allowed.length === 0 ? 'it has none for this kind of token' : `it has ${allowed.join(' ')}`
  throw new errors.InvalidScope(`${[...faults, ...rest].join('; ')}; ${all}`, named.join(' '))
}
const MAX_NAMED = 5
