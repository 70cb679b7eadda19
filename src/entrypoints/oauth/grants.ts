import type { AccessLimits } from '../../kernel/access-limits.ts'
import { toGatewayError, ERROR_CODES, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { invalidTokenChallenge, insufficientScopeChallenge, tokenChallenge } from '../../kernel/challenges.ts'
import { jsonResponse, route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { GrantManagementScope } from '../../kernel/scopes.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { Authenticate } from './guard.ts'
import { markClientAuthenticated } from './rate-limits.ts'
import type { OauthStore } from './store.ts'

/** Dependencies of grant management. */
export interface GrantDependencies {
  readonly issuer: string
  readonly consents: Consents
  readonly store: OauthStore
  readonly authenticate: Authenticate
  readonly limits: AccessLimits
}

/**
 * Grant Management for OAuth 2.0: a client queries and revokes its own grants with a client token that has the scope of the
 * action. An unknown grant and another client's grant both return `NOT_FOUND`. There are no CORS headers, because such a
 * token can revoke the grants of every customer and belongs on a server.
 */
export function grantRoutes({ issuer, consents, store, authenticate, limits }: GrantDependencies): Route[] {
  const grantHandler =
    (scope: GrantManagementScope, handle: (consent: Consent) => Promise<HttpResponse>): Route['handle'] =>
    async (request) => {
      const caller = await authenticateCaller(request)
      if ('status' in caller) return caller
      limits.checkClient(caller.clientId)
      markClientAuthenticated(request.raw.request, caller.clientId)
      if (caller.kind !== 'CLIENT' || !caller.scopes.has(scope))
        return errorReply('FORBIDDEN', request, insufficientScopeChallenge(caller.tokenType, [scope], issuer))
      const consent = await consents.findActiveByOauthGrant(request.params['id'] ?? '')
      if (consent?.clientId !== caller.clientId) throw new GatewayError('NOT_FOUND')
      return handle(consent)
    }

  /** The caller, or the 401 response for a request without a valid token. */
  async function authenticateCaller(request: HttpRequest) {
    try {
      const caller = await authenticate(request)
      return caller.kind === 'ANONYMOUS' ? errorReply('UNAUTHENTICATED', request, tokenChallenge(issuer)) : caller
    } catch (thrown) {
      const error = toGatewayError(thrown)
      if (error.definition.httpStatus !== 401) throw thrown
      return errorReply(error.code, request, invalidTokenChallenge(error, issuer))
    }
  }

  return [
    route(
      'GET',
      '/oauth/grants/{id}',
      grantHandler('grant_management_query', ({ scopes, purposes, bankId, expiresAt }) =>
        Promise.resolve(
          jsonResponse(200, {
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
      grantHandler('grant_management_revoke', async (consent) => {
        await consents.revoke(consent.id, 'CLIENT')
        await store.deleteGrant(consent.oauthGrantId)
        return { status: 204 }
      }),
    ),
  ]
}

function errorReply(code: ErrorCode, { requestId }: HttpRequest, challenge: string): Exclude<HttpResponse, 'HIJACKED'> {
  const { httpStatus, message } = ERROR_CODES[code]
  const reply = jsonResponse(httpStatus, { error: { code, message, requestId } }, { 'www-authenticate': challenge })
  return reply as Exclude<HttpResponse, 'HIJACKED'>
}
