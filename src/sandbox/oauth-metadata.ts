import type { SandboxBank } from './bank.ts'
import type { AuthorizationProfile } from './oauth-profile.ts'
import { json, type SandboxResponse } from './server.ts'

const ALGORITHMS = ['ES256', 'PS256', 'EdDSA']

/**
 * The metadata of the bank's authorization server (RFC 8414): everything that it can do for any client. What it requires of one
 * client is part of that client's registration.
 */
export const authorizationServerMetadata = (bank: SandboxBank, profile: AuthorizationProfile): SandboxResponse =>
  json(200, {
    issuer: bank.origin,
    authorization_endpoint: `${bank.origin}/authorize`,
    token_endpoint: `${bank.origin}/token`,
    jwks_uri: `${bank.origin}/jwks`,
    revocation_endpoint: `${bank.origin}/revoke`,
    response_types_supported: ['code', ...(profile.usesOpenIdConnect ? ['code id_token'] : [])],
    response_modes_supported: ['query', 'fragment', ...(profile.usesSignedRequests ? ['jwt', 'query.jwt'] : [])],
    grant_types_supported: ['authorization_code', 'client_credentials', 'refresh_token'],
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: ['private_key_jwt', 'client_secret_basic', 'client_secret_post'],
    token_endpoint_auth_signing_alg_values_supported: ALGORITHMS,
    request_object_signing_alg_values_supported: ALGORITHMS,
    id_token_signing_alg_values_supported: ['ES256'],
    authorization_signing_alg_values_supported: ['ES256'],
    subject_types_supported: ['public'],
    scopes_supported: profile.usesOpenIdConnect ? ['openid', 'accounts'] : ['AIS'],
    ...(profile.usesPar && { pushed_authorization_request_endpoint: `${bank.origin}/par` }),
    ...(profile.usesSignedRequests && { registration_endpoint: `${bank.origin}/register` }),
    ...profile.metadata?.(),
  })
