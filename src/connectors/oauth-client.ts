import { decodeJwt } from 'jose'
import * as oauth from 'oauth4webapi'
import { addMs } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { createAuthorizationUrl, openAuthorization } from './authorization-request.ts'
import { createClientAuthentication } from './client-authentication.ts'
import type { BankAccess, ConnectorTools, Registration } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'
import { createAuthorizationServers, PLAIN_HTTP, requireAllowedEndpoint } from './oauth-metadata.ts'
import { customerTokenParameters, type OauthProfile } from './oauth-profile.ts'
import type { PendingSignIn } from './sign-in.ts'

const DEFAULT_TOKEN_SECONDS = 300
/** Ten years. A later end is no date that can be stored. */
const MAX_TOKEN_SECONDS = 315_360_000

/** The gateway's OAuth client at a bank, as the bank's profile says. */
export interface OauthClient {
  readonly profile: OauthProfile
  /** Gets a token for the gateway itself, such as for creating a consent, with the scope of the profile or another one. */
  clientCredentialsToken(scope?: string): Promise<string>
  /** Builds the authorization URL. `parameters` are those of the standard. */
  signInUrl(parameters: Readonly<Record<string, string>>, pending: PendingSignIn): Promise<string>
  /** Exchanges the code of a callback. Throws `BANK_REFUSED` if the customer or the bank refused. */
  redeemCode(callback: URL, pending: PendingSignIn): Promise<CodeRedemption>
  refresh(access: BankAccess): Promise<BankAccess>
  /** Revokes a token (RFC 7009). Throws `BANK_REFUSED` if the server has no endpoint for it. */
  revokeToken(token: string): Promise<void>
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

/** Creates the client for the registration's authorization server. It uses only the guarded outbound HTTP. */
export function createOauthClient(
  registration: Registration,
  tools: ConnectorTools,
  profile: OauthProfile,
  checkEndpoint: EndpointCheck,
): OauthClient {
  const servers = createAuthorizationServers(registration, profile, tools, checkEndpoint)
  const client: oauth.Client = {
    client_id: registration.clientId ?? '',
    id_token_signed_response_alg: profile.bankAlgorithm,
    authorization_signed_response_alg: profile.bankAlgorithm,
    use_mtls_endpoint_aliases: registration.mutualTls === true,
    [oauth.clockTolerance]: profile.clockToleranceSeconds,
  }
  const options = { [oauth.customFetch]: servers.fetch, ...PLAIN_HTTP }
  const authenticate = () => createClientAuthentication(profile, tools)

  const toAccess = (
    response: oauth.TokenEndpointResponse,
    { consentRef, refreshToken, signedInAt, customerRef, metadataUrl }: Omit<BankAccess, 'accessToken' | 'expiresAt'>,
  ): BankAccess => ({
    consentRef,
    accessToken: bearerTokenOf(response, profile),
    refreshToken: response.refresh_token ?? refreshToken,
    expiresAt: addMs(
      tools.clock.now(),
      Math.min(response.expires_in ?? DEFAULT_TOKEN_SECONDS, MAX_TOKEN_SECONDS) * 1_000,
    ).toISOString(),
    signedInAt,
    customerRef,
    metadataUrl,
  })

  /** The verified parameters of a callback. The ID token of a hybrid response is verified with them. */
  function verifyCallback(
    server: oauth.AuthorizationServer,
    callback: URL,
    { state, nonce }: PendingSignIn,
  ): Promise<URLSearchParams> | URLSearchParams {
    const { searchParams } = callback
    if (profile.responseMode === 'jwt')
      return oauth.validateJwtAuthResponse(server, client, searchParams, state, options)
    if (profile.responseType === 'code id_token')
      return oauth.validateDetachedSignatureResponse(
        server,
        client,
        searchParams,
        nonce,
        state,
        oauth.skipAuthTimeCheck,
        options,
      )
    return oauth.validateAuthResponse(server, client, searchParams, state)
  }

  async function redeemCode(callback: URL, pending: PendingSignIn): Promise<CodeRedemption> {
    const server = await servers.find(pending.metadataUrl)
    const parameters = await verifyCallback(server, callback, pending)
    const response = await oauth.authorizationCodeGrantRequest(
      server,
      client,
      await authenticate(),
      parameters,
      tools.redirectUri,
      pending.codeVerifier,
      { ...options, additionalParameters: customerTokenParameters(profile) },
    )
    const isIdTokenExpected = profile.idToken === 'TOKEN_ENDPOINT'
    const tokenResponse = await oauth.processAuthorizationCodeResponse(
      server,
      client,
      isIdTokenExpected ? response : await withoutIdToken(response),
      isIdTokenExpected ? { expectedNonce: pending.nonce, requireIdToken: true } : {},
    )
    const claims = claimsOf(tokenResponse, callback, profile)
    return {
      access: toAccess(tokenResponse, {
        consentRef: pending.consentRef,
        refreshToken: null,
        signedInAt: tools.clock.now().toISOString(),
        customerRef: customerRefOf(claims, pending.consentRef),
        metadataUrl: pending.metadataUrl,
      }),
      claims,
      tokenResponse: { ...tokenResponse },
    }
  }

  async function refresh(access: BankAccess): Promise<BankAccess> {
    if (!access.refreshToken) throw new GatewayError('RECONNECT_REQUIRED', { internalMessage: 'no refresh token' })
    const server = await servers.find(access.metadataUrl)
    const response = await oauth.refreshTokenGrantRequest(server, client, await authenticate(), access.refreshToken, {
      ...options,
      additionalParameters: customerTokenParameters(profile),
    })
    // Only a bank whose bearer is the ID token must renew it.
    const isIdTokenUsed = profile.bearerToken === 'ID_TOKEN'
    return toAccess(
      await oauth.processRefreshTokenResponse(
        server,
        client,
        isIdTokenUsed ? response : await withoutIdToken(response),
      ),
      access,
    )
  }

  async function revokeToken(token: string): Promise<void> {
    const server = await servers.find()
    if (server.revocation_endpoint === undefined)
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'metadata has no revocation_endpoint' })
    const response = await oauth.revocationRequest(server, client, await authenticate(), token, options)
    await oauth.processRevocationResponse(response)
  }

  /** Adds the client authentication to a form and posts it. */
  async function postForm(endpoint: string, form: Readonly<Record<string, string>>): Promise<number> {
    const server = await servers.find()
    const url: unknown = server[endpoint]
    if (typeof url !== 'string')
      throw new GatewayError('BANK_REFUSED', { internalMessage: `metadata has no ${endpoint}` })
    const [body, headers] = [new URLSearchParams(form), new Headers()]
    await (
      await authenticate()
    )(server, client, body, headers)
    headers.set('content-type', 'application/x-www-form-urlencoded')
    headers.set('accept', 'application/json')
    const allowedUrl = requireAllowedEndpoint(url, checkEndpoint)
    return (await servers.fetch(allowedUrl, { method: 'POST', headers: Object.fromEntries(headers), body })).status
  }

  return {
    profile,
    clientCredentialsToken: (scope = profile.clientScope) =>
      mapOauthErrors(async () => {
        const server = await servers.find()
        const parameters = {
          ...(scope !== '' && { scope }),
          ...profile.tokenParameters,
        }
        const response = await oauth.clientCredentialsGrantRequest(
          server,
          client,
          await authenticate(),
          parameters,
          options,
        )
        const tokens = await oauth.processClientCredentialsResponse(server, client, response)
        return requireBearerToken(tokens, tokens.access_token)
      }),

    signInUrl: (parameters, pending) =>
      mapOauthErrors(async () => {
        const server = await servers.find(pending.metadataUrl)
        const context = { server, client, profile, tools, options, authenticate }
        const url = requireAllowedEndpoint(await createAuthorizationUrl(context, parameters, pending), checkEndpoint)
        return profile.opensAuthorization
          ? requireAllowedEndpoint(await openAuthorization(url, tools), checkEndpoint)
          : url
      }),

    redeemCode: (callback, pending) => mapOauthErrors(() => redeemCode(callback, pending)),
    refresh: (access) => mapOauthErrors(() => refresh(access)),
    revokeToken: (token) => mapOauthErrors(() => revokeToken(token)),

    async post(endpoint, form) {
      const status = await mapOauthErrors(() => postForm(endpoint, form))
      // A 401 means that the bank rejected the gateway's credentials: it says nothing about the request itself.
      if (status === 401 || status === 429)
        throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: `${endpoint} returned ${status}` })
      if (status >= 300) throw new GatewayError('BANK_REFUSED', { internalMessage: `${endpoint} returned ${status}` })
    },
  }
}

/** The token for the account API. */
function bearerTokenOf(response: oauth.TokenEndpointResponse, { bearerToken }: OauthProfile): string {
  return requireBearerToken(response, bearerToken === 'ACCESS_TOKEN' ? response.access_token : response.id_token)
}

/**
 * A token of visible ASCII (RFC 6749, A.12): any other would make a header that cannot be sent, or several. No other type than bearer
 * is used (RFC 6749, 7.1), also none that the library knows.
 */
function requireBearerToken({ token_type: type }: oauth.TokenEndpointResponse, token: string | undefined): string {
  if (type !== 'bearer' || token === undefined || !/^[\x21-\x7e]+$/.test(token))
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the token response has no usable token' })
  return token
}

/** The same response without its ID token, which some banks send with wrong claims and which nobody uses. */
async function withoutIdToken(response: Response): Promise<Response> {
  const text = await response.text()
  const { status, headers } = response
  try {
    const { id_token: _unused, ...rest } = JSON.parse(text) as Record<string, unknown>
    return new Response(JSON.stringify(rest), { status, headers })
  } catch {
    return new Response(text, { status, headers })
  }
}

/** The claims of the ID token that the profile relies on; empty if there is none. It has been verified. */
function claimsOf(
  tokenResponse: oauth.TokenEndpointResponse,
  callback: URL,
  { idToken }: OauthProfile,
): Readonly<Record<string, unknown>> {
  if (idToken === 'NONE') return {}
  if (idToken === 'FRONT_CHANNEL') return decodeJwt(callback.searchParams.get('id_token') ?? '')
  return { ...oauth.getValidatedIdTokenClaims(tokenResponse) }
}

/** The `sub` of the ID token, unless it is the consent id, which UK banks may put there. */
function customerRefOf(claims: Readonly<Record<string, unknown>>, consentRef: string): string | undefined {
  const { sub, openbanking_intent_id: intentId } = claims
  return typeof sub === 'string' && sub !== '' && sub !== consentRef && sub !== intentId ? sub : undefined
}

/** Runs an OAuth step and maps the library's errors to a `GatewayError` without any text of the bank. */
async function mapOauthErrors<T>(step: () => Promise<T>): Promise<T> {
  try {
    return await step()
  } catch (error) {
    for (let cause: unknown = error; cause instanceof Error; cause = cause.cause)
      if (cause instanceof GatewayError) throw cause
    if (error instanceof oauth.AuthorizationResponseError)
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'sign-in refused' })
    if (error instanceof oauth.ResponseBodyError) {
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
