import { exportJWK, generateKeyPair } from 'jose'
import {
  createOauthClient,
  executeGraphql,
  type ClientFile,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'

/** A platform with a client that receives webhooks at one endpoint. */
export interface WebhookPlatform {
  readonly client: ClientFile
  readonly endpointId: string
  readonly signingSecret: string
}

const REGISTER_ORGANIZATION = `mutation ($input: RegisterOrganizationInput!) {
  registerOrganization(input: $input) { organization { id } userErrors { message } } }`
const REGISTER_CLIENT = `mutation ($input: RegisterClientInput!) {
  registerClient(input: $input) { client { id } userErrors { message } } }`
const REGISTER_ENDPOINT = `mutation ($input: RegisterWebhookEndpointInput!) {
  registerWebhookEndpoint(input: $input) { webhookEndpoint { id } signingSecret userErrors { message } } }`

/** Registers a platform of this name with an endpoint at `url`, over the API of a running gateway, as an admin and the platform. */
export async function registerWebhookPlatform(
  issuer: string,
  admin: ClientFile,
  { name, url }: { readonly name: string; readonly url: string },
): Promise<WebhookPlatform> {
  const adminToken = await createOauthClient(issuer, admin).clientCredentials('clients:manage organizations:manage')
  const { organization } = await mutate<{ organization: { id: string } }>(issuer, adminToken, REGISTER_ORGANIZATION, {
    kind: 'PLATFORM',
    name,
  })
  const { privateKey } = await generateKeyPair('ES256', { extractable: true })
  const key = { ...(await exportJWK(privateKey)), kid: 'platform-1' }
  const { d: _private, ...publicKey } = key
  const { client } = await mutate<{ client: { id: string } }>(issuer, adminToken, REGISTER_CLIENT, {
    organizationId: organization.id,
    name,
    jwks: { keys: [publicKey] },
    redirectUris: [],
    scopes: ['alerts:read', 'webhooks:manage', 'deliveries:read'],
  })
  const file: ClientFile = { clientId: client.id, key }
  const token = await createOauthClient(issuer, file).clientCredentials('webhooks:manage')
  const registered = await mutate<{ webhookEndpoint: { id: string }; signingSecret: string }>(
    issuer,
    token,
    REGISTER_ENDPOINT,
    { url },
  )
  return { client: file, endpointId: registered.webhookEndpoint.id, signingSecret: registered.signingSecret }
}

/** The payload of a mutation. Throws with every error. */
async function mutate<T>(issuer: string, token: Token, query: string, input: object): Promise<T> {
  const response = await executeGraphql(issuer, token, query, { input })
  const payload = Object.values(response.data ?? {})[0] as (T & { userErrors: unknown[] }) | null | undefined
  if (payload?.userErrors.length !== 0) throw new Error(JSON.stringify(response))
  return payload
}
