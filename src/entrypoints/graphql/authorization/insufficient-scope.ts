import { insufficientScopeChallenge, tokenChallenge } from '../../../kernel/challenges.ts'
import type { Caller } from '../../../kernel/request-context.ts'
import type { DeniedField } from '../execution/plan.ts'

/**
 * The challenge for a request with denied fields (RFC 6750, 3.1). It names scopes with which the request would succeed: the
 * caller's own, and for each denied field the alternative that adds the fewest. There is no challenge if no scope would help.
 */
export function denialHeaders(denied: readonly DeniedField[], caller: Caller, issuer: string): Record<string, string> {
  if (caller.kind === 'ANONYMOUS') return { 'www-authenticate': tokenChallenge(issuer) }
  const scopes = new Set<string>(caller.scopes)
  for (const { missingScopes } of denied) {
    const missingLists = missingScopes.map((list) => list.filter((scope) => !scopes.has(scope)))
    const smallest = missingLists.toSorted((a, b) => a.length - b.length)[0]
    if (!smallest) return {}
    for (const scope of smallest) scopes.add(scope)
  }
  return { 'www-authenticate': insufficientScopeChallenge(caller.tokenType, [...scopes], issuer) }
}

/** The HTTP status for denied fields: 401 without a token, 403 with a token that lacks scopes. */
export const denialStatus = (caller: Caller): number => (caller.kind === 'ANONYMOUS' ? 401 : 403)
