import { createHash, randomBytes } from 'node:crypto'
import { createLocalJWKSet, jwtVerify, SignJWT, type JWTPayload } from 'jose'
import type { BankConsent, SandboxBank } from './bank.ts'
import { accountsPage, problemPage, signInPage } from './pages.ts'
import { SANDBOX_PASSWORD } from './personas.ts'
import { handleRegistration } from './registrations.ts'
import { json, redirect, HttpError, type Routes, type SandboxResponse, type SandboxRequest } from './server.ts'

/** How the standards differ in their authorization server. */
export interface AuthorizationProfile {
  /** Returns the consent that an authorization request names, or creates it from the request. */
  findConsent(parameters: Readonly<Record<string, unknown>>, clientId: string): BankConsent | undefined
  readonly usesSignedRequests: boolean
  readonly usesOpenIdConnect: boolean
  /** Whether authorization requests must be pushed (RFC 9126). */
  readonly usesPar: boolean
  /** Members that the standard adds to the token response. */
  extendTokenResponse?(consent: BankConsent): Record<string, unknown>
  /** Members that the standard adds to the metadata. */
  metadata?(): Record<string, unknown>
  /** Further endpoints of the standard that require client authentication. */
  routes?(authenticateClient: (request: SandboxRequest) => Promise<string>): Routes
  /** Called when the customer has agreed. */
  onAuthorized(consent: BankConsent): void
}

interface SignInSession {
  readonly clientId: string
  readonly consentId: string
  readonly redirectUri: string
  readonly state: string
  readonly nonce: string | undefined
  readonly codeChallenge: string
  customer: string | null
}

interface AuthorizationCode {
  readonly session: SignInSession
  readonly expiresAt: number
}

const ACCESS_TOKEN_SECONDS = 600
const REFRESH_TOKEN_SECONDS = 365 * 86_400
const CODE_LIFETIME_MS = 60_000
const html = (status: number, body: string): SandboxResponse => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body,
})
const oauthError = (status: number, error: string): HttpError => new HttpError(json(status, { error }))

/** The bank's authorization server and its pages: private_key_jwt clients, PKCE, single-use codes. */
export function oauthRoutes(bank: SandboxBank, profile: AuthorizationProfile): Routes {
  const sessions = new Map<string, SignInSession>()
  const codes = new Map<string, AuthorizationCode>()
  const usedAssertions = new Set<string>()
  const pushedRequests = new Map<
    string,
    { parameters: Record<string, unknown>; clientId: string; expiresAtMs: number }
  >()

  const metadata = () =>
    json(200, {
      issuer: bank.origin,
      authorization_endpoint: `${bank.origin}/authorize`,
      token_endpoint: `${bank.origin}/token`,
      jwks_uri: `${bank.origin}/jwks`,
      response_types_supported: ['code'],
      response_modes_supported: profile.usesSignedRequests ? ['jwt', 'query.jwt'] : ['query'],
      grant_types_supported: ['authorization_code', 'client_credentials', 'refresh_token'],
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['private_key_jwt'],
      token_endpoint_auth_signing_alg_values_supported: ['ES256'],
      id_token_signing_alg_values_supported: ['ES256'],
      authorization_signing_alg_values_supported: ['ES256'],
      subject_types_supported: ['public'],
      scopes_supported: profile.usesOpenIdConnect ? ['openid', 'accounts'] : ['AIS'],
      ...(profile.usesPar && {
        pushed_authorization_request_endpoint: `${bank.origin}/par`,
        require_pushed_authorization_requests: true,
      }),
      ...(profile.usesSignedRequests && { registration_endpoint: `${bank.origin}/register` }),
      ...profile.metadata?.(),
      require_signed_request_object: profile.usesSignedRequests,
    })

  const sign = async (claims: JWTPayload, audience: string, seconds: number): Promise<string> =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
      .setIssuer(bank.origin)
      .setAudience(audience)
      .setIssuedAt(Math.floor(bank.now().getTime() / 1_000))
      .setExpirationTime(Math.floor(bank.now().getTime() / 1_000) + seconds)
      .sign(await bank.signingKey())

  const redirectToClient = async (session: SignInSession, result: Record<string, string>): Promise<SandboxResponse> => {
    const target = new URL(session.redirectUri)
    const authorizationResponse = { ...result, state: session.state, iss: bank.origin }
    if (profile.usesSignedRequests)
      target.searchParams.set('response', await sign(authorizationResponse, session.clientId, 120))
    else for (const [name, value] of Object.entries(authorizationResponse)) target.searchParams.set(name, value)
    return redirect(target.href)
  }

  const authenticateClient = async ({ form }: SandboxRequest): Promise<string> => {
    const assertion = form.get('client_assertion') ?? ''
    const clientId = unverifiedIssuer(assertion)
    const client = bank.client(clientId)
    if (!client) throw oauthError(401, 'invalid_client')
    const { payload } = await jwtVerify(assertion, createLocalJWKSet({ keys: client.keys }), {
      issuer: clientId,
      subject: clientId,
      audience: [bank.origin, `${bank.origin}/token`],
      algorithms: ['ES256'],
      requiredClaims: ['jti', 'exp'],
      currentDate: bank.now(),
    }).catch(() => {
      throw oauthError(401, 'invalid_client')
    })
    if (usedAssertions.has(payload.jti!)) throw oauthError(401, 'invalid_client')
    usedAssertions.add(payload.jti!)
    return clientId
  }

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
        id_token: await sign({ sub: customer!, nonce, openbanking_intent_id: consentId }, clientId, 300),
      }
      const consent = bank.consent(consentId)
      return json(200, {
        ...issueTokens(clientId, consentId),
        ...idToken,
        ...(consent && profile.extendTokenResponse?.(consent)),
      })
    },

    refresh_token({ form }, clientId) {
      const token = bank.token(form.get('refresh_token') ?? '', 'REFRESH')
      const consent = token?.consentId ? bank.consent(token.consentId) : undefined
      if (token?.clientId !== clientId || consent?.status !== 'AUTHORIZED') throw oauthError(400, 'invalid_grant')
      return Promise.resolve(json(200, issueTokens(clientId, consent.id)))
    },
  }

  /** The parameters of an authorization request; undefined if a required signature is missing or invalid. */
  async function parseRequest(
    parameters: URLSearchParams,
    clientId: string,
  ): Promise<Record<string, unknown> | undefined> {
    if (!profile.usesSignedRequests) return Object.fromEntries(parameters)
    const keys = createLocalJWKSet({ keys: bank.client(clientId)?.keys ?? [] })
    const verified = await jwtVerify(parameters.get('request') ?? '', keys, {
      issuer: clientId,
      audience: bank.origin,
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

  const findSession = (form: URLSearchParams): [string, SignInSession] => {
    const id = form.get('session') ?? ''
    const session = sessions.get(id)
    if (!session)
      throw new HttpError(html(400, problemPage(bank.config.name, 'This sign-in has ended. Please start again.')))
    return [id, session]
  }

  return {
    'GET /.well-known/oauth-authorization-server': metadata,
    'GET /.well-known/openid-configuration': metadata,
    'GET /jwks': () => json(200, bank.publicKeys()),

    'POST /token': async (request) => {
      const clientId = await authenticateClient(request)
      const grant = Object.hasOwn(grants, request.form.get('grant_type') ?? '')
        ? grants[request.form.get('grant_type')!]
        : undefined
      if (!grant) throw oauthError(400, 'unsupported_grant_type')
      return grant(request, clientId)
    },

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

    ...profile.routes?.(authenticateClient),
    ...(profile.usesSignedRequests && {
      'POST /register': (request: SandboxRequest) => handleRegistration(bank, request),
    }),

    'GET /authorize': async ({ url }) => {
      const rejectRequest = (reason: string) => html(400, problemPage(bank.config.name, reason))
      const clientId = url.searchParams.get('client_id') ?? ''
      const client = bank.client(clientId)
      if (!client) return rejectRequest('This bank does not know the client that sent you here.')
      const parameters = profile.usesPar
        ? consumePushedRequest(url.searchParams.get('request_uri') ?? '', clientId)
        : await parseRequest(url.searchParams, clientId)
      if (!parameters) return rejectRequest('The request is not signed or pushed as required.')
      const { redirect_uri, code_challenge, code_challenge_method, state, nonce } = parameters
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

    'POST /sign-in': async ({ form }) => {
      const [id, session] = findSession(form)
      if (form.get('decision') === 'cancel') return completeSignIn(id, session, 'REJECTED')
      const customer = (form.get('customer') ?? '').trim().toLowerCase()
      const accounts = bank.accountsOf(customer)
      if (accounts.length === 0 || form.get('password') !== SANDBOX_PASSWORD)
        return html(200, signInPage(bank.config.name, id, true))
      session.customer = customer
      const accountOptions = accounts.map((account) => ({
        id: account.id,
        label: `${account.kind.toLowerCase()} ending in ${account.number.slice(-4)} (${account.currency})`,
      }))
      return html(200, accountsPage(bank.config.name, id, 'Guichet', accountOptions))
    },

    'POST /choose': async ({ form }) => {
      const [id, session] = findSession(form)
      const consent = bank.consent(session.consentId)
      if (!session.customer || consent?.status !== 'AWAITING_AUTHORIZATION') throw oauthError(400, 'invalid_request')
      const ownAccountIds = new Set(bank.accountsOf(session.customer).map((account) => account.id))
      const chosenAccountIds = form.getAll('account').filter((account) => ownAccountIds.has(account))
      if (form.get('decision') !== 'allow' || chosenAccountIds.length === 0)
        return completeSignIn(id, session, 'REJECTED')
      consent.customer = session.customer
      consent.accounts = chosenAccountIds
      return completeSignIn(id, session, 'AUTHORIZED')
    },
  }

  async function completeSignIn(
    id: string,
    session: SignInSession,
    status: 'AUTHORIZED' | 'REJECTED',
  ): Promise<SandboxResponse> {
    sessions.delete(id)
    const consent = bank.consent(session.consentId)
    if (consent) {
      if (status === 'AUTHORIZED') profile.onAuthorized(consent)
      consent.status = status
      bank.save()
    }
    if (status === 'REJECTED') return redirectToClient(session, { error: 'access_denied' })
    const code = randomBytes(24).toString('base64url')
    codes.set(code, { session, expiresAt: bank.now().getTime() + CODE_LIFETIME_MS })
    return redirectToClient(session, { code })
  }
}

function unverifiedIssuer(assertion: string): string {
  try {
    const claims = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      iss?: unknown
    }
    return typeof claims.iss === 'string' ? claims.iss : ''
  } catch {
    return ''
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
