import { resourceMetadataUrl } from '../../kernel/challenges.ts'
import { jsonResponse, route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { PROOF_ALGORITHMS } from '../../kernel/public-keys.ts'
import { CLIENT_SCOPES, CUSTOMER_SCOPES } from '../../kernel/scopes.ts'

/** CORS headers for public resources, which pages of every origin may read. */
export const CORS_ANY_ORIGIN = { 'access-control-allow-origin': '*' } as const
const PREFLIGHT_MAX_AGE_S = 3_600

/**
 * The protected resource metadata of the GraphQL API (RFC 9728), at the address derived from the resource's path, which every
 * challenge names, and at the one without a path.
 */
export function resourceMetadataRoutes(issuer: string): Route[] {
  const metadata = {
    resource: `${issuer}/graphql`,
    authorization_servers: [issuer],
    scopes_supported: [...CUSTOMER_SCOPES, ...CLIENT_SCOPES],
    bearer_methods_supported: ['header'],
    dpop_bound_access_tokens_required: true,
    dpop_signing_alg_values_supported: PROOF_ALGORITHMS,
  }
  return [new URL(resourceMetadataUrl(issuer)).pathname, '/.well-known/oauth-protected-resource'].flatMap((path) => [
    route('GET', path, () => jsonResponse(200, metadata, CORS_ANY_ORIGIN)),
    route('OPTIONS', path, preflight),
  ])
}

/** Allows every request header, because the response depends on none. */
const preflight = ({ headers }: HttpRequest): HttpResponse => ({
  status: 204,
  headers: {
    ...CORS_ANY_ORIGIN,
    'access-control-allow-methods': 'GET',
    'access-control-allow-headers': headers['access-control-request-headers'] ?? '*',
    'access-control-max-age': String(PREFLIGHT_MAX_AGE_S),
  },
})
