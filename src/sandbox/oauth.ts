import { randomBytes } from 'node:crypto'
import { createLocalJWKSet, jwtVerify } from 'jose'
import type { BankConsent, SandboxBank } from './bank.ts'
import { createClientAuthentication, oauthError } from './oauth-messages.ts'
import { authorizationServerMetadata } from './oauth-metadata.ts'
import type { AuthorizationProfile } from './oauth-profile.ts'
import { CODE_LIFETIME_MS, html, signInRoutes, type AuthorizationCode, type SignInSession } from './oauth-sign-in.ts'
import { tokenRoutes } from './oauth-tokens.ts'
import { problemPage, signInPage } from './pages.ts'
import { handleRegistration } from './registrations.ts'
import { json, type Routes, type SandboxRequest } from './server.ts'

interface PushedRequest {
  readonly parameters: Record<string, unknown>
  readonly clientId: string
  readonly expiresAtMs: number
}

/** The bank's authorization server and its pages: private_key_jwt clients, PKCE, single-use codes. */
export function oauthRoutes(bank: SandboxBank, profile: AuthorizationProfile): Routes {
  const sessions = new Map<string, SignInSession>()
  const codes = new Map<string, AuthorizationCode>()
  const authenticateClient = createClientAuthentication(bank)
  const metadata = () => authorizationServerMetadata(bank, profile)
  return {
    'GET /.well-known/oauth-authorization-server': metadata,
    'GET /.well-known/openid-configuration': metadata,
    'GET /jwks': () => json(200, bank.publicKeys()),
    ...tokenRoutes(bank, profile, codes, authenticateClient),
    ...authorizationRoutes(bank, profile, sessions, authenticateClient),
    ...signInRoutes(bank, profile, sessions, codes),
    ...profile.routes?.(authenticateClient),
    ...(profile.usesSignedRequests && {
      'POST /register': (request: SandboxRequest) => handleRegistration(bank, request),
    }),
  }
}

/** The authorization endpoint, and the endpoint for pushed requests. */
function authorizationRoutes(
  bank: SandboxBank,
  profile: AuthorizationProfile,
  sessions: Map<string, SignInSession>,
  authenticateClient: (request: SandboxRequest) => Promise<string>,
): Routes {
  const pushedRequests = new Map<string, PushedRequest>()

  /** The parameters of an authorization request; undefined if a required signature is missing or invalid. */
  async function parseRequest(
    parameters: URLSearchParams,
    clientId: string,
  ): Promise<Record<string, unknown> | undefined> {
    const { keys: clientKeys = [], deviations = {} } = bank.client(clientId) ?? {}
    if (!profile.usesSignedRequests || deviations.usesPlainRequests) return Object.fromEntries(parameters)
    const keySet = createLocalJWKSet({ keys: clientKeys })
    const verified = await jwtVerify(parameters.get('request') ?? '', keySet, {
      issuer: clientId,
      audience: deviations.requestAudience ?? bank.origin,
      algorithms: [deviations.signingAlgorithm ?? 'ES256'],
      currentDate: bank.now(),
    }).catch(() => undefined)
    return verified?.payload
  }

  function consumePushedRequest(uri: string, clientId: string): Record<string, unknown> | undefined {
    const pushedRequest = pushedRequests.get(uri)
    pushedRequests.delete(uri)
    return pushedRequest?.clientId === clientId && pushedRequest.expiresAtMs > bank.now().getTime()
      ? pushedRequest.parameters
      : undefined
  }

  return {
    ...(profile.usesPar && {
      'POST /par': async (request: SandboxRequest) => {
        const clientId = await authenticateClient(request)
        const parameters = await parseRequest(request.form, clientId)
        if (!parameters) throw oauthError(400, 'invalid_request_object')
        const uri = `urn:ietf:params:oauth:request_uri:${randomBytes(18).toString('base64url')}`
        pushedRequests.set(uri, { parameters, clientId, expiresAtMs: bank.now().getTime() + CODE_LIFETIME_MS })
        return json(201, { request_uri: uri, expires_in: CODE_LIFETIME_MS / 1_000 })
      },
    }),

    'GET /authorize': async ({ url }) => {
      const rejectRequest = (reason: string) => html(400, problemPage(bank.config.name, reason))
      const clientId = url.searchParams.get('client_id') ?? ''
      const client = bank.client(clientId)
      if (!client) return rejectRequest('This bank does not know the client that sent you here.')
      const isHybrid = client.deviations?.hybridResponseMode !== undefined
      const parameters =
        profile.usesPar && !client.deviations?.usesPlainRequests
          ? consumePushedRequest(url.searchParams.get('request_uri') ?? '', clientId)
          : await parseRequest(url.searchParams, clientId)
      if (!parameters) return rejectRequest('The request is not signed or pushed as required.')
      const { redirect_uri, code_challenge, code_challenge_method, state, nonce } = parameters
      if (parameters['response_type'] !== (isHybrid ? 'code id_token' : 'code'))
        return rejectRequest('The response type is not the registered one.')
      if (redirect_uri !== client.redirectUri) return rejectRequest('The redirect URI is not registered at this bank.')
      if (typeof code_challenge !== 'string' || code_challenge_method !== 'S256')
        return rejectRequest('The request has no S256 code challenge.')
      const consent = profile.findConsent(parameters, clientId)
      if (consent?.clientId !== clientId || consent.status !== 'AWAITING_AUTHORIZATION')
        return rejectRequest('There is no consent waiting for your agreement.')
      const id = randomBytes(18).toString('base64url')
      sessions.set(id, {
        clientId,
        consentId: consent.id,
        redirectUri: client.redirectUri,
        codeChallenge: code_challenge,
        customer: null,
        state: String(state),
        nonce: typeof nonce === 'string' ? nonce : undefined,
      })
      return html(200, signInPage(bank.config.name, id, false))
    },
  }
}

/** The client and the consent of a request's bearer token. A client credentials token has no consent. */
export function authenticateBearer(
  bank: SandboxBank,
  request: SandboxRequest,
): { clientId: string; consent: BankConsent | undefined } | undefined {
  const token = bank.token(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '', 'ACCESS')
  if (!token) return undefined
  return { clientId: token.clientId, consent: token.consentId ? bank.consent(token.consentId) : undefined }
}
