import { errors, type Configuration, type KoaContextWithOIDC } from 'oidc-provider'
import { isCustomerScope } from '../../kernel/scopes.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { Clients } from '../../modules/clients/index.ts'
import { ACCOUNT_INFORMATION, requireDetails, validateDetail, type PushedParameters } from './authorization-details.ts'
import { rejectControlCharacters } from './control-characters.ts'
import { requireAllowedScopes } from './requested-scopes.ts'
import type { OauthSecrets } from './secrets.ts'
import { ACCESS_TOKEN_LIFETIME_S, checkDpopProof } from './security-profile.ts'

/** The dependencies of the features. */
export interface FeatureDependencies {
  readonly issuer: string
  readonly clock: Clock
  readonly secrets: OauthSecrets
  readonly clients: Clients
}

type Features = NonNullable<Configuration['features']>

/** The optional protocols of the library that the gateway uses. All others are off. */
export const providerFeatures = ({ issuer, clock, secrets, clients }: FeatureDependencies): Features => ({
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
  resourceIndicators: resourceIndicators(issuer, clients),
  richAuthorizationRequests: richAuthorizationRequests(clients) as never,
})

/** One resource, the GraphQL API (RFC 8707), with the scopes that the client has registered. */
function resourceIndicators(issuer: string, clients: Clients): Features['resourceIndicators'] {
  const apiResource = `${issuer}/graphql`
  return {
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
  }
}

/** Authorization details (RFC 9396) of the one type `account_information`. The types of the library do not know them. */
const richAuthorizationRequests = (clients: Clients) => ({
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
})

/** The authorization details that the customer agreed to, which may be fewer than requested. */
function grantedDetails(grant: unknown): unknown {
  return (grant as { rar?: unknown } | undefined)?.rar
}
