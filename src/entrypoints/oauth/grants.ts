import type { AccessLimits } from '../../kernel/access-limits.ts'
import { asGatewayError, ERROR_CODES, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { refusalChallenge, scopeChallenge, tokenChallenge } from '../../kernel/challenges.ts'
import { jsonReply, route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { GrantManagementScope } from '../../kernel/scopes.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { Authenticate } from './guard.ts'
import { setProven } from './limits.ts'
import type { OauthStore } from './store.ts'

/** What grant management depends on. */
export interface GrantDependencies {
  readonly issuer: string
  readonly consents: Consents
  readonly store: OauthStore
  readonly authenticate: Authenticate
  readonly limits: AccessLimits
}

/**
 * Grant Management for OAuth 2.0: a client reads and ends what a customer granted it, with a token for itself that has the
 * scope of the action. Another client's grant is answered as one that does not exist. There are no CORS headers: such a
 * token ends grants of every customer, and belongs on a server.
 */
export function grantRoutes({ issuer, consents, store, authenticate, limits }: GrantDependencies): Route[] {
  const managing =
    (scope: GrantManagementScope, handle: (consent: Consent) => Promise<HttpReply>): Route['handle'] =>
    async (request) => {
      const caller = await callerOf(request)
      if ('status' in caller) return caller
      limits.checkClient(caller.clientId)
      setProven(request.raw.request, caller.clientId)
      if (caller.kind !== 'CLIENT' || !caller.scopes.has(scope))
        return refuse('FORBIDDEN', request, scopeChallenge(caller.tokenType, [scope], issuer))
      const consent = await consents.liveByOauthGrant(request.params['id'] ?? '')
      if (consent?.clientId !== caller.clientId) throw new GatewayError('NOT_FOUND')
      return handle(consent)
    }

  /** Who asks, or the refusal of a request without a good token. */
  async function callerOf(request: HttpRequest) {
    try {
      const caller = await authenticate(request)
      return caller.kind === 'ANONYMOUS' ? refuse('UNAUTHENTICATED', request, tokenChallenge(issuer)) : caller
    } catch (thrown) {
      const error = asGatewayError(thrown)
      if (error.facts.status !== 401) throw thrown
      return refuse(error.code, request, refusalChallenge(error, issuer))
    }
  }

  return [
    route(
      'GET',
      '/oauth/grants/{id}',
      managing('grant_management_query', ({ scopes, purposes, bankId, expiresAt }) =>
        Promise.resolve(
          jsonReply(200, {
            scopes: [{ scope: scopes.join(' ') }],
            purposes,
            bank: bankId,
            expires_at: expiresAt.toISOString(),
          }),
        ),
      ),
    ),
    route(
      'DELETE',
      '/oauth/grants/{id}',
      managing('grant_management_revoke', async (consent) => {
        await consents.revoke(consent.id, 'CLIENT')
        if (consent.oauthGrantId) await store.forgetGrant(consent.oauthGrantId)
        return { status: 204 }
      }),
    ),
  ]
}

function refuse(code: ErrorCode, { requestId }: HttpRequest, challenge: string): Exclude<HttpReply, 'HANDED_OVER'> {
  const { status, message } = ERROR_CODES[code]
  const reply = jsonReply(status, { error: { code, message, requestId } }, { 'www-authenticate': challenge })
  return reply as Exclude<HttpReply, 'HANDED_OVER'>
}
