import { createHash } from 'node:crypto'
import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { decodeProtectedHeader, exportJWK, generateKeyPair, type JWK } from 'jose'
import {
  errors,
  interactionPolicy,
  Provider,
  type AdapterPayload,
  type Configuration,
  type KoaContextWithOIDC,
} from 'oidc-provider'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { CLOCK_TOLERANCE_SECONDS, type Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { Randomness } from '../../kernel/ids.ts'
import { errorTrace, type Log } from '../../kernel/log.ts'
import { PROOF_ALGORITHMS, SIGNING_ALGORITHMS, toVerificationKeys } from '../../kernel/public-keys.ts'
import { isCustomerScope } from '../../kernel/scopes.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry.ts'
import type { Client, Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { ACCOUNT_INFORMATION, validateDetail, requireDetails, type PushedParameters } from './authorization-details.ts'
import { renderAuthorizationError } from './authorization-errors.ts'
import { markClientAuthenticated, tooManyRequestsText } from './rate-limits.ts'
import { checkClientAssertion, checkDpopProof } from './security-profile.ts'
import { CORS_ANY_ORIGIN } from './resource-metadata.ts'
import type { OauthStore } from './store.ts'
import { requireAllowedScopes } from './requested-scopes.ts'
import { rejectControlCharacters } from './control-characters.ts'
import { isFromSuspendedClient, SUSPENDED_DESCRIPTION } from './suspended-client.ts'

/** Secrets that all processes of an installation share. */
export interface OauthSecrets {
  readonly signingKeys: { keys: JWK[] }
  readonly cookieKeys: string[]
  readonly nonceSecret: string
}

/** Generates the secrets at the first start of an installation. */
export async function newOauthSecrets(randomness: Randomness): Promise<OauthSecrets> {
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const kid = randomness.bytes(8).toString('hex')
  return {
    signingKeys: { keys: [{ ...(await exportJWK(privateKey)), kid, alg: 'ES256', use: 'sig' }] },
    cookieKeys: [randomness.bytes(32).toString('base64url')],
    nonceSecret: randomness.bytes(32).toString('base64url'),
  }
}

/** Dependencies of the provider. */
export interface ProviderDependencies {
  readonly issuer: string
  readonly clock: Clock
  readonly log: Log
  readonly secrets: OauthSecrets
  readonly store: OauthStore
  readonly clients: Clients
  readonly consents: Consents
  readonly limits: AccessLimits
}

/** Authorization responses use the query of the redirect. Other modes need a script or hide the response from the server. */
const RESPONSE_MODE = 'query'
const AUTHORIZATION_PATH = '/oauth/authorize'
const DAY_S = 86_400
/** The lifetime of an access token, in seconds. */
export const ACCESS_TOKEN_LIFETIME_S = 300

/** A client's metadata for the provider; undefined unless the client is ACTIVE. */
export async function clientMetadata(clients: Clients, id: string): Promise<AdapterPayload | undefined> {
  const client = await clients.find(id)
  return client?.status === 'ACTIVE' ? metadataOf(client) : undefined
}

function metadataOf(client: Client): AdapterPayload {
  const hasRedirectUris = client.redirectUris.length > 0
  return {
    client_id: client.id,
    client_name: client.name,
    redirect_uris: [...client.redirectUris],
    response_types: hasRedirectUris ? ['code'] : [],
    response_modes: [RESPONSE_MODE],
    grant_types: ['client_credentials', ...(hasRedirectUris ? ['authorization_code', 'refresh_token'] : [])],
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: toVerificationKeys(client.jwks),
    dpop_bound_access_tokens: client.tokenBinding === 'DPOP',
    require_pushed_authorization_requests: true,
    authorization_details_types: [ACCOUNT_INFORMATION],
    subject_type: 'pairwise',
    id_token_signed_response_alg: 'ES256',
  }
}

/**
 * Cookie names. Over https the session cookie has the prefix `__Host-`, so that browsers accept it only from this host over
 * https and for all paths. The other two are set for the path of one interaction, which `__Host-` forbids (RFC 6265bis, 4.1.3).
 */
function cookieNames(issuer: string) {
  const isHttps = new URL(issuer).protocol === 'https:'
  const [host, secure] = isHttps ? ['__Host-', '__Secure-'] : ['', '']
  return {
    session: `${host}guichet_session`,
    interaction: `${secure}guichet_interaction`,
    resume: `${secure}guichet_resume`,
  }
}

/**
 * The authorization server: pushed requests with PKCE (S256) and `private_key_jwt` for all clients, DPoP-bound tokens (bearer
 * tokens for sandbox clients only), opaque access tokens that can be revoked at once, and one provider grant per consent.
 * test/entrypoints/oauth-profile.test.ts shows which rules of the FAPI 2.0 Security Profile it applies; it is not certified.
 */
export function createProvider({
  issuer,
  clock,
  log,
  secrets,
  store,
  clients,
  consents,
  limits,
}: ProviderDependencies): Provider {
  /** Requests whose client assertion has passed all checks except the one for replay. */
  const assertedRequests = new WeakSet<IncomingMessage>()
  const apiResource = `${issuer}/graphql`
  const policy = interactionPolicy.base()
  const configuration: Configuration = {
    adapter: (kind: string) => store.adapter(kind),
    jwks: secrets.signingKeys,
    clients: [],
    cookies: {
      keys: secrets.cookieKeys,
      names: cookieNames(issuer),
      long: { signed: true, httpOnly: true, sameSite: 'lax', path: '/' },
      short: { signed: true, httpOnly: true, sameSite: 'lax' },
    },
    routes: {
      authorization: AUTHORIZATION_PATH,
      pushed_authorization_request: '/oauth/par',
      token: '/oauth/token',
      revocation: '/oauth/revoke',
      introspection: '/oauth/introspect',
      jwks: '/.well-known/jwks.json',
    },
    scopes: ['openid', 'offline_access'],
    responseTypes: ['code'],
    subjectTypes: ['pairwise'],
    pairwiseIdentifier: (_ctx, customerId, client) => Promise.resolve(consents.subjectOf(client.clientId, customerId)),
    clientAuthMethods: ['private_key_jwt'],
    clientDefaults: {
      token_endpoint_auth_method: 'private_key_jwt',
      id_token_signed_response_alg: 'ES256',
      introspection_signed_response_alg: 'ES256',
      authorization_signed_response_alg: 'ES256',
    },
    enabledJWA: {
      clientAuthSigningAlgValues: [...SIGNING_ALGORITHMS] as never,
      idTokenSigningAlgValues: ['ES256'],
      dPoPSigningAlgValues: [...PROOF_ALGORITHMS] as never,
      introspectionSigningAlgValues: ['ES256'],
      authorizationSigningAlgValues: ['ES256'],
    },
    clockTolerance: CLOCK_TOLERANCE_SECONDS,
    assertJwtClientAuthClaimsAndHeader(ctx, claims, _header, client) {
      checkClientAssertion(claims, issuer, clock)
      checkClientLimit(ctx, limits, client.clientId)
      assertedRequests.add(ctx.req)
    },
    pkce: { required: () => true },
    // A page may request tokens if its origin is that of one of its client's redirect URIs.
    clientBasedCORS: (_ctx, origin, client) =>
      (client.redirectUris ?? []).some((uri) => new URL(uri).origin === origin),
    conformIdTokenClaims: true,
    acceptQueryParamAccessTokens: false,
    allowOmittingSingleRegisteredRedirectUri: false,
    claims: { openid: ['sub'] },
    features: {
      fapi: { enabled: true, profile: '2.0' },
      requestObjects: { enabled: false },
      devInteractions: { enabled: false },
      userinfo: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      revocation: {
        enabled: true,
        async allowedPolicy(_ctx, client, token) {
          if (client.clientId !== token.clientId) return false
          if (token.kind !== 'AccessToken') return true
          // The library would also revoke the refresh token but leave the consent: revoke only this token (RFC 7009, 2.1).
          await token.destroy()
          return false
        },
      },
      introspection: {
        enabled: true,
        allowedPolicy: (_ctx, client, token) => Promise.resolve(client.clientId === token.clientId),
      },
      pushedAuthorizationRequests: {
        enabled: true,
        requirePushedAuthorizationRequests: true,
        allowUnregisteredRedirectUris: false,
      },
      dPoP: {
        enabled: true,
        nonceSecret: Buffer.from(secrets.nonceSecret, 'base64url'),
        // The library calls this for each proof before it verifies it; there is no other hook for additional rules.
        requireNonce: (ctx) => {
          checkDpopProof(ctx, clock)
          return false
        },
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => Promise.resolve(apiResource),
        useGrantedResource: () => Promise.resolve(true),
        getResourceServerInfo: async (ctx, resource, { clientId }) => {
          if (resource !== apiResource) throw new errors.InvalidTarget()
          // The provider validates each authorization details object, but not that there is one.
          if (ctx.oidc.route === 'pushed_authorization_request') {
            rejectControlCharacters(ctx.oidc.params ?? {})
            requireDetails(ctx.oidc.params as PushedParameters)
          }
          const registered = (await clients.find(clientId))?.scopes ?? []
          // Client credentials get no customer scopes; customer tokens get no client scopes.
          const isClientCredentials = ctx.oidc.params?.['grant_type'] === 'client_credentials'
          const allowed = registered.filter((scope) => isCustomerScope(scope) !== isClientCredentials)
          // The library drops scopes that are not allowed. Later steps of an interaction continue with the rest.
          const isTokenOrParRequest = ctx.oidc.route === 'pushed_authorization_request' || ctx.oidc.route === 'token'
          if (isTokenOrParRequest) requireAllowedScopes(ctx.oidc.params?.['scope'], allowed)
          const scope = allowed.join(' ')
          return { scope, audience: apiResource, accessTokenFormat: 'opaque', accessTokenTTL: ACCESS_TOKEN_LIFETIME_S }
        },
      },
      richAuthorizationRequests: {
        enabled: true,
        types: {
          [ACCOUNT_INFORMATION]: {
            async validate({ oidc }: KoaContextWithOIDC, detail: unknown, { clientId }: { clientId: string }) {
              validateDetail(detail, oidc.params as PushedParameters, (await clients.find(clientId))?.scopes ?? [])
            },
          },
        },
        authorizationDetailsForGrantSource: (ctx: KoaContextWithOIDC) => grantedDetails(ctx.oidc.grant),
        authorizationDetailsForAccessToken: (_ctx: unknown, _token: unknown, source: { rar?: unknown } | undefined) =>
          source?.rar,
        authorizationDetailsForIntrospection: (_ctx: unknown, token: { rar?: unknown }) => token.rar,
      } as never,
    },
    expiresWithSession: () => Promise.resolve(false),
    issueRefreshToken: (_ctx, client) => Promise.resolve(client.grantTypeAllowed('refresh_token')),
    rotateRefreshToken: false,
    // Called before a grant is destroyed; only here is it known that the client revokes it.
    async revokeGrantPolicy({ oidc }) {
      if (oidc.route !== 'revocation') return true
      const grantId = oidc.entities.RefreshToken?.grantId
      if (grantId !== undefined) await consents.revokeByOauthGrant(grantId, 'CLIENT')
      return grantId !== undefined
    },
    // Only the grant of this interaction, so that a session never adds an older agreement.
    loadExistingGrant: async (ctx) => {
      // The provider checks it when the interaction begins; the client may have removed it since.
      const redirectUri = ctx.oidc.params?.['redirect_uri']
      if (!ctx.oidc.client?.redirectUriAllowed(String(redirectUri))) throw new errors.InvalidRedirectUri()
      const grantId = ctx.oidc.result?.consent?.grantId
      return grantId ? ctx.oidc.provider.Grant.find(grantId) : undefined
    },
    interactions: { policy, url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
    findAccount: (_ctx, customerId) => ({ accountId: customerId, claims: () => ({ sub: customerId }) }),
    ttl: {
      AuthorizationCode: 60,
      AccessToken: ACCESS_TOKEN_LIFETIME_S,
      ClientCredentials: ACCESS_TOKEN_LIFETIME_S,
      IdToken: 300,
      Interaction: 1_800,
      RefreshToken: 365 * DAY_S,
      Grant: 365 * DAY_S,
      Session: 14 * DAY_S,
    },
    renderError: (ctx, error) => renderAuthorizationError(ctx, error, clients, issuer),
    discovery: {
      grant_management_endpoint: `${issuer}/oauth/grants`,
      grant_management_actions_supported: ['query', 'revoke'],
      protected_resources: [apiResource],
    },
  }

  /** If an assertion names a `kid`, the provider verifies it with that key only, so the client has proven the key. */
  async function recordKeyUse({ client, params }: KoaContextWithOIDC['oidc']): Promise<void> {
    const { kid } = decodeProtectedHeader(String(params?.['client_assertion']))
    if (kid !== undefined && client) await clients.recordAuthenticatedKey(client.clientId, kid)
  }

  const provider = new Provider(issuer, configuration)
  provider.proxy = true
  provider.on('server_error', (_ctx, error) => log.error('oauth.failed', { trace: errorTrace(error) }))
  // The library's web framework would otherwise print the error to the terminal instead of the log.
  const onError = (error: unknown, ctx?: { readonly req: IncomingMessage }): void => {
    // A client that disconnects during a request is not an error of the gateway.
    if (!ctx || (ctx.req.complete && !ctx.req.socket.destroyed)) log.error('oauth.failed', { trace: errorTrace(error) })
  }
  ;(provider as EventEmitter).on('error', onError)
  // The library reads before it writes, so it would accept two concurrent uses of a proof.
  Object.assign(provider.ReplayDetection, {
    // It also deletes a proof that was issued ahead of our clock before that proof expires.
    unique: (owner: string, jti: string, expiresAtS: number) =>
      store.useOnce(owner, jti, new Date((expiresAtS + CLOCK_TOLERANCE_SECONDS) * 1_000)),
  })
  provider.use(async (ctx, next) => {
    // The provider can send an error before it validates the mode, and would then use the mode of the request.
    if (ctx.path === AUTHORIZATION_PATH) ctx.query = { ...ctx.query, response_mode: RESPONSE_MODE }
    await next()
    // `oidc` is absent for paths that the provider does not serve.
    const { oidc } = ctx as unknown as Partial<KoaContextWithOIDC>
    const body: unknown = ctx.body
    const client = oidc?.entities.Client
    if (client && assertedRequests.has(ctx.req) && ctx.status !== 401) markClientAuthenticated(ctx.req, client.clientId)
    if (oidc?.route === 'token' && ctx.status === 200 && oidc.client) await recordKeyUse(oidc)
    // Grant Management for OAuth 2.0: the token response names the grant.
    if (oidc?.route === 'token' && ctx.status === 200 && oidc.entities.Grant && body instanceof Object)
      Object.assign(body, { grant_id: oidc.entities.Grant.jti })
    const isInvalidClient = body instanceof Object && 'error' in body && body.error === 'invalid_client'
    if (isInvalidClient && (await isFromSuspendedClient(oidc?.params?.['client_assertion'], clients, clock)))
      Object.assign(body, { error_description: SUSPENDED_DESCRIPTION })
    // The library's configuration can add metadata but not change it.
    if (oidc?.route === 'discovery' && body instanceof Object)
      Object.assign(body, { response_modes_supported: [RESPONSE_MODE] })
    // The library also allows every origin, but by name.
    if (ctx.path.startsWith('/.well-known/')) ctx.set(CORS_ANY_ORIGIN)
  })
  return provider
}

function checkClientLimit(ctx: KoaContextWithOIDC, limits: AccessLimits, clientId: string): void {
  try {
    limits.checkClient(clientId)
  } catch (thrown) {
    const { retryAfterSeconds = RETRY_AFTER_SECONDS.retryable } = toGatewayError(thrown)
    ctx.set('retry-after', String(retryAfterSeconds))
    throw Object.assign(new errors.OIDCProviderError(429, 'temporarily_unavailable'), {
      error_description: tooManyRequestsText(retryAfterSeconds),
    })
  }
}

/** The authorization details that the customer agreed to, which may be fewer than requested. */
function grantedDetails(grant: unknown): unknown {
  return (grant as { rar?: unknown } | undefined)?.rar
}

/** The hash of an access token that a DPoP proof must have as `ath` (RFC 9449, 4.2). */
export const accessTokenHash = (token: string): string => createHash('sha256').update(token).digest('base64url')
