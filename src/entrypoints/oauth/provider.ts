import type { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { decodeProtectedHeader } from 'jose'
import { Provider, type KoaContextWithOIDC } from 'oidc-provider'
import { CLOCK_TOLERANCE_SECONDS } from '../../kernel/clock.ts'
import { errorTrace, type Log } from '../../kernel/log.ts'
import { RESPONSE_MODE } from './client-metadata.ts'
import { AUTHORIZATION_PATH, providerConfiguration, type ConfigurationDependencies } from './provider-configuration.ts'
import { markClientAuthenticated } from './rate-limits.ts'
import { CORS_ANY_ORIGIN } from './resource-metadata.ts'
import { isFromSuspendedClient, SUSPENDED_DESCRIPTION } from './suspended-client.ts'

/** Dependencies of the provider. */
export interface ProviderDependencies extends ConfigurationDependencies {
  readonly log: Log
  /** Public keys of the gateway that do not belong to the authorization server, which are published with its own. */
  readonly otherPublicKeys: readonly object[]
}

/**
 * The authorization server: pushed requests with PKCE (S256) and `private_key_jwt` for all clients, DPoP-bound tokens (bearer
 * tokens for sandbox clients only), opaque access tokens that can be revoked at once, and one provider grant per consent.
 * test/entrypoints/oauth-profile.test.ts shows which rules of the FAPI 2.0 Security Profile it applies; it is not certified.
 */
export function createProvider(dependencies: ProviderDependencies): Provider {
  const { issuer, store, log } = dependencies
  /** Requests whose client assertion has passed all checks except the one for replay. */
  const assertedRequests = new WeakSet<IncomingMessage>()
  const provider = new Provider(
    issuer,
    providerConfiguration(dependencies, (request) => assertedRequests.add(request)),
  )
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
  amendResponses(provider, assertedRequests, dependencies)
  return provider
}

/** Adds to the library's responses what its configuration cannot express. */
function amendResponses(
  provider: Provider,
  assertedRequests: WeakSet<IncomingMessage>,
  { clients, clock, otherPublicKeys }: ProviderDependencies,
): void {
  /** If an assertion names a `kid`, the provider verifies it with that key only, so the client has proven the key. */
  async function recordKeyUse({ client, params }: KoaContextWithOIDC['oidc']): Promise<void> {
    const { kid } = decodeProtectedHeader(String(params?.['client_assertion']))
    if (kid !== undefined && client) await clients.recordAuthenticatedKey(client.clientId, kid)
  }

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
    if (oidc?.route === 'jwks' && body instanceof Object && 'keys' in body && Array.isArray(body.keys))
      ctx.body = { keys: [...(body.keys as unknown[]), ...otherPublicKeys] }
    if (oidc?.route === 'discovery' && body instanceof Object)
      Object.assign(body, { response_modes_supported: [RESPONSE_MODE] })
    // The library also allows every origin, but by name.
    if (ctx.path.startsWith('/.well-known/')) ctx.set(CORS_ANY_ORIGIN)
  })
}
