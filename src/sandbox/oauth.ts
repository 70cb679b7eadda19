import { createHash, randomBytes } from 'node:crypto'
import { createLocalJWKSet, jwtVerify, SignJWT, type JWTPayload } from 'jose'
import type { BankConsent, SandboxBank } from './bank.ts'
import { accountsPage, problemPage, signInPage } from './pages.ts'
import { SANDBOX_PASSWORD } from './people.ts'
import { takeRegistration } from './registrations.ts'
import { json, redirect, Refusal, type Routes, type SandboxReply, type SandboxRequest } from './server.ts'

/** How the standards differ at the authorization endpoint. */
export interface SignInRules {
  /** The consent that an authorization request is about: one that was made before, or made now of what it asks for. */
  consentOf(parameters: Readonly<Record<string, unknown>>, clientId: string): BankConsent | undefined
  readonly signedRequests: boolean
  readonly openIdConnect: boolean
  /** Authorization requests are pushed first (RFC 9126), and come by no other way. */
  readonly pushed: boolean
  /** What the standard adds to the token endpoint's answer. */
  withTokens?(consent: BankConsent): Record<string, unknown>
  /** Members that the standard adds to the metadata. */
  metadata?(): Record<string, unknown>
  /** Addresses of the standard that take the client's own proof of itself. */
  routes?(authenticated: (request: SandboxRequest) => Promise<string>): Routes
  /** Called once the customer agreed. */
  agreed(consent: BankConsent): void
}

interface SignInSession {
  readonly clientId: string
  readonly consentId: string
  readonly redirectUri: string
  readonly state: string
  readonly nonce: string | undefined
  readonly challenge: string
  customer: string | null
}

interface Code {
  readonly session: SignInSession
  readonly expiresAt: number
}

const ACCESS_SECONDS = 600
const REFRESH_SECONDS = 365 * 86_400
const CODE_MS = 60_000
const html = (status: number, body: string): SandboxReply => ({
  status,
  headers: { 'content-type': 'text/html; charset=utf-8' },
  body,
})
const oauthError = (status: number, error: string): Refusal => new Refusal(json(status, { error }))

/** The bank's authorization server with its pages: private_key_jwt clients, PKCE, codes that work once. */
export function oauthRoutes(bank: SandboxBank, rules: SignInRules): Routes {
  const sessions = new Map<string, SignInSession>()
  const codes = new Map<string, Code>()
  const usedAssertions = new Set<string>()
  const pushed = new Map<string, { parameters: Record<string, unknown>; clientId: string; untilMs: number }>()

  const metadata = () =>
    json(200, {
      issuer: bank.origin,
      authorization_endpoint: `${bank.origin}/authorize`,
      token_endpoint: `${bank.origin}/token`,
      jwks_uri: `${bank.origin}/jwks`,
      response_types_supported: ['code'],
      response_modes_supported: rules.signedRequests ? ['jwt', 'query.jwt'] : ['query'],
      grant_types_supported: ['authorization_code', 'client_credentials', 'refresh_token'],
      code_challenge_methods_supported: ['S256'],
      token_endpoint_auth_methods_supported: ['private_key_jwt'],
      token_endpoint_auth_signing_alg_values_supported: ['ES256'],
      id_token_signing_alg_values_supported: ['ES256'],
      authorization_signing_alg_values_supported: ['ES256'],
      subject_types_supported: ['public'],
      scopes_supported: rules.openIdConnect ? ['openid', 'accounts'] : ['AIS'],
      ...(rules.pushed && {
        pushed_authorization_request_endpoint: `${bank.origin}/par`,
        require_pushed_authorization_requests: true,
      }),
      ...(rules.signedRequests && { registration_endpoint: `${bank.origin}/register` }),
      ...rules.metadata?.(),
      require_signed_request_object: rules.signedRequests,
    })

  const sign = async (claims: JWTPayload, audience: string, seconds: number): Promise<string> =>
    new SignJWT(claims)
      .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
      .setIssuer(bank.origin)
      .setAudience(audience)
      .setIssuedAt(Math.floor(bank.now().getTime() / 1_000))
      .setExpirationTime(Math.floor(bank.now().getTime() / 1_000) + seconds)
      .sign(await bank.signingKey())

  const sendBack = async (session: SignInSession, result: Record<string, string>): Promise<SandboxReply> => {
    const target = new URL(session.redirectUri)
    const answer = { ...result, state: session.state, iss: bank.origin }
    if (rules.signedRequests) target.searchParams.set('response', await sign(answer, session.clientId, 120))
    else for (const [name, value] of Object.entries(answer)) target.searchParams.set(name, value)
    return redirect(target.href)
  }

  const authenticated = async ({ form }: SandboxRequest): Promise<string> => {
    const assertion = form.get('client_assertion') ?? ''
    const claimed = claimedIssuer(assertion)
    const client = bank.client(claimed)
    if (!client) throw oauthError(401, 'invalid_client')
    const { payload } = await jwtVerify(assertion, createLocalJWKSet({ keys: client.keys }), {
      issuer: claimed,
      subject: claimed,
      audience: [bank.origin, `${bank.origin}/token`],
      algorithms: ['ES256'],
      requiredClaims: ['jti', 'exp'],
      currentDate: bank.now(),
    }).catch(() => {
      throw oauthError(401, 'invalid_client')
    })
    if (usedAssertions.has(payload.jti!)) throw oauthError(401, 'invalid_client')
    usedAssertions.add(payload.jti!)
    return claimed
  }

  const tokens = (clientId: string, consentId: string): Record<string, unknown> => ({
    access_token: bank.issueToken('ACCESS', clientId, consentId, ACCESS_SECONDS),
    refresh_token: bank.issueToken('REFRESH', clientId, consentId, REFRESH_SECONDS),
    token_type: 'Bearer',
    expires_in: ACCESS_SECONDS,
  })

  const grants: Record<string, (request: SandboxRequest, clientId: string) => Promise<SandboxReply>> = {
    client_credentials: (_request, clientId) =>
      Promise.resolve(
        json(200, {
          access_token: bank.issueToken('ACCESS', clientId, null, ACCESS_SECONDS),
          token_type: 'Bearer',
          expires_in: ACCESS_SECONDS,
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
      if (code.session.challenge !== challenge || code.session.redirectUri !== form.get('redirect_uri'))
        throw oauthError(400, 'invalid_grant')
      const { consentId, nonce, customer } = code.session
      const idToken = rules.openIdConnect && {
        id_token: await sign({ sub: customer!, nonce, openbanking_intent_id: consentId }, clientId, 300),
      }
      const consent = bank.consent(consentId)
      return json(200, { ...tokens(clientId, consentId), ...idToken, ...(consent && rules.withTokens?.(consent)) })
    },

    refresh_token({ form }, clientId) {
      const token = bank.token(form.get('refresh_token') ?? '', 'REFRESH')
      const consent = token?.consentId ? bank.consent(token.consentId) : undefined
      if (token?.clientId !== clientId || consent?.state !== 'LIVE') throw oauthError(400, 'invalid_grant')
      return Promise.resolve(json(200, tokens(clientId, consent.id)))
    },
  }

  /** What is asked for, out of a signed request where requests are signed. */
  async function asked(given: URLSearchParams, clientId: string): Promise<Record<string, unknown> | undefined> {
    if (!rules.signedRequests) return Object.fromEntries(given)
    const keys = createLocalJWKSet({ keys: bank.client(clientId)?.keys ?? [] })
    const verified = await jwtVerify(given.get('request') ?? '', keys, {
      issuer: clientId,
      audience: bank.origin,
      currentDate: bank.now(),
    }).catch(() => undefined)
    return verified?.payload
  }

  function takePushed(uri: string, clientId: string): Record<string, unknown> | undefined {
    const found = pushed.get(uri)
    pushed.delete(uri)
    return found?.clientId === clientId && found.untilMs > bank.now().getTime() ? found.parameters : undefined
  }

  const sessionOf = (form: URLSearchParams): [string, SignInSession] => {
    const id = form.get('session') ?? ''
    const session = sessions.get(id)
    if (!session)
      throw new Refusal(html(400, problemPage(bank.facts.name, 'This sign-in has ended. Please start again.')))
    return [id, session]
  }

  return {
    'GET /.well-known/oauth-authorization-server': metadata,
    'GET /.well-known/openid-configuration': metadata,
    'GET /jwks': () => json(200, bank.publicKeys()),

    'POST /token': async (request) => {
      const clientId = await authenticated(request)
      const grant = Object.hasOwn(grants, request.form.get('grant_type') ?? '')
        ? grants[request.form.get('grant_type')!]
        : undefined
      if (!grant) throw oauthError(400, 'unsupported_grant_type')
      return grant(request, clientId)
    },

    ...(rules.pushed && {
      'POST /par': async (request: SandboxRequest) => {
        const clientId = await authenticated(request)
        const parameters = await asked(request.form, clientId)
        if (!parameters) throw oauthError(400, 'invalid_request_object')
        const uri = `urn:ietf:params:oauth:request_uri:${randomBytes(18).toString('base64url')}`
        pushed.set(uri, { parameters, clientId, untilMs: bank.now().getTime() + CODE_MS })
        return json(201, { request_uri: uri, expires_in: CODE_MS / 1_000 })
      },
    }),

    ...rules.routes?.(authenticated),
    ...(rules.signedRequests && { 'POST /register': (request: SandboxRequest) => takeRegistration(bank, request) }),

    'GET /authorize': async ({ url }) => {
      const refuse = (what: string) => html(400, problemPage(bank.facts.name, what))
      const clientId = url.searchParams.get('client_id') ?? ''
      const client = bank.client(clientId)
      if (!client) return refuse('The party that sent you here is not known to this bank.')
      const parameters = rules.pushed
        ? takePushed(url.searchParams.get('request_uri') ?? '', clientId)
        : await asked(url.searchParams, clientId)
      if (!parameters) return refuse('The request is not signed or pushed as it must be.')
      const { redirect_uri, code_challenge, code_challenge_method, state, nonce } = parameters
      if (redirect_uri !== client.redirectUri) return refuse('The address to come back to is not known to this bank.')
      if (typeof code_challenge !== 'string' || code_challenge_method !== 'S256')
        return refuse('The request lacks a code challenge.')
      const consent = rules.consentOf(parameters, clientId)
      if (consent?.clientId !== clientId || consent.state !== 'WAITING') return refuse('There is nothing to agree to.')
      const id = randomBytes(18).toString('base64url')
      sessions.set(id, {
        clientId,
        consentId: consent.id,
        redirectUri: client.redirectUri,
        challenge: code_challenge,
        customer: null,
        state: String(state),
        nonce: typeof nonce === 'string' ? nonce : undefined,
      })
      return html(200, signInPage(bank.facts.name, id, false))
    },

    'POST /sign-in': async ({ form }) => {
      const [id, session] = sessionOf(form)
      if (form.get('decision') === 'cancel') return finish(id, session, 'REJECTED')
      const customer = (form.get('customer') ?? '').trim().toLowerCase()
      const accounts = bank.accountsOf(customer)
      if (accounts.length === 0 || form.get('password') !== SANDBOX_PASSWORD)
        return html(200, signInPage(bank.facts.name, id, true))
      session.customer = customer
      const lines = accounts.map((account) => ({
        id: account.id,
        label: `${account.kind.toLowerCase()} ending in ${account.number.slice(-4)} (${account.currency})`,
      }))
      return html(200, accountsPage(bank.facts.name, id, 'Guichet', lines))
    },

    'POST /choose': async ({ form }) => {
      const [id, session] = sessionOf(form)
      const consent = bank.consent(session.consentId)
      if (!session.customer || consent?.state !== 'WAITING') throw oauthError(400, 'invalid_request')
      const own = new Set(bank.accountsOf(session.customer).map((account) => account.id))
      const chosen = form.getAll('account').filter((account) => own.has(account))
      if (form.get('decision') !== 'allow' || chosen.length === 0) return finish(id, session, 'REJECTED')
      consent.customer = session.customer
      consent.accounts = chosen
      return finish(id, session, 'LIVE')
    },
  }

  async function finish(id: string, session: SignInSession, state: 'LIVE' | 'REJECTED'): Promise<SandboxReply> {
    sessions.delete(id)
    const consent = bank.consent(session.consentId)
    if (consent) {
      if (state === 'LIVE') rules.agreed(consent)
      consent.state = state
      bank.save()
    }
    if (state === 'REJECTED') return sendBack(session, { error: 'access_denied' })
    const code = randomBytes(24).toString('base64url')
    codes.set(code, { session, expiresAt: bank.now().getTime() + CODE_MS })
    return sendBack(session, { code })
  }
}

function claimedIssuer(assertion: string): string {
  try {
    const claims = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      iss?: unknown
    }
    return typeof claims.iss === 'string' ? claims.iss : ''
  } catch {
    return ''
  }
}

/** The consent that a request's bearer token stands for, or the client for a token of its own. */
export function bearer(
  bank: SandboxBank,
  request: SandboxRequest,
): { clientId: string; consent: BankConsent | undefined } | undefined {
  const token = bank.token(/^Bearer (\S+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '', 'ACCESS')
  if (!token) return undefined
  return { clientId: token.clientId, consent: token.consentId ? bank.consent(token.consentId) : undefined }
}
