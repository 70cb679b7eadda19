import type { Provider } from 'oidc-provider'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { parseMediaType, route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Clients } from '../../modules/clients/index.ts'
import type { Consents } from '../../modules/consents/index.ts'
import type { Ledger } from '../../modules/ledger/index.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Signals } from '../../storage/signals.ts'
import { prepareResume } from './browser-session.ts'
import { certificationRoutes } from './certification-routes.ts'
import { dashboardRoutes } from './dashboard.ts'
import { grantRoutes } from './grants.ts'
import { createGuard, type Authenticate, type IsStillAuthorized } from './guard.ts'
import { interactionRoutes } from './interaction-routes.ts'
import { withRateLimits } from './rate-limits.ts'
import { createPresence } from './presence.ts'
import { createProvider } from './provider.ts'
import type { OauthSecrets } from './secrets.ts'
import { createRedirectPages } from './redirect-pages.ts'
import { resourceMetadataRoutes } from './resource-metadata.ts'
import type { OauthStore } from './store.ts'
import { createInteractionOutcomes } from './interaction-outcome.ts'
import { guardSessions } from './session-guard.ts'
import { createInteractionFlow, type InteractionFlow } from './interaction-flow.ts'

export type { Authenticate } from './guard.ts'
export { clientMetadata } from './client-metadata.ts'
export { newOauthSecrets, type OauthSecrets } from './secrets.ts'
export { createOauthStore, type OauthStore } from './store.ts'

/** Dependencies of the authorization server. */
export interface OauthDependencies {
  readonly issuer: string
  readonly secrets: OauthSecrets
  /** Public keys that are published with those of the authorization server. */
  readonly otherPublicKeys: readonly object[]
  readonly store: OauthStore
  readonly seal: Seal
  readonly world: World
  readonly banks: Banks
  readonly clients: Clients
  readonly consents: Consents
  readonly ledger: Ledger
  readonly signals: Signals
  /** Limits for requests to the authorization server and its pages. */
  readonly limits: AccessLimits
  /** Limits for requests with unknown access tokens. */
  readonly tokenLimits: AccessLimits
}

/** The authorization server with its consent pages, and the authentication of requests that carry its tokens. */
export function createOauth(dependencies: OauthDependencies): {
  routes: Route[]
  authenticate: Authenticate
  isStillAuthorized: IsStillAuthorized
  presenceOf: ReturnType<typeof createPresence>
} {
  const provider = createProvider({ ...dependencies, clock: dependencies.world.clock, log: dependencies.world.log })
  guardSessions(provider, dependencies)
  const { authenticate, isStillAuthorized } = createGuard({ ...dependencies, provider })
  const outcomes = createInteractionOutcomes(dependencies)
  const redirects = createRedirectPages({ ...dependencies, provider, outcomes })
  const flow = createInteractionFlow({ ...dependencies, provider, redirects, outcomes })
  const { issuer, limits } = dependencies
  return {
    authenticate,
    isStillAuthorized,
    presenceOf: createPresence(dependencies),
    routes: [
      ...interactionRoutes({ ...dependencies, provider, redirects, flow }),
      ...redirects.routes,
      ...certificationRoutes(dependencies),
      ...dashboardRoutes({ ...dependencies, provider }),
      ...grantRoutes({ ...dependencies, authenticate }),
      ...resourceMetadataRoutes(issuer),
      ...[
        // Listed by name, so that the request log tells them apart; `*` catches unknown paths.
        ...['par', 'authorize', 'authorize/{uid}', 'token', 'revoke', 'introspect', '*'].map(
          (name) => `/oauth/${name}`,
        ),
        '/.well-known/openid-configuration',
        '/.well-known/oauth-authorization-server',
        '/.well-known/jwks.json',
      ].map((path) => route('GET POST OPTIONS', path, delegateToProvider(provider, flow, dependencies))),
    ].map((entry) => withRateLimits(limits, entry)),
  }
}

function delegateToProvider(
  provider: Provider,
  flow: InteractionFlow,
  { issuer, consents, store }: OauthDependencies,
): Route['handle'] {
  const callback = provider.callback()
  const { host, protocol } = new URL(issuer)
  return async (request: HttpRequest): Promise<HttpResponse> => {
    const { raw } = request
    // Rejects other charsets, because the library reads every body as UTF-8.
    parseMediaType(request.headers)
    // The library builds URLs from these headers, so they must not come from the client.
    Object.assign(raw.request.headers, {
      host,
      'x-forwarded-host': host,
      'x-forwarded-proto': protocol.replace(':', ''),
    })
    const reply = await flow.resume(request)
    if (reply) return reply
    const grantId = await prepareResume(provider, store, request)
    await callback(raw.request, raw.response)
    // The library may have responded with an error instead of a code, such as for a request URI that was already used.
    if (grantId !== undefined) await consents.optIn.rejectUnfinished(grantId)
    return 'HIJACKED'
  }
}
