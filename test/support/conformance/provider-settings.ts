import type { ClientMetadata, Configuration, KoaContextWithOIDC, Provider } from 'oidc-provider'

/** The kinds of banks that the providers are set up as. */
export type ProviderKind = 'UK' | 'CDR' | 'FDX' | 'BERLIN_GROUP'

interface ProviderSettings {
  readonly configuration: Configuration
  /** What every client of such a bank is registered with. */
  readonly client: Partial<ClientMetadata>
  readonly extendResponses?: (provider: Provider) => void
}

/** The id of the only consent that the Berlin Group bank knows. */
export const BERLIN_GROUP_CONSENT = 'consent-4711'

const GRANT_TYPES = ['authorization_code', 'refresh_token', 'client_credentials']
const FAPI_ALGORITHMS = ['PS256', 'ES256'] as const

/** The settings of each kind, after facts/bank-matrix.md: what the banks of a standard ask of a client. */
export const PROVIDER_SETTINGS: Readonly<Record<ProviderKind, (issuer: string) => ProviderSettings>> = {
  /** The big UK banks: FAPI 1.0 Advanced, `code id_token`, signed requests that are not pushed, bound tokens, PS256. */
  UK: () => ({
    configuration: {
      scopes: ['openid', 'accounts', 'offline_access'],
      responseTypes: ['code id_token', 'code'],
      clientAuthMethods: ['tls_client_auth', 'self_signed_tls_client_auth', 'private_key_jwt', 'client_secret_basic'],
      enabledJWA: fapiAlgorithms(['PS256']),
      pkce: { required: () => false },
      features: {
        fapi: { enabled: true, profile: '1.0 Final' },
        claimsParameter: { enabled: true },
        requestObjects: { enabled: true, requireSignedRequestObject: true },
      },
    },
    client: {
      grant_types: [...GRANT_TYPES, 'implicit'],
      response_types: ['code id_token'],
      id_token_signed_response_alg: 'PS256',
      request_object_signing_alg: 'PS256',
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_certificate_bound_access_tokens: true,
      require_signed_request_object: true,
      scope: 'openid accounts offline_access',
    },
  }),
  /** Holders of the Consumer Data Right: pushed requests, JARM, PKCE, private_key_jwt, refresh tokens that stay. */
  CDR: (issuer) => ({
    configuration: {
      scopes: ['openid', 'bank:accounts.basic:read', 'offline_access'],
      responseTypes: ['code'],
      clientAuthMethods: ['private_key_jwt'],
      enabledJWA: fapiAlgorithms(FAPI_ALGORITHMS),
      pkce: { required: () => true },
      rotateRefreshToken: false,
      acrValues: ['urn:cds.au:cdr:2', 'urn:cds.au:cdr:3'],
      discovery: { cdr_arrangement_revocation_endpoint: `${issuer}/arrangements/revoke` },
      features: {
        fapi: { enabled: true, profile: '1.0 Final' },
        claimsParameter: { enabled: true },
        jwtResponseModes: { enabled: true },
        pushedAuthorizationRequests: { enabled: true, requirePushedAuthorizationRequests: true },
        requestObjects: { enabled: true, requireSignedRequestObject: true },
      },
    },
    client: {
      grant_types: GRANT_TYPES,
      response_types: ['code'],
      id_token_signed_response_alg: 'PS256',
      authorization_signed_response_alg: 'PS256',
      token_endpoint_auth_method: 'private_key_jwt',
      tls_client_certificate_bound_access_tokens: true,
      scope: 'openid bank:accounts.basic:read offline_access',
    },
    extendResponses: (provider) => addToTokenResponses(provider, { cdr_arrangement_id: 'arrangement-1' }),
  }),
  /** FDX banks and hubs: plain OAuth with a client secret, PKCE, identity by RS256 or EdDSA, and revocation by RFC 7009. */
  FDX: () => ({
    configuration: {
      scopes: ['openid', 'accounts', 'aggregator', 'offline_access'],
      responseTypes: ['code'],
      clientAuthMethods: ['client_secret_basic', 'client_secret_post'],
      enabledJWA: { idTokenSigningAlgValues: ['RS256', 'EdDSA'] },
      pkce: { required: () => true },
      features: { revocation: { enabled: true }, pushedAuthorizationRequests: { enabled: false } },
    },
    client: {
      grant_types: GRANT_TYPES,
      response_types: ['code'],
      id_token_signed_response_alg: 'RS256',
      token_endpoint_auth_method: 'client_secret_basic',
      scope: 'openid accounts offline_access',
    },
  }),
  /** A Berlin Group bank: the certificate is the identification, `AIS:<consent>` the scope, no OpenID Connect. */
  BERLIN_GROUP: () => ({
    configuration: {
      // The library has no scopes with a variable part: the one consent of the tests.
      scopes: ['AIS', 'AISP', `AIS:${BERLIN_GROUP_CONSENT}`, 'offline_access'],
      responseTypes: ['code'],
      clientAuthMethods: ['tls_client_auth', 'client_secret_basic', 'client_secret_post', 'none'],
      pkce: { required: () => true },
      features: { pushedAuthorizationRequests: { enabled: false } },
    },
    client: {
      grant_types: GRANT_TYPES,
      response_types: ['code'],
      token_endpoint_auth_method: 'tls_client_auth',
      tls_client_certificate_bound_access_tokens: true,
    },
  }),
}

function fapiAlgorithms(algorithms: readonly ('PS256' | 'ES256')[]): Configuration['enabledJWA'] {
  return {
    clientAuthSigningAlgValues: [...algorithms],
    idTokenSigningAlgValues: [...algorithms],
    requestObjectSigningAlgValues: [...algorithms],
    authorizationSigningAlgValues: [...algorithms],
  }
}

function addToTokenResponses(provider: Provider, members: Readonly<Record<string, string>>): void {
  provider.use(async (ctx, next) => {
    await next()
    if (
      (ctx as KoaContextWithOIDC).oidc.route === 'token' &&
      ctx.status === 200 &&
      ctx.body !== null &&
      typeof ctx.body === 'object'
    )
      Object.assign(ctx.body, members)
  })
}
