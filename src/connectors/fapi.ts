import { importJWK, SignJWT, type CryptoKey } from 'jose'
import * as openid from 'openid-client'
import { addMs } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { filterAcceptedKeys } from '../kernel/public-keys.ts'
import type { BankAccess, ConnectorTools, Registration, PendingSignIn } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'

const TIMEOUT_MS = 4_000
const MAX_BYTES = 262_144
const DEFAULT_TOKEN_SECONDS = 300
/** Metadata and keys of a bank are read again after this time. */
const METADATA_TTL_MS = 3_600_000

/** The OAuth client of a bank: private_key_jwt, PKCE, and signed requests and responses where the standard has them. */
export interface FapiClient {
  /** A token for the gateway itself, such as for creating a consent. */
  clientCredentialsToken(scope: string): Promise<string>
  signInUrl(parameters: Record<string, string>, resume: PendingSignIn): Promise<string>
  redeemCode(callback: URL, resume: PendingSignIn): Promise<CodeRedemption>
  refresh(access: BankAccess): Promise<BankAccess>
  /** Posts a form to an endpoint of the bank's metadata, as the gateway itself. Throws as calls to the bank's API do. */
  post(endpoint: string, form: Readonly<Record<string, string>>): Promise<void>
}

/** What came of a code. */
export interface CodeRedemption {
  readonly access: BankAccess
  /** Of the ID token, where there is one. */
  readonly claims: Readonly<Record<string, unknown>>
  /** The token endpoint's answer, for what a standard adds to it. */
  readonly tokenResponse: Readonly<Record<string, unknown>>
}

/** How a standard's authorization server differs from a code flow with private_key_jwt and PKCE. */
export interface FapiOptions {
  /** Requests as signed objects and answers as JWTs (RFC 9101, JARM), as FAPI 1.0 Advanced has it. */
  readonly usesSignedMessages: boolean
  readonly usesOpenIdConnect: boolean
  /** Why an address of the bank's metadata may not be used. */
  readonly checkEndpoint: EndpointCheck
  /** Requests are pushed to the bank first (RFC 9126), so that the customer's browser carries none of them. */
  readonly usesPar: boolean
}

/** Talks to the registration's authorization server through the guarded outbound HTTP and nothing else. */
export function fapiClient(registration: Registration, tools: ConnectorTools, options: FapiOptions): FapiClient {
  let cached: { discoveredAtMs: number; configuration: Promise<openid.Configuration> } | undefined

  const getConfiguration = (): Promise<openid.Configuration> => {
    const nowMs = tools.clock.now().getTime()
    if (!cached || nowMs - cached.discoveredAtMs > METADATA_TTL_MS) {
      const configuration = discover(registration, tools, options)
      cached = { discoveredAtMs: nowMs, configuration: configuration }
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

    signInUrl: (parameters, resume) =>
      mapOauthErrors(async () => {
        const authorizationParameters = {
          ...parameters,
          redirect_uri: tools.redirectUri,
          state: resume.state,
          code_challenge: await openid.calculatePKCECodeChallenge(resume.codeVerifier),
          code_challenge_method: 'S256',
          ...(options.usesOpenIdConnect && { nonce: resume.nonce }),
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

    redeemCode: (callback, resume) =>
      mapOauthErrors(async () => {
        const tokenResponse = await openid.authorizationCodeGrant(await getConfiguration(), callback, {
          pkceCodeVerifier: resume.codeVerifier,
          expectedState: resume.state,
          ...(options.usesOpenIdConnect && { expectedNonce: resume.nonce, idTokenExpected: true }),
        })
        const signedInAt = tools.clock.now().toISOString()
        const claims = tokenResponse.claims() ?? {}
        const customerRef = customerRefOf(claims, resume.consentRef)
        return {
          access: toAccess(tokenResponse, {
            consentRef: resume.consentRef,
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
      if (typeof url !== 'string') throw new GatewayError('BANK_REFUSED', { internalMessage: `no ${endpoint}` })
      requireAllowedEndpoint(url, options)
      const body = new URLSearchParams({
        ...form,
        client_id: registration.clientId,
        client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
        client_assertion: await createClientAssertion(registration, tools),
      })
      const { status } = await tools.http.send({
        method: 'POST',
        url,
        headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
        body: body.toString(),
        timeoutMs: TIMEOUT_MS,
        maxBytes: MAX_BYTES,
      })
      // Not to be known there is no answer to what was asked.
      if (status >= 500 || status === 401 || status === 429)
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: `${endpoint}: ${status}` })
      if (status >= 300) throw new GatewayError('BANK_REFUSED', { internalMessage: `${endpoint}: ${status}` })
    },
  }
}

/** The person whom the ID token names. UK banks may put the consent's id into `sub`, which names nobody. */
function customerRefOf(claims: Readonly<Record<string, unknown>>, consentRef: string): string | undefined {
  const { sub, openbanking_intent_id: intentId } = claims
  return typeof sub === 'string' && sub !== '' && sub !== consentRef && sub !== intentId ? sub : undefined
}

/** The gateway's proof of itself, for one use (RFC 7523, 3). */
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
      // Whether plain http may be spoken at all is for the outbound rules to say, which see every request.
      // eslint-disable-next-line @typescript-eslint/no-deprecated -- marked so as a warning, not as going away
      execute: [openid.allowInsecureRequests],
    },
  )
  if (options.usesSignedMessages) openid.useJwtResponseMode(configuration)
  return configuration
}

/** The library's fetch, so that its requests obey the same address rules, limits and deadlines as all others. */
function outboundFetch(tools: ConnectorTools, options: FapiOptions): openid.CustomFetch {
  return async (url, { method, headers, body }) => {
    const response = await tools.http.send({
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
    // Whatever stands in it: a page of a proxy as well as an error of the server.
    if (response.status >= 500)
      throw new GatewayError('BANK_UNAVAILABLE', {
        internalMessage: `authorization server answered ${response.status}`,
      })
    const contentType = response.headers['content-type'] ?? 'application/octet-stream'
    // What is fetched is metadata and keys.
    const responseText = method === 'POST' ? response.text : dropUnacceptableKeys(response.text)
    return new Response(response.status === 204 ? null : responseText, {
      status: response.status,
      headers: { 'content-type': contentType },
    })
  }
}

/** A key set (RFC 7517, 5) without the keys that do not fit the policy; any other text as it is, for the library to judge. */
function dropUnacceptableKeys(text: string): string {
  try {
    const { keys } = JSON.parse(text) as { keys?: unknown }
    return Array.isArray(keys) ? JSON.stringify({ keys: filterAcceptedKeys(keys) }) : text
  } catch {
    return text
  }
}

/** The address, where it lies on a registered origin and is no resource: metadata may name any, and can change every hour. */
function requireAllowedEndpoint(url: string, { checkEndpoint }: FapiOptions): string {
  const fault = checkEndpoint(url)
  if (fault !== undefined) throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `an endpoint ${fault}` })
  return url
}

/** Runs an OAuth step and turns whatever the library throws into our words, without the bank's. */
async function mapOauthErrors<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
      if (cause instanceof GatewayError) throw cause
    if (error instanceof openid.AuthorizationResponseError)
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'refused at sign-in' })
    if (error instanceof openid.ResponseBodyError) {
      if (error.error === 'invalid_grant')
        throw new GatewayError('RECONNECT_REQUIRED', { internalMessage: 'invalid_grant' })
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'token endpoint refused' })
    }
    throw new GatewayError('BANK_RESPONSE_INVALID', { cause: error, internalMessage: 'authorization server answer' })
  }
}
