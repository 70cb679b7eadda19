import type { AlertResponseRules } from './alert-response-rules.ts'
import type { Registration, Standard } from './connector.ts'
import { requireIssuer } from './endpoints.ts'
import type { EventSender } from './event-rules.ts'
import { configurationUrlOf } from './stream-control.ts'
import { bankNameOf, customerTokenParameters, resolveOauthProfile, type OauthProfile } from './oauth-profile.ts'

/** A request that the gateway will send to a bank, or to which it will send the customer's browser. */
export interface PlannedRequest {
  /** An operation of the standard, or a step of OAuth. */
  readonly purpose: string
  /** The HTTP method, or `BROWSER` for an address that the customer's browser opens. */
  readonly method: string
  /** With `{placeholders}`; relative to the metadata if only that names it. */
  readonly url: string
  /** How the gateway authenticates. */
  readonly authentication: string
  /** Header names besides those of the content. */
  readonly headers: readonly string[]
  /** Parameter names of a form or query. */
  readonly parameters: readonly string[]
}

/** What an operator must have or do before a connector can serve customers. */
export type Requirement =
  | 'CLIENT_ID'
  | 'CLIENT_SECRET'
  | 'TRANSPORT_CERTIFICATE'
  | 'SIGNING_CERTIFICATE'
  | 'SOFTWARE_STATEMENT'
  | 'KEYS_AT_BANK'

/** What the operator must bring for a registration, whether or not it was uploaded. A client ID can come by dynamic registration. */
export function requirementsOf<R extends Registration>(standard: Standard<R>, registration: R): Requirement[] {
  const { clientAuthentication, requestObject } = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const { transport, signing, identifyClient = false } = registration.certificates ?? {}
  const { usesClientToken = true, usesCustomerTokens = true } = standard.describe(registration)
  const usesOauth = usesClientToken || usesCustomerTokens
  const usesOwnKey = clientAuthentication === 'private_key_jwt' || requestObject !== null
  const rules: readonly (readonly [Requirement, isRequired: boolean])[] = [
    ['TRANSPORT_CERTIFICATE', transport === 'ISSUED'],
    ['SIGNING_CERTIFICATE', signing === 'ISSUED'],
    ['SOFTWARE_STATEMENT', isDynamic(registration)],
    ['CLIENT_ID', !identifyClient && usesOauth],
    ['CLIENT_SECRET', usesOauth && clientAuthentication.startsWith('client_secret')],
    ['KEYS_AT_BANK', usesOauth && usesOwnKey && signing !== 'ISSUED'],
  ]
  return rules.flatMap(([requirement, isRequired]) => (isRequired ? [requirement] : []))
}

/** The same before the registration: without the client ID if the registration states it, or if the software statement leads to it. */
export const openRequirements = <R extends Registration>(standard: Standard<R>, registration: R): Requirement[] =>
  requirementsOf(standard, registration).filter(
    (requirement) => requirement !== 'CLIENT_ID' || (registration.clientId === undefined && !isDynamic(registration)),
  )

/** Every request that a registration leads to, in the order of a sign-in. */
export function planRequests<R extends Registration>(standard: Standard<R>, registration: R): PlannedRequest[] {
  const profile = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const { usesClientToken = true, usesCustomerTokens = true, ...description } = standard.describe(registration)
  const server = authorizationServerOf(registration, profile)
  return [
    ...(usesClientToken || usesCustomerTokens ? server.documents() : []),
    ...(isDynamic(registration) ? [server.registration()] : []),
    ...(usesClientToken && profile.clientScope !== '' ? [server.clientToken()] : []),
    ...(usesCustomerTokens ? server.signIn() : []),
    ...apiRequests(standard, registration),
    ...(description.consentEndEndpoint === undefined ? [] : [server.consentEnd(description.consentEndEndpoint)]),
    ...(registration.events ? eventRequests(registration.events, usesClientToken) : []),
    ...(registration.alertResponses === undefined ? [] : [responsesRequest(registration.alertResponses)]),
  ]
}

/** What the customer is asked to share, in the standard's own terms: the scope if the standard asks by that alone. */
export function requestedDataOf<R extends Registration>(standard: Standard<R>, registration: R): readonly string[] {
  const { requestedData } = standard.describe(registration)
  const { scope } = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  return requestedData.length > 0 || scope === '' ? requestedData : scope.split(' ')
}

/** A document that anybody can read. */
const document = (purpose: string, url: string): PlannedRequest => ({
  purpose,
  method: 'GET',
  url,
  authentication: 'none',
  headers: [],
  parameters: [],
})

/** The requests about a bank's events. */
function eventRequests(events: EventSender, usesClientToken: boolean): PlannedRequest[] {
  const { keysUrl, pollUrl } = events
  const configurationUrl = configurationUrlOf(events)
  const request = (
    purpose: string,
    method: string,
    url: string,
    parameters: readonly string[] = [],
  ): PlannedRequest => ({
    purpose,
    method,
    url,
    authentication: usesClientToken ? 'bearer token' : CLIENT_CERTIFICATE,
    headers: usesClientToken ? ['authorization'] : [],
    parameters,
  })
  const named = (endpoint: string): string => `{${endpoint}} of the configuration`
  return [
    ...(pollUrl === undefined ? [] : [request('queue of events', 'POST', pollUrl)]),
    ...(configurationUrl === undefined
      ? []
      : [
          document('configuration of the event stream', configurationUrl),
          request('event streams', 'GET', named('configuration_endpoint')),
          request('new event stream', 'POST', named('configuration_endpoint')),
          request('status of the event stream', 'GET', named('status_endpoint'), ['stream_id']),
          request('change of that status', 'POST', named('status_endpoint')),
          request('verification of the event stream', 'POST', named('verification_endpoint')),
        ]),
    ...(keysUrl === undefined ? [] : [document('keys of events', keysUrl)]),
  ]
}

/** The endpoint for responses to alerts. */
const responsesRequest = ({ url, scope }: AlertResponseRules): PlannedRequest => ({
  purpose: 'response of a customer to an alert',
  method: 'POST',
  url,
  authentication: scope === undefined ? 'signed token' : 'signed token and bearer token',
  headers: scope === undefined ? [] : ['authorization'],
  parameters: [],
})

/** The requests to an authorization server. */
function authorizationServerOf(registration: Registration, profile: OauthProfile) {
  const { endpoints, usesPar, requestObject, tokenParameters } = profile
  const isSigned = requestObject !== null
  const ofCustomer = Object.keys(customerTokenParameters(profile))
  const named = (endpoint: string): string => `{${endpoint}} of the metadata`
  const authentication = authenticationOf(registration, profile)
  const post = (purpose: string, url: string, parameters: readonly string[]): PlannedRequest => ({
    purpose,
    method: 'POST',
    url,
    authentication,
    headers: [],
    parameters,
  })
  const token = (purpose: string, parameters: readonly string[]): PlannedRequest =>
    post(purpose, endpoints?.token ?? profile.tokenEndpoint ?? named('token_endpoint'), parameters)
  const authorizationUrl = endpoints?.authorization ?? named('authorization_endpoint')
  const opening = (parameters: readonly string[]): PlannedRequest => ({
    ...post('opening of the sign-in', authorizationUrl, parameters),
    method: 'GET',
  })
  return {
    documents(): PlannedRequest[] {
      const metadata = metadataUrlOf(registration, profile)
      const hasSignatures = profile.idToken !== 'NONE' || profile.responseMode === 'jwt'
      return [
        ...(metadata === undefined ? [] : [document('metadata', metadata)]),
        ...(hasSignatures ? [document('keys of the bank', endpoints?.jwks ?? named('jwks_uri'))] : []),
      ]
    },
    registration: (): PlannedRequest => ({
      ...post('registration of the gateway', endpoints?.registration ?? named('registration_endpoint'), []),
      authentication: `request signed with ${profile.signingAlgorithm}`,
    }),
    clientToken: (): PlannedRequest =>
      token('token of the gateway', ['grant_type', 'scope', ...Object.keys(tokenParameters)]),
    signIn(): PlannedRequest[] {
      const parameters = authorizationParameters(profile)
      const pushed = endpoints?.pushedAuthorizationRequest ?? named('pushed_authorization_request_endpoint')
      return [
        ...(usesPar ? [post('pushed authorization request', pushed, isSigned ? ['request'] : parameters)] : []),
        ...(profile.opensAuthorization ? [opening(browserParameters(profile, parameters))] : []),
        {
          purpose: 'sign-in of the customer',
          method: 'BROWSER',
          url: profile.opensAuthorization ? '{location} of the response' : authorizationUrl,
          authentication: isSigned ? `request object signed with ${profile.signingAlgorithm}` : 'none',
          headers: [],
          parameters: profile.opensAuthorization ? [] : browserParameters(profile, parameters),
        },
        token('tokens of the customer', ['grant_type', 'code', 'code_verifier', 'redirect_uri', ...ofCustomer]),
        token('renewed tokens', ['grant_type', 'refresh_token', ...ofCustomer]),
      ]
    },
    consentEnd: (endpoint: 'revocation_endpoint' | 'cdr_arrangement_revocation_endpoint'): PlannedRequest =>
      endpoint === 'revocation_endpoint'
        ? post('end of a consent', endpoints?.revocation ?? named(endpoint), ['token'])
        : post('end of a consent', named(endpoint), ['cdr_arrangement_id']),
  }
}

function browserParameters(
  { base64Parameter, usesPar, requestObject }: OauthProfile,
  parameters: readonly string[],
): readonly string[] {
  if (base64Parameter !== null) return [base64Parameter]
  if (usesPar) return ['client_id', 'request_uri']
  return requestObject === null ? parameters : ['client_id', ...requestObject.repeatedParameters, 'request']
}

/** How the gateway authenticates at the token endpoint. */
const authenticationOf = ({ mutualTls }: Registration, { clientAuthentication }: OauthProfile): string =>
  clientAuthentication === 'none' && mutualTls ? CLIENT_CERTIFICATE : clientAuthentication
const CLIENT_CERTIFICATE = 'client certificate'

const isDynamic = (registration: Registration): boolean =>
  registration.clientId === undefined &&
  'dynamicRegistration' in registration &&
  registration.dynamicRegistration !== undefined

function apiRequests<R extends Registration>(standard: Standard<R>, registration: R): PlannedRequest[] {
  const { headers, query = [] } = standard.describe(registration)
  return standard.resourceServers(registration).flatMap(({ baseUrl, operations }) =>
    Object.entries(operations).flatMap(([purpose, [method, template]]) => {
      const names = headers[purpose]
      if (!names) return []
      const url = `${baseUrl.replace(/\/$/, '')}${template}`
      const authentication = names.includes('authorization') ? 'bearer token' : CLIENT_CERTIFICATE
      return [{ purpose, method, url, authentication, headers: names, parameters: query }]
    }),
  )
}

/** Where the metadata is. Undefined if the profile states the endpoints; with `usesMetadataLink`, a text and not an address. */
export function metadataUrlOf(
  { authorizationServer }: Registration,
  { metadataUrl, endpoints, usesMetadataLink, usesOpenIdConnect }: OauthProfile,
): string | undefined {
  if (endpoints) return undefined
  if (usesMetadataLink) return '{scaOAuth} link of the consent'
  if (metadataUrl !== undefined) return metadataUrl
  const { origin, pathname } = new URL(requireIssuer({ authorizationServer }))
  const path = pathname.replace(/\/$/, '')
  return usesOpenIdConnect
    ? `${origin}${path}/.well-known/openid-configuration`
    : `${origin}/.well-known/oauth-authorization-server${path}`
}

const authorizationParameters = (profile: OauthProfile): string[] =>
  [
    'client_id',
    'response_type',
    ...(profile.responseMode === 'jwt' ? ['response_mode'] : []),
    'redirect_uri',
    ...(profile.scope === '' ? [] : ['scope']),
    'state',
    ...(profile.usesOpenIdConnect ? ['nonce'] : []),
    'code_challenge',
    'code_challenge_method',
    ...Object.keys(profile.authorizationParameters),
  ].map((name) => bankNameOf(profile, name))
