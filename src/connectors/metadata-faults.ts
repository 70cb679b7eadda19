import type { Registration } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'
import type { OauthProfile } from './oauth-profile.ts'

/** A contradiction between the metadata of an authorization server (RFC 8414) and the profile that the gateway uses. */
export type MetadataFault =
  | 'ENDPOINT_MISSING'
  | 'ENDPOINT_NOT_ALLOWED'
  | 'CLIENT_AUTHENTICATION_NOT_SUPPORTED'
  | 'SIGNING_ALGORITHM_NOT_SUPPORTED'
  | 'BANK_ALGORITHM_NOT_SUPPORTED'
  | 'RESPONSE_TYPE_NOT_SUPPORTED'
  | 'RESPONSE_MODE_NOT_SUPPORTED'
  | 'PAR_REQUIRED'
  | 'REQUEST_OBJECT_REQUIRED'
  | 'PKCE_NOT_SUPPORTED'

/** A metadata document, whose members are not checked. */
export type ServerMetadata = Readonly<Record<string, unknown>>

/** The endpoints of the metadata that the gateway can call, as far as it publishes them, mutual-TLS aliases included (RFC 8705, 5). */
export function endpointsOf(metadata: ServerMetadata, { mutualTls = false }: Registration): string[] {
  const aliases = mutualTls ? metadata['mtls_endpoint_aliases'] : undefined
  return [metadata, ...(typeof aliases === 'object' && aliases !== null ? [aliases as ServerMetadata] : [])].flatMap(
    (document) =>
      ENDPOINTS.map((name) => document[name]).filter((url): url is string => typeof url === 'string' && url !== ''),
  )
}
const ENDPOINTS = [
  'authorization_endpoint',
  'token_endpoint',
  'pushed_authorization_request_endpoint',
  'revocation_endpoint',
  'jwks_uri',
]

/**
 * The contradictions, most basic first. A member that the metadata does not have contradicts nothing, because many banks publish
 * only some; an endpoint that is needed does.
 */
export function metadataFaults(
  metadata: ServerMetadata,
  registration: Registration,
  profile: OauthProfile,
  checkEndpoint: EndpointCheck,
): MetadataFault[] {
  const supports = (name: string, ...values: readonly string[]): boolean => {
    const list = metadata[name]
    return !Array.isArray(list) || values.some((value) => list.includes(value))
  }
  const { clientAuthentication, requestObject, idToken, responseMode } = profile
  const own = namesOf(profile.signingAlgorithm)
  const ofBank = namesOf(profile.bankAlgorithm)
  const signsAssertions = clientAuthentication === 'private_key_jwt'
  const rules: readonly (readonly [MetadataFault, holds: boolean])[] = [
    ['ENDPOINT_MISSING', neededEndpoints(profile).every((name) => typeof metadata[name] === 'string')],
    [
      'ENDPOINT_NOT_ALLOWED',
      endpointsOf(metadata, registration).every((endpoint) => checkEndpoint(endpoint) === undefined),
    ],
    [
      'CLIENT_AUTHENTICATION_NOT_SUPPORTED',
      clientAuthentication === 'none' || supports('token_endpoint_auth_methods_supported', clientAuthentication),
    ],
    [
      'SIGNING_ALGORITHM_NOT_SUPPORTED',
      (!signsAssertions || supports('token_endpoint_auth_signing_alg_values_supported', ...own)) &&
        (requestObject === null || supports('request_object_signing_alg_values_supported', ...own)),
    ],
    [
      'BANK_ALGORITHM_NOT_SUPPORTED',
      (idToken === 'NONE' || supports('id_token_signing_alg_values_supported', ...ofBank)) &&
        (responseMode !== 'jwt' || supports('authorization_signing_alg_values_supported', ...ofBank)),
    ],
    ['RESPONSE_TYPE_NOT_SUPPORTED', supports('response_types_supported', profile.responseType)],
    [
      'RESPONSE_MODE_NOT_SUPPORTED',
      supports('response_modes_supported', ...(responseMode === 'jwt' ? ['jwt', 'query.jwt'] : [responseMode])),
    ],
    ['PAR_REQUIRED', profile.usesPar || metadata['require_pushed_authorization_requests'] !== true],
    ['REQUEST_OBJECT_REQUIRED', requestObject !== null || metadata['require_signed_request_object'] !== true],
    ['PKCE_NOT_SUPPORTED', supports('code_challenge_methods_supported', 'S256')],
  ]
  return rules.flatMap(([fault, holds]) => (holds ? [] : [fault]))
}

const neededEndpoints = ({ usesPar, idToken, responseMode }: OauthProfile): string[] => [
  'authorization_endpoint',
  'token_endpoint',
  ...(usesPar ? ['pushed_authorization_request_endpoint'] : []),
  ...(idToken !== 'NONE' || responseMode === 'jwt' ? ['jwks_uri'] : []),
]

/** Both names of the Edwards-curve algorithm (RFC 9864, 2.2). */
const namesOf = (algorithm: string): string[] => (algorithm === 'EdDSA' ? ['EdDSA', 'Ed25519'] : [algorithm])
