import * as oauth from 'oauth4webapi'
import { z } from 'zod'
import { GatewayError } from '../kernel/errors.ts'
import { filterAcceptedKeys } from '../kernel/public-keys.ts'
import { parseJson } from '../kernel/wire.ts'
import type { ConnectorTools, Registration } from './connector.ts'
import { isOnRegisteredOrigin, requireIssuer, type EndpointCheck } from './endpoints.ts'
import type { OauthProfile, StatedEndpoints } from './oauth-profile.ts'
import { sendToBank } from './send-to-bank.ts'

const TIMEOUT_MS = 4_000
const MAX_BYTES = 262_144
/** Metadata and keys of a bank are cached for this long. */
const METADATA_TTL_MS = 3_600_000

/** The metadata of a bank's authorization server, cached for one hour. */
export interface AuthorizationServers {
  /** `linkedUrl` is where a response of the bank says that the metadata is, if the profile follows such links. */
  find(linkedUrl?: string): Promise<oauth.AuthorizationServer>
  /** The `fetch` of the OAuth library: applies the address rules, limits and deadlines of all outbound requests. */
  readonly fetch: BankFetch
}

/** One request to the authorization server, in the part of the Fetch API that the OAuth library uses. */
export type BankFetch = (
  url: string,
  request: {
    readonly method: string
    readonly headers: Readonly<Record<string, string>>
    readonly body?: URLSearchParams | string | null | undefined
  },
) => Promise<Response>

/** Creates the lookup for one registration. Every address, also of the metadata itself, must pass `checkEndpoint`. */
export function createAuthorizationServers(
  registration: Registration,
  profile: OauthProfile,
  tools: ConnectorTools,
  checkEndpoint: EndpointCheck,
): AuthorizationServers {
  const cache = new Map<string, { readonly loadedAtMs: number; readonly server: Promise<oauth.AuthorizationServer> }>()
  const fetchFromBank = createFetch(profile, tools, checkEndpoint)

  async function load(linkedUrl: string | undefined): Promise<oauth.AuthorizationServer> {
    if (profile.usesMetadataLink) return loadLinked(linkedUrl)
    const issuer = requireIssuer(registration)
    if (profile.endpoints) return toServer(issuer, profile.endpoints)
    const url = profile.metadataUrl
    const options = { [oauth.customFetch]: fetchFromBank, ...PLAIN_HTTP }
    const response =
      url === undefined
        ? await oauth.discoveryRequest(new URL(issuer), {
            ...options,
            algorithm: profile.usesOpenIdConnect ? 'oidc' : 'oauth2',
          })
        : await fetchMetadata(url)
    return withTokenEndpoint(await oauth.processDiscoveryResponse(new URL(issuer), response), profile)
  }

  const fetchMetadata = (url: string): Promise<Response> =>
    fetchFromBank(url, { method: 'GET', headers: { accept: 'application/json' } })

  /** The metadata to which a consent leads. It names the registered issuer, or if there is none, one on a registered origin. */
  async function loadLinked(url: string | undefined): Promise<oauth.AuthorizationServer> {
    if (url === undefined)
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the bank sent no link to its metadata' })
    const response = await fetchMetadata(url)
    const issuer = registration.authorizationServer ?? (await issuerIn(response.clone()))
    if (issuer === undefined || !isOnRegisteredOrigin(issuer, registration))
      throw new GatewayError('BANK_RESPONSE_INVALID', {
        internalMessage: 'metadata has no issuer on a registered origin',
      })
    const server = await oauth.processDiscoveryResponse(new URL(issuer), response)
    return withTokenEndpoint(server, profile)
  }

  return {
    fetch: fetchFromBank,
    find(linkedUrl) {
      const nowMs = tools.clock.now().getTime()
      const key = profile.usesMetadataLink ? (linkedUrl ?? '') : ''
      const cached = cache.get(key)
      if (cached && nowMs - cached.loadedAtMs <= METADATA_TTL_MS) return cached.server
      const server = load(linkedUrl)
      // Links differ per consent, so that only the last ones are worth their memory.
      if (cache.size >= MAX_CACHED_LINKS) cache.clear()
      cache.set(key, { loadedAtMs: nowMs, server })
      server.catch(() => cache.delete(key))
      return server
    },
  }
}
const MAX_CACHED_LINKS = 100

const documentWithIssuer = z.object({ issuer: z.string() })
const issuerIn = async (response: Response): Promise<string | undefined> =>
  documentWithIssuer.safeParse(parseJson(await response.text())).data?.issuer

/** Outbound HTTP checks every request, including whether plain http is allowed. */
// eslint-disable-next-line @typescript-eslint/no-deprecated -- the library marks it as a warning; it is not going away
export const PLAIN_HTTP = { [oauth.allowInsecureRequests]: true } as const

/** The metadata with the token endpoint that the registration states, also for mutual TLS. */
const withTokenEndpoint = (
  server: oauth.AuthorizationServer,
  { tokenEndpoint }: OauthProfile,
): oauth.AuthorizationServer =>
  tokenEndpoint === undefined
    ? server
    : {
        ...server,
        token_endpoint: tokenEndpoint,
        mtls_endpoint_aliases: { ...server.mtls_endpoint_aliases, token_endpoint: tokenEndpoint },
      }

const toServer = (issuer: string, endpoints: StatedEndpoints): oauth.AuthorizationServer => ({
  issuer,
  authorization_endpoint: endpoints.authorization,
  token_endpoint: endpoints.token,
  ...(endpoints.pushedAuthorizationRequest && {
    pushed_authorization_request_endpoint: endpoints.pushedAuthorizationRequest,
  }),
  ...(endpoints.revocation && { revocation_endpoint: endpoints.revocation }),
  ...(endpoints.jwks && { jwks_uri: endpoints.jwks }),
})

function createFetch(profile: OauthProfile, tools: ConnectorTools, checkEndpoint: EndpointCheck): BankFetch {
  return async (url, { method, headers, body }) => {
    const response = await sendToBank(tools.http, {
      method: method === 'POST' ? 'POST' : 'GET',
      url: requireAllowedEndpoint(url, checkEndpoint),
      headers,
      ...(body != null && { body: body.toString() }),
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_BYTES,
    })
    tools.log.trace('bank.oauth', {
      connectorId: tools.connectorId,
      status: response.status,
      bytes: response.text.length,
    })
    // Checked before the body is read, which can be the error page of a proxy.
    if (response.status >= 500)
      throw new GatewayError('BANK_UNAVAILABLE', {
        internalMessage: `authorization server returned ${response.status}`,
      })
    // GET requests fetch only metadata and keys, which banks label in several ways.
    const isDocument = method !== 'POST'
    const contentType = isDocument
      ? 'application/json'
      : (response.headers['content-type'] ?? 'application/octet-stream')
    const text = isDocument ? dropUnacceptableKeys(response.text, profile) : response.text
    return new Response(response.status === 204 ? null : text, {
      status: response.status,
      headers: { 'content-type': contentType },
    })
  }
}

/** Removes keys that the key policy rejects from a key set (RFC 7517, 5). Returns any other text unchanged. */
function dropUnacceptableKeys(text: string, { bankAlgorithm }: OauthProfile): string {
  try {
    const { keys } = JSON.parse(text) as { keys?: unknown }
    return Array.isArray(keys) ? JSON.stringify({ keys: filterAcceptedKeys(keys, bankAlgorithm) }) : text
  } catch {
    return text
  }
}

/** Returns the URL if it is an allowed endpoint. Checked on every use, because metadata can name any URL and can change. */
export function requireAllowedEndpoint(url: string, checkEndpoint: EndpointCheck): string {
  const fault = checkEndpoint(url)
  if (fault !== undefined) throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `endpoint ${fault}` })
  return url
}
