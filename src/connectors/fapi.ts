import { importJWK, SignJWT, type CryptoKey } from 'jose'
import * as openid from 'openid-client'
import { addMs } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { filterAcceptedKeys } from '../kernel/public-keys.ts'
import type { BankAccess, ConnectorTools, Registration, PendingSignIn } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'
import { sendToBank } from './send-to-bank.ts'

const TIMEOUT_MS = 4_000
const MAX_BYTES = 262_144
const DEFAULT_TOKEN_SECONDS = 300
/** Metadata and keys of a bank are cached for this long. */
const METADATA_TTL_MS = 3_600_000

/** The gateway's OAuth client at a bank: private_key_jwt, PKCE and, if the standard has them, signed messages. */
export interface FapiClient {
  /** Gets a token for the gateway itself, such as for creating a consent. */
  clientCredentialsToken(scope: string): Promise<string>
  /** Builds the authorization URL. */
  signInUrl(parameters: Record<string, string>, pending: PendingSignIn): Promise<string>
  /** Exchanges the code of a callback. Throws `BANK_REFUSED` if the customer or the bank refused. */
  redeemCode(callback: URL, pending: PendingSignIn): Promise<CodeRedemption>
  refresh(access: BankAccess): Promise<BankAccess>
  /** Posts a form with client authentication to an endpoint named in the metadata. Throws like calls to the bank's API. */
  post(endpoint: string, form: Readonly<Record<string, string>>): Promise<void>
}

/** The result of exchanging an authorization code. */
export interface CodeRedemption {
  readonly access: BankAccess
  /** The claims of the ID token; empty if there is none. */
  readonly claims: Readonly<Record<string, unknown>>
  /** The token response, for members that a standard adds. */
  readonly tokenResponse: Readonly<Record<string, unknown>>
}

/** What a standard adds to the code flow with private_key_jwt and PKCE. */
export interface FapiOptions {
  /** Signed request objects (RFC 9101) and JWT responses (JARM), as in FAPI 1.0 Advanced. */
  readonly usesSignedMessages: boolean
  readonly usesOpenIdConnect: boolean
  /** Checks endpoints that the bank's metadata names. */
  readonly checkEndpoint: EndpointCheck
  /** Pushed authorization requests (RFC 9126), so that the request does not pass through the customer's browser. */
  readonly usesPar: boolean
}

/** Creates the client for the registration's authorization server. It uses only the guarded outbound HTTP. */
export function fapiClient(registration: Registration, tools: ConnectorTools, options: FapiOptions): FapiClient {
  let cached: { discoveredAtMs: number; configuration: Promise<openid.Configuration> } | undefined

  const getConfiguration = (): Promise<openid.Configuration> => {
    const nowMs = tools.clock.now().getTime()
    if (!cached || nowMs - cached.discoveredAtMs > METADATA_TTL_MS) {
      const configuration = discover(registration, tools, options)
      cached = { discoveredAtMs: nowMs, configuration }
      configuration.catch(() => (cached = undefined))
    }
    return cached.configuration
  }

  const toAccess = (
    response: openid.TokenEndpointResponse,
    { consentRef, refreshToken, signedInAt, customerRef }: Omit<BankAccess, 'accessToken' | 'expiresAt'>,
  ): BankAccess => ({
    consentRef,
    accessToken: response.access_token,
    refreshToken: response.refresh_token ?? refreshToken,
    expiresAt: addMs(tools.clock.now(), (response.expires_in ?? DEFAULT_TOKEN_SECONDS) * 1_000).toISOString(),
    signedInAt,
    customerRef,
  })

  return {
    clientCredentialsToken: (scope) =>
      mapOauthErrors(
        async () => (await openid.clientCredentialsGrant(await getConfiguration(), { scope })).access_token,
      ),

    signInUrl: (parameters, pending) =>
      mapOauthErrors(async () => {
        const authorizationParameters = {
          ...parameters,
          redirect_uri: tools.redirectUri,
          state: pending.state,
          code_challenge: await openid.calculatePKCECodeChallenge(pending.codeVerifier),
          code_challenge_method: 'S256',
          ...(options.usesOpenIdConnect && { nonce: pending.nonce }),
        }
        const key = { key: await signingKey(tools), kid: String(tools.key['kid']) }
        const url = options.usesSignedMessages
          ? await openid.buildAuthorizationUrlWithJAR(await getConfiguration(), authorizationParameters, key)
          : openid.buildAuthorizationUrl(await getConfiguration(), authorizationParameters)
        const { href } = options.usesPar
          ? await openid.buildAuthorizationUrlWithPAR(await getConfiguration(), url.searchParams)
          : url
        return requireAllowedEndpoint(href, options)
      }),

    redeemCode: (callback, pending) =>
      mapOauthErrors(async () => {
        const tokenResponse = await openid.authorizationCodeGrant(await getConfiguration(), callback, {
          pkceCodeVerifier: pending.codeVerifier,
          expectedState: pending.state,
          ...(options.usesOpenIdConnect && { expectedNonce: pending.nonce, idTokenExpected: true }),
        })
        const signedInAt = tools.clock.now().toISOString()
        const claims = tokenResponse.claims() ?? {}
        const customerRef = customerRefOf(claims, pending.consentRef)
        return {
          access: toAccess(tokenResponse, {
            consentRef: pending.consentRef,
            refreshToken: null,
            signedInAt,
            customerRef,
          }),
          claims,
          tokenResponse: { ...tokenResponse },
        }
      }),

    refresh: (access) =>
      mapOauthErrors(async () => {
        if (!access.refreshToken) throw new GatewayError('RECONNECT_REQUIRED', { internalMessage: 'no refresh token' })
        const tokenResponse = await openid.refreshTokenGrant(await getConfiguration(), access.refreshToken)
        return toAccess(tokenResponse, access)
      }),

    async post(endpoint, form) {
      const url = await mapOauthErrors(async () => (await getConfiguration()).serverMetadata()[endpoint])
      if (typeof url !== 'string')
        throw new GatewayError('BANK_REFUSED', { internalMessage: `metadata has no ${endpoint}` })
      requireAllowedEndpoint(url, options)
      const body = new URLSearchParams({
        ...form,
        client_id: registration.clientId,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await createClientAssertion(registration, tools),
      })
      const { status } = await sendToBank(tools.http, {
        method: 'POST',
        url,
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
        body: body.toString(),
        timeoutMs: TIMEOUT_MS,
        maxBytes: MAX_BYTES,
      })
      // A 401 means that the bank rejected the gateway's credentials: it says nothing about the request itself.
      if (status >= 500 || status === 401 || status === 429)
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: `${endpoint} returned ${status}` })
      if (status >= 300) throw new GatewayError('BANK_REFUSED', { internalMessage: `${endpoint} returned ${status}` })
    },
  }
}

/** The `sub` of the ID token, unless it is the consent id, which UK banks may put there. */
function customerRefOf(claims: Readonly<Record<string, unknown>>, consentRef: string): string | undefined {
  const { sub, openbanking_intent_id: intentId } = claims
  return typeof sub === 'string' && sub !== '' && sub !== consentRef && sub !== intentId ? sub : undefined
}

/** A single-use client assertion (RFC 7523, 3). */
async function createClientAssertion(
  { clientId, authorizationServer }: Registration,
  tools: ConnectorTools,
): Promise<string> {
  const nowS = Math.floor(tools.clock.now().getTime() / 1_000)
  return new SignJWT({ jti: tools.randomness.bytes(16).toString('base64url') })
    .setProtectedHeader({ alg: 'ES256', kid: String(tools.key['kid']) })
    .setIssuer(clientId)
    .setSubject(clientId)
    .setAudience(authorizationServer)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + 60)
    .sign(await signingKey(tools))
}

async function signingKey(tools: ConnectorTools): Promise<CryptoKey> {
  const key = await importJWK(tools.key, 'ES256')
  if (key instanceof Uint8Array)
    throw new GatewayError('INTERNAL', { internalMessage: 'connector key is not asymmetric' })
  return key
}

async function discover(
  registration: Registration,
  tools: ConnectorTools,
  options: FapiOptions,
): Promise<openid.Configuration> {
  const server = new URL(registration.authorizationServer)
  const key = { key: await signingKey(tools), kid: String(tools.key['kid']) }
  const configuration = await openid.discovery(
    server,
    registration.clientId,
    {
      id_token_signed_response_alg: 'ES256',
      authorization_signed_response_alg: 'ES256',
      use_mtls_endpoint_aliases: registration.mutualTls === true,
    },
    openid.PrivateKeyJwt(key),
    {
      algorithm: options.usesOpenIdConnect ? 'oidc' : 'oauth2',
      [openid.customFetch]: outboundFetch(tools, options),
      // Outbound HTTP checks every request, including whether plain http is allowed.
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- the library marks it as a warning; it is not going away
      execute: [openid.allowInsecureRequests],
    },
  )
  if (options.usesSignedMessages) openid.useJwtResponseMode(configuration)
  return configuration
}

/** The `fetch` of the OAuth library: applies the address rules, limits and deadlines of all outbound requests. */
function outboundFetch(tools: ConnectorTools, options: FapiOptions): openid.CustomFetch {
  return async (url, { method, headers, body }) => {
    const response = await sendToBank(tools.http, {
      method: method === 'POST' ? 'POST' : 'GET',
      url: requireAllowedEndpoint(url, options),
      headers,
      ...(body instanceof URLSearchParams || typeof body === 'string' ? { body: body.toString() } : {}),
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
    const contentType = response.headers['content-type'] ?? 'application/octet-stream'
    // GET requests fetch only metadata and keys.
    const responseText = method === 'POST' ? response.text : dropUnacceptableKeys(response.text)
    return new Response(response.status === 204 ? null : responseText, {
      status: response.status,
      headers: { 'content-type': contentType },
    })
  }
}

/** Removes keys that the key policy rejects from a key set (RFC 7517, 5). Returns any other text unchanged. */
function dropUnacceptableKeys(text: string): string {
  try {
    const { keys } = JSON.parse(text) as { keys?: unknown }
    return Array.isArray(keys) ? JSON.stringify({ keys: filterAcceptedKeys(keys) }) : text
  } catch {
    return text
  }
}

/** Returns the URL if it is an allowed endpoint. Checked on every use, because metadata can name any URL and can change. */
function requireAllowedEndpoint(url: string, { checkEndpoint }: FapiOptions): string {
  const fault = checkEndpoint(url)
  if (fault !== undefined) throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `endpoint ${fault}` })
  return url
}

/** Runs an OAuth step and maps the library's errors to a `GatewayError` without any text of the bank. */
async function mapOauthErrors<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
      if (cause instanceof GatewayError) throw cause
    if (error instanceof openid.AuthorizationResponseError)
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'sign-in refused' })
    if (error instanceof openid.ResponseBodyError) {
      if (error.error === 'invalid_grant')
        throw new GatewayError('RECONNECT_REQUIRED', { internalMessage: 'invalid_grant' })
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'token request refused' })
    }
    throw new GatewayError('BANK_RESPONSE_INVALID', {
      cause: error,
      internalMessage: 'invalid response of the authorization server',
    })
  }
}
