import type { AdapterPayload } from 'oidc-provider'
import { toVerificationKeys } from '../../kernel/public-keys.ts'
import type { Client, Clients } from '../../modules/clients/index.ts'
import { ACCOUNT_INFORMATION } from './authorization-details.ts'

/** Authorization responses use the query of the redirect. Other modes need a script or hide the response from the server. */
export const RESPONSE_MODE = 'query'

/** A client's metadata for the provider; undefined unless the client is ACTIVE. */
export async function clientMetadata(clients: Clients, id: string): Promise<AdapterPayload | undefined> {
  const client = await clients.find(id)
  return client?.status === 'ACTIVE' ? metadataOf(client) : undefined
}

function metadataOf(client: Client): AdapterPayload {
  const hasRedirectUris = client.redirectUris.length > 0
  return {
    client_id: client.id,
    client_name: client.name,
    redirect_uris: [...client.redirectUris],
    response_types: hasRedirectUris ? ['code'] : [],
    response_modes: [RESPONSE_MODE],
    grant_types: ['client_credentials', ...(hasRedirectUris ? ['authorization_code', 'refresh_token'] : [])],
    token_endpoint_auth_method: 'private_key_jwt',
    jwks: toVerificationKeys(client.jwks),
    dpop_bound_access_tokens: client.tokenBinding === 'DPOP',
    require_pushed_authorization_requests: true,
    authorization_details_types: [ACCOUNT_INFORMATION],
    subject_type: 'pairwise',
    id_token_signed_response_alg: 'ES256',
  }
}
