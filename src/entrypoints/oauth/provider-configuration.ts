import type { IncomingMessage } from 'node:http'
import { errors, interactionPolicy, type Configuration, type KoaContextWithOIDC } from 'oidc-provider'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { CLOCK_TOLERANCE_SECONDS, DAY_MS, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { PROOF_ALGORITHMS, SIGNING_ALGORITHMS } from '../../kernel/public-keys.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'
import type { Consents } from '../../modules/consents/index.ts'
import { renderAuthorizationError } from './authorization-errors.ts'
import { providerFeatures, type FeatureDependencies } from './provider-features.ts'
import { tooManyRequestsText } from './rate-limits.ts'
import { ACCESS_TOKEN_LIFETIME_S, checkClientAssertion } from './security-profile.ts'
import type { OauthStore } from './store.ts'

/** The dependencies of the configuration. */
export interface ConfigurationDependencies extends FeatureDependencies {
  readonly store: OauthStore
  readonly consents: Consents
  readonly limits: AccessLimits
}

/** The path of the authorization endpoint. */
export const AUTHORIZATION_PATH = '/oauth/authorize'
const DAY_S = DAY_MS / SECOND_MS

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
 * The configuration of the library. `onAsserted` is called for a request whose client assertion has passed all checks except the
 * one for replay.
 */
export function providerConfiguration(
  dependencies: ConfigurationDependencies,
  onAsserted: (request: IncomingMessage) => void,
): Configuration {
  const { issuer, secrets, store, clients, consents } = dependencies
  return {
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
    claims: { openid: ['sub'] },
    conformIdTokenClaims: true,
    responseTypes: ['code'],
    subjectTypes: ['pairwise'],
    pairwiseIdentifier: (_ctx, customerId, client) => Promise.resolve(consents.subjectOf(client.clientId, customerId)),
    pkce: { required: () => true },
    acceptQueryParamAccessTokens: false,
    allowOmittingSingleRegisteredRedirectUri: false,
    ...clientAuthentication(dependencies, onAsserted),
    ...grantPolicies(consents),
    features: providerFeatures(dependencies),
    interactions: { policy: interactionPolicy.base(), url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
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
      protected_resources: [`${issuer}/graphql`],
    },
  }
}

/** How clients authenticate: `private_key_jwt` with the algorithms of the FAPI 2.0 Security Profile. */
function clientAuthentication(
  { issuer, clock, limits }: ConfigurationDependencies,
  onAsserted: (request: IncomingMessage) => void,
) {
  return {
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
      onAsserted(ctx.req)
    },
    // A page may request tokens if its origin is that of one of its client's redirect URIs.
    clientBasedCORS: (_ctx, origin, client) =>
      (client.redirectUris ?? []).some((uri) => new URL(uri).origin === origin),
  } satisfies Configuration
}

/** When a provider grant is used and when it ends. */
function grantPolicies(consents: Consents) {
  return {
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
  } satisfies Configuration
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
