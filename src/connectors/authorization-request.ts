import * as oauth from 'oauth4webapi'
import { nameAlgorithm, signingKeyOf } from './client-authentication.ts'
import type { ConnectorTools } from './connector.ts'
import { GatewayError } from '../kernel/errors.ts'
import { bankNameOf, type OauthProfile, type RequestObjectRules } from './oauth-profile.ts'
import { sendToBank } from './send-to-bank.ts'
import type { PendingSignIn } from './sign-in.ts'
import { consentTokenId } from './wire-members.ts'

/** What an authorization request needs of its client. */
export interface AuthorizationContext {
  readonly server: oauth.AuthorizationServer
  readonly client: oauth.Client
  readonly profile: OauthProfile
  readonly tools: ConnectorTools
  readonly options: oauth.PushedAuthorizationRequestOptions
  authenticate(): Promise<oauth.ClientAuth>
}

/** The URL at which the customer signs in: with the parameters, a signed request object (RFC 9101) or a pushed request (RFC 9126). */
export async function createAuthorizationUrl(
  context: AuthorizationContext,
  parameters: Readonly<Record<string, string>>,
  pending: PendingSignIn,
): Promise<string> {
  const { server, profile } = context
  if (server.authorization_endpoint === undefined)
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'metadata has no authorization_endpoint' })
  const request = await requestParameters(context, parameters, pending)
  const sent = await signParameters(context, request)
  const visible = profile.usesPar ? await pushParameters(context, sent) : sent
  return buildUrl(server.authorization_endpoint, visible, profile)
}

async function requestParameters(
  { client, profile, tools }: AuthorizationContext,
  parameters: Readonly<Record<string, string>>,
  { state, nonce, codeVerifier, consentRef }: PendingSignIn,
): Promise<Record<string, string>> {
  // A function, because a replacement text would have patterns of its own, such as `$&`.
  const withConsent = (value: string): string => value.replaceAll('{consentId}', () => consentRef)
  const scope = withConsent(profile.scope)
  // Otherwise a bank could widen the scope by the id of its consent.
  if (profile.scope.includes('{consentId}') && !consentTokenId.safeParse(consentRef).success)
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'the consent id cannot be part of a scope' })
  return {
    client_id: client.client_id,
    response_type: profile.usesUpperCaseResponseType ? profile.responseType.toUpperCase() : profile.responseType,
    ...(profile.responseMode === 'jwt' && { response_mode: 'jwt' }),
    ...(profile.responseMode === 'query' && profile.responseType === 'code id_token' && { response_mode: 'query' }),
    redirect_uri: tools.redirectUri,
    ...(scope !== '' && { scope }),
    state,
    ...(profile.usesOpenIdConnect && { nonce }),
    code_challenge: await oauth.calculatePKCECodeChallenge(codeVerifier),
    code_challenge_method: 'S256',
    ...parameters,
    ...Object.fromEntries(
      Object.entries(profile.authorizationParameters).map(([name, value]) => [name, withConsent(value)]),
    ),
  }
}

async function signParameters(
  { server, client, profile, tools }: AuthorizationContext,
  parameters: Record<string, string>,
): Promise<Record<string, string>> {
  const rules = profile.requestObject
  if (!rules) return parameters
  const request = await oauth.issueRequestObject(server, client, parameters, await signingKeyOf(tools), {
    [oauth.modifyAssertion](header, payload) {
      nameAlgorithm(header)
      if (rules.audience !== 'ISSUER') payload['aud'] = rules.audience
      payload['exp'] = (payload['iat'] as number) + rules.lifetimeSeconds
    },
  })
  return { client_id: client.client_id, ...repeatedParameters(rules, parameters), request }
}

const repeatedParameters = (
  { repeatedParameters: names }: RequestObjectRules,
  parameters: Readonly<Record<string, string>>,
): Record<string, string> =>
  Object.fromEntries(
    names.flatMap((name) => (parameters[name] === undefined ? [] : [[name, parameters[name]] as const])),
  )

async function pushParameters(
  { server, client, options, authenticate }: AuthorizationContext,
  parameters: Readonly<Record<string, string>>,
): Promise<Record<string, string>> {
  const response = await oauth.pushedAuthorizationRequest(server, client, await authenticate(), parameters, options)
  const { request_uri } = await oauth.processPushedAuthorizationResponse(server, client, response)
  return { client_id: client.client_id, request_uri }
}

/** Adds the parameters under the bank's names, or all of them in one parameter. */
function buildUrl(endpoint: string, parameters: Readonly<Record<string, string>>, profile: OauthProfile): string {
  const { base64Parameter } = profile
  const url = new URL(endpoint)
  const named = Object.entries(parameters).map(([name, value]) => [bankNameOf(profile, name), value])
  if (base64Parameter === null) for (const [name, value] of named) url.searchParams.append(name!, value!)
  else {
    const pairs = named as [string, string][]
    const text = profile.encodesBase64Parameters ? new URLSearchParams(pairs).toString() : joinUnencoded(pairs)
    url.searchParams.set(base64Parameter, Buffer.from(text, 'utf8').toString('base64'))
  }
  return url.href
}

/** The parameters as they are. Throws `BANK_RESPONSE_INVALID` if one, such as the id of a consent, could add another. */
function joinUnencoded(parameters: readonly (readonly [name: string, value: string])[]): string {
  if (parameters.some(([, value]) => /[&#%+\p{Cc}]/u.test(value)))
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'a parameter cannot be sent without encoding' })
  return parameters.map(([name, value]) => `${name}=${value}`).join('&')
}

/** Opens the authorization address and returns the one to which it leads. Throws `BANK_RESPONSE_INVALID` if it leads nowhere. */
export async function openAuthorization(url: string, { http }: Pick<ConnectorTools, 'http'>): Promise<string> {
  const { status, headers } = await sendToBank(http, {
    method: 'GET',
    url,
    timeoutMs: OPENING_TIMEOUT_MS,
    maxBytes: OPENING_MAX_BYTES,
  })
  if (status >= 500)
    throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: `authorization endpoint returned ${status}` })
  const location = status >= 300 && status <= 399 ? URL.parse(headers['location'] ?? '', url) : null
  if (!location)
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `authorization endpoint returned ${status}` })
  return location.href
}
const OPENING_TIMEOUT_MS = 4_000
const OPENING_MAX_BYTES = 262_144
