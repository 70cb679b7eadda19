import { createHash } from 'node:crypto'
import type { SandboxBank } from './bank.ts'
import { oauthError, signJwt } from './oauth-messages.ts'
import type { AuthorizationProfile } from './oauth-profile.ts'
import type { AuthorizationCode } from './oauth-sign-in.ts'
import { json, type Routes, type SandboxRequest, type SandboxResponse } from './server.ts'

const ACCESS_TOKEN_SECONDS = 600
const REFRESH_TOKEN_SECONDS = 365 * 86_400

/** The token endpoint. A code is accepted once. */
export function tokenRoutes(
  bank: SandboxBank,
  profile: AuthorizationProfile,
  codes: Map<string, AuthorizationCode>,
  authenticateClient: (request: SandboxRequest) => Promise<string>,
): Routes {
  const issueTokens = (clientId: string, consentId: string): Record<string, unknown> => ({
    access_token: bank.issueToken('ACCESS', clientId, consentId, ACCESS_TOKEN_SECONDS),
    refresh_token: bank.issueToken('REFRESH', clientId, consentId, REFRESH_TOKEN_SECONDS),
    token_type: 'Bearer',
    expires_in: ACCESS_TOKEN_SECONDS,
  })

  const grants: Record<string, (request: SandboxRequest, clientId: string) => Promise<SandboxResponse>> = {
    client_credentials: (_request, clientId) =>
      Promise.resolve(
        json(200, {
          access_token: bank.issueToken('ACCESS', clientId, null, ACCESS_TOKEN_SECONDS),
          token_type: 'Bearer',
          expires_in: ACCESS_TOKEN_SECONDS,
        }),
      ),

    async authorization_code({ form }, clientId) {
      const value = form.get('code') ?? ''
      const code = codes.get(value)
      codes.delete(value)
      const challenge = createHash('sha256')
        .update(form.get('code_verifier') ?? '')
        .digest('base64url')
      if (!code || code.expiresAt < bank.now().getTime() || code.session.clientId !== clientId)
        throw oauthError(400, 'invalid_grant')
      if (code.session.codeChallenge !== challenge || code.session.redirectUri !== form.get('redirect_uri'))
        throw oauthError(400, 'invalid_grant')
      const { consentId, nonce, customer } = code.session
      const idToken = profile.usesOpenIdConnect && {
        id_token: await signJwt(bank, { sub: customer!, nonce, openbanking_intent_id: consentId }, clientId, 300),
      }
      const consent = bank.consent(consentId)
      const { usesPlainRequests = false } = bank.client(clientId)?.deviations ?? {}
      return json(200, {
        ...issueTokens(clientId, consentId),
        ...idToken,
        ...(consent && !usesPlainRequests && profile.extendTokenResponse?.(consent)),
      })
    },

    refresh_token({ form }, clientId) {
      const token = bank.token(form.get('refresh_token') ?? '', 'REFRESH')
      const consent = token?.consentId ? bank.consent(token.consentId) : undefined
      if (token?.clientId !== clientId || consent?.status !== 'AUTHORIZED') throw oauthError(400, 'invalid_grant')
      return Promise.resolve(json(200, issueTokens(clientId, consent.id)))
    },
  }

  return {
    // RFC 7009: the end of the grant, of which nothing is said if there is none.
    'POST /revoke': async (request) => {
      const clientId = await authenticateClient(request)
      const value = request.form.get('token') ?? ''
      const token = bank.token(value, 'REFRESH') ?? bank.token(value, 'ACCESS')
      const consent = token?.clientId === clientId && token.consentId ? bank.consent(token.consentId) : undefined
      if (consent) bank.endConsent(consent, 'REVOKED')
      return json(200, {})
    },
    'POST /token': async (request) => {
      const clientId = await authenticateClient(request)
      const grant = Object.hasOwn(grants, request.form.get('grant_type') ?? '')
        ? grants[request.form.get('grant_type')!]
        : undefined
      if (!grant) throw oauthError(400, 'unsupported_grant_type')
      return grant(request, clientId)
    },
  }
}
