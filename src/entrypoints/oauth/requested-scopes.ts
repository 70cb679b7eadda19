import { errors } from 'oidc-provider'
import { closestMatch } from '../../kernel/closest-match.ts'

/** Scopes of OpenID Connect, which are not scopes of the API. */
const PROTOCOL_SCOPES = ['openid', 'offline_access']
/** Only values with the form of a scope are repeated in an error. */
const SAFE_TO_ECHO = /^[a-z]{1,20}(:[a-z_-]{1,20})?$/

/** Throws `invalid_scope` (RFC 6749, 5.2) with each requested scope that is not in `allowed`, and the closest allowed scope. */
export function requireAllowedScopes(requested: unknown, allowed: readonly string[]): void {
  const disallowed = (typeof requested === 'string' ? requested : '')
    .split(' ')
    .filter((scope) => scope !== '' && !PROTOCOL_SCOPES.includes(scope) && !allowed.includes(scope))
  if (disallowed.length === 0) return
  const echoed = disallowed.filter((scope) => SAFE_TO_ECHO.test(scope)).slice(0, MAX_NAMED)
  const faults = echoed.map((scope) => {
    const nearest = closestMatch(scope, allowed)
    return `${scope} cannot be granted to this client here${nearest === undefined ? '' : ` (did you mean ${nearest}?)`}`
  })
  const otherFaults =
    disallowed.length > echoed.length ? ['other requested scopes cannot be granted to this client here'] : []
  const allowedText = allowed.length === 0 ? 'it has none for this kind of token' : `it has ${allowed.join(' ')}`
  throw new errors.InvalidScope(`${[...faults, ...otherFaults].join('; ')}; ${allowedText}`, echoed.join(' '))
}
const MAX_NAMED = 5
