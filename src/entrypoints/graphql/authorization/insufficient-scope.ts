import { insufficientScopeChallenge, tokenChallenge } from '../../../kernel/challenges.ts'
import type { Caller } from '../../../kernel/request-context.ts'
import type { DeniedField } from '../execution/plan.ts'

/**
 * The header with which a request is refused for its denied fields (RFC 6750, 3.1): the scopes with which it would succeed, as
 * the caller's own and of each field the alternative that adds the fewest. No challenge where no scope would help.
 */
export function denialHeaders(denied: readonly DeniedField[], caller: Caller, issuer: string): Record<string, string> {
  if (caller.kind === 'ANONYMOUS') return { 'www-authenticate': tokenChallenge(issuer) }
  const scopes = new Set<string>(caller.scopes)
  for (const { missingScopes } of denied) {
    const missingLists = missingScopes.map((list) => list.filter((scope) => !scopes.has(scope)))
    const smallest = missingLists.toSorted((one, other) => one.length - other.length)[0]
    if (!smallest) return {}
    for (const scope of smallest) scopes.add(scope)
  }
  return { 'www-authenticate': insufficientScopeChallenge(caller.tokenType, [...scopes], issuer) }
}

/** 401 where there is no token at all, 403 for one that lacks scopes. */
export const denialStatus = (caller: Caller): number => (caller.kind === 'ANONYMOUS' ? 401 : 403)
