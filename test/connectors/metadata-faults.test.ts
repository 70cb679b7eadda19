import { describe, expect, test } from 'vitest'
import {
  createEndpointCheck,
  metadataFaults,
  resolveOauthProfile,
  STANDARDS,
  type ServerMetadata,
} from '../../src/connectors/index.ts'
import type { Registration } from '../../src/connectors/connector.ts'
import { ADDRESS, EXAMPLES } from '../support/standards.ts'
import { METADATA } from '../support/oauth-bank.ts'

const registration = STANDARDS.OBIE.registration(ADDRESS).parse(EXAMPLES.OBIE.registration)
const faultsOf = (members: ServerMetadata, oauth: Registration['oauth'] = {}, more: Partial<Registration> = {}) =>
  metadataFaults(
    { ...METADATA, ...members },
    { ...registration, ...more },
    resolveOauthProfile(STANDARDS.OBIE.oauthDefaults, oauth),
    createEndpointCheck(registration, STANDARDS.OBIE.resourceServers(registration)),
  )

describe('the metadata of a bank', () => {
  test('metadata that has only the endpoints agrees with a profile', () => {
    expect(faultsOf({})).toEqual([])
  })

  test.each<[fault: string, members: ServerMetadata, oauth: Registration['oauth']]>([
    ['ENDPOINT_MISSING', { token_endpoint: undefined }, {}],
    ['ENDPOINT_MISSING', { jwks_uri: undefined }, {}],
    ['ENDPOINT_MISSING', { pushed_authorization_request_endpoint: undefined }, { usesPar: true }],
    ['ENDPOINT_NOT_ALLOWED', { token_endpoint: 'https://other.example/token' }, {}],
    ['ENDPOINT_NOT_ALLOWED', { token_endpoint: `${registration.apiBase}/accounts` }, {}],
    ['CLIENT_AUTHENTICATION_NOT_SUPPORTED', { token_endpoint_auth_methods_supported: ['tls_client_auth'] }, {}],
    ['SIGNING_ALGORITHM_NOT_SUPPORTED', { token_endpoint_auth_signing_alg_values_supported: ['PS256'] }, {}],
    ['SIGNING_ALGORITHM_NOT_SUPPORTED', { request_object_signing_alg_values_supported: ['PS256'] }, {}],
    ['BANK_ALGORITHM_NOT_SUPPORTED', { id_token_signing_alg_values_supported: ['PS256'] }, {}],
    ['BANK_ALGORITHM_NOT_SUPPORTED', { authorization_signing_alg_values_supported: ['PS256'] }, {}],
    ['RESPONSE_TYPE_NOT_SUPPORTED', { response_types_supported: ['code id_token'] }, {}],
    ['RESPONSE_MODE_NOT_SUPPORTED', { response_modes_supported: ['fragment'] }, {}],
    ['PAR_REQUIRED', { require_pushed_authorization_requests: true }, {}],
    ['REQUEST_OBJECT_REQUIRED', { require_signed_request_object: true }, { requestObject: null }],
    ['PKCE_NOT_SUPPORTED', { code_challenge_methods_supported: ['plain'] }, {}],
  ])('%s is found where metadata and profile disagree (%j)', (fault, members, oauth) => {
    expect(faultsOf(members, oauth)).toEqual([fault])
  })

  test('metadata that names the algorithm by its newer name agrees with a profile that uses EdDSA', () => {
    const oauth = { signingAlgorithm: 'EdDSA', bankAlgorithm: 'EdDSA' } as const
    const members = {
      token_endpoint_auth_signing_alg_values_supported: ['Ed25519'],
      id_token_signing_alg_values_supported: ['Ed25519'],
    }
    expect(faultsOf(members, oauth)).toEqual([])
  })

  test('an alias for mutual TLS on another origin is found only where the gateway uses aliases', () => {
    const members = { mtls_endpoint_aliases: { token_endpoint: 'https://mtls.other.example/token' } }
    expect(faultsOf(members)).toEqual([])
    expect(faultsOf(members, {}, { mutualTls: true })).toEqual(['ENDPOINT_NOT_ALLOWED'])
  })

  test('metadata of any shape is read without an error', () => {
    const odd = { response_types_supported: 'code', mtls_endpoint_aliases: 'none', jwks_uri: 7, token_endpoint: null }
    expect(faultsOf(odd, {}, { mutualTls: true })).toEqual(['ENDPOINT_MISSING'])
  })
})
