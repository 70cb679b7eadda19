import type { ApiDescription, Registration, Standard } from './connector.ts'
import { requireIssuer } from './endpoints.ts'
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

/** Every request that a registration leads to, in the order of a sign-in. */
export function planRequests<R extends Registration>(standard: Standard<R>, registration: R): PlannedRequest[] {
  const profile = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const description = standard.describe(registration)
  return [
    ...oauthRequests(registration, profile, description),
    ...apiRequests(standard, registration),
    ...eventKeyRequests(registration),
  ]
}

/** The keys of the bank's events, if it publishes them. */
const eventKeyRequests = ({ events }: Registration): PlannedRequest[] =>
  events?.keysUrl === undefined
    ? []
    : [
        {
          purpose: 'eventKeys',
          method: 'GET',
          url: events.keysUrl,
          authentication: 'none',
          headers: [],
          parameters: [],
        },
      ]

/** What the operator must bring for a registration, whether or not it is there. */
export function requirementsOf<R extends Registration>(standard: Standard<R>, registration: R): Requirement[] {
  const { clientAuthentication, requestObject } = resolveOauthProfile(standard.oauthDefaults, registration.oauth)
  const { transport, signing, identifyClient = false } = registration.certificates ?? {}
  const { usesClientToken = true, usesCustomerTokens = true } = standard.describe(registration)
  const usesOauth = usesClientToken || usesCustomerTokens
  const usesOwnKey = clientAuthentication === 'private_key_jwt' || requestObject !== null
  const isDynamic = 'dynamicRegistration' in registration && registration.dynamicRegistration !== undefined
  const rules: readonly (readonly [Requirement, isRequired: boolean])[] = [
    ['TRANSPORT_CERTIFICATE', transport === 'ISSUED'],
    ['SIGNING_CERTIFICATE', signing === 'ISSUED'],
    ['SOFTWARE_STATEMENT', isDynamic],
    ['CLIENT_ID', !identifyClient && usesOauth],
    ['CLIENT_SECRET', usesOauth && clientAuthentication.startsWith('client_secret')],
    ['KEYS_AT_BANK', usesOauth && usesOwnKey && signing !== 'ISSUED'],
  ]
  return rules.flatMap(([requirement, isRequired]) => (isRequired ? [requirement] : []))
}

function apiRequests<R extends Registration>(standard: Standard<R>, registration: R): PlannedRequest[] {
  const { headers } = standard.describe(registration)
  return standard.resourceServers(registration).flatMap(({ baseUrl, operations }) =>
    Object.entries(operations).flatMap(([purpose, [method, template]]) => {
      const names = headers[purpose]
      if (!names) return []
      const url = `${baseUrl.replace(/\/$/, '')}${template}`
      const authentication = names.includes('authorization') ? 'bearer token' : 'certificate'
      return [{ purpose, method, url, authentication, headers: names, parameters: [] }]
    }),
  )
}

function oauthRequests(
  registration: Registration,
  profile: OauthProfile,
  { usesClientToken = true, usesCustomerTokens = true }: ApiDescription,
): PlannedRequest[] {
  if (!usesClientToken && !usesCustomerTokens) return []
  const { endpoints, usesPar, requestObject } = profile
  const metadata = metadataUrlOf(registration, profile)
  const server = { authentication: profile.clientAuthentication, headers: [] }
  const named = (endpoint: string): string => `{${endpoint}} of the metadata`
  const signIn = authorizationParameters(profile)
  const ofCustomer = Object.keys(customerTokenParameters(profile))
  const isSigned = requestObject !== null
  const inBrowser = usesPar
    ? ['client_id', 'request_uri']
    : isSigned
      ? ['client_id', ...requestObject.repeatedParameters, 'request']
      : signIn
  return [
    ...(metadata === undefined
      ? []
      : [{ purpose: 'metadata', method: 'GET', url: metadata, authentication: 'none', headers: [], parameters: [] }]),
    ...(!usesClientToken || profile.clientScope === ''
      ? []
      : [token('token of the gateway', ['grant_type', 'scope', ...Object.keys(profile.tokenParameters)])]),
    ...(usesCustomerTokens ? signInRequests() : []),
  ]

  function signInRequests(): PlannedRequest[] {
    return [
      ...(usesPar
        ? [
            {
              ...server,
              purpose: 'pushed authorization request',
              method: 'POST',
              url: endpoints?.pushedAuthorizationRequest ?? named('pushed_authorization_request_endpoint'),
              parameters: isSigned ? ['request'] : signIn,
            },
          ]
        : []),
      {
        purpose: 'sign-in of the customer',
        method: 'BROWSER',
        url: endpoints?.authorization ?? named('authorization_endpoint'),
        authentication: isSigned ? `request object signed with ${profile.signingAlgorithm}` : 'none',
        headers: [],
        parameters: profile.base64Parameter === null ? inBrowser : [profile.base64Parameter],
      },
      token('tokens of the customer', ['grant_type', 'code', 'code_verifier', 'redirect_uri', ...ofCustomer]),
      token('renewed tokens', ['grant_type', 'refresh_token', ...ofCustomer]),
    ]
  }

  function token(purpose: string, parameters: readonly string[]): PlannedRequest {
    return {
      ...server,
      purpose,
      method: 'POST',
      url: endpoints?.token ?? profile.tokenEndpoint ?? named('token_endpoint'),
      parameters,
    }
  }
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
