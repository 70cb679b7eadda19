import { decodeJwt, importJWK, SignJWT } from 'jose'
import { z } from 'zod'
import { GatewayError } from '../kernel/errors.ts'
import { throwInvalidInput } from '../kernel/input-faults.ts'
import { parseJson, parseBankJson } from '../kernel/wire.ts'
import type { ConnectorTools, Registration } from './connector.ts'
import type { EndpointCheck } from './endpoints.ts'
import { sendToBank } from './send-to-bank.ts'

const TIMEOUT_MS = 8_000
const MAX_BYTES = 65_536
const REQUEST_LIFETIME_S = 300

const serverMetadata = z.object({ issuer: z.string().max(2_048), registration_endpoint: z.url().max(2_048) })
const registrationResponse = z.object({ client_id: z.string().regex(/^[\x21-\x7e]{1,128}$/) })

/** What a standard adds to a registration request. */
export interface RegistrationOptions {
  /** All scopes that the gateway will ever request. */
  readonly scope: string
  /** Checks endpoints that the bank's metadata names. */
  readonly checkEndpoint: EndpointCheck
}

/**
 * Registers the gateway as a client of a bank with a software statement of the standard's directory, in a request signed
 * with the connector's key (Open Banking DCR 3.4; CDR 1.36, "Dynamic Client Registration"; both based on RFC 7591).
 * Returns the client id. Throws `INVALID_INPUT` if the statement is malformed and `BANK_REFUSED` if the bank refuses.
 */
export async function registerDynamically(
  { authorizationServer }: Registration,
  tools: ConnectorTools,
  softwareStatement: string,
  { scope, checkEndpoint }: RegistrationOptions,
): Promise<string> {
  const softwareId = parseSoftwareId(softwareStatement)
  const { issuer, registration_endpoint: url } = await fetchServerMetadata(authorizationServer, tools)
  const fault = checkEndpoint(url)
  if (fault !== undefined)
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `registration_endpoint ${fault}` })
  const nowS = Math.floor(tools.clock.now().getTime() / 1_000)
  const request = await new SignJWT({
    jti: tools.randomness.bytes(16).toString('base64url'),
    software_id: softwareId,
    software_statement: softwareStatement,
    redirect_uris: [tools.redirectUri],
    scope,
    application_type: 'web',
    grant_types: ['authorization_code', 'client_credentials', 'refresh_token'],
    response_types: ['code'],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_signing_alg: 'ES256',
    request_object_signing_alg: 'ES256',
    id_token_signed_response_alg: 'ES256',
    authorization_signed_response_alg: 'ES256',
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'JWT', kid: String(tools.key['kid']) })
    .setIssuer(softwareId)
    .setAudience(issuer)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + REQUEST_LIFETIME_S)
    .sign(await importJWK(tools.key, 'ES256'))
  const response = await sendToBank(tools.http, {
    method: 'POST',
    url,
    headers: { 'content-type': 'application/jwt', accept: 'application/json' },
    body: request,
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES,
  })
  if (response.status >= 500)
    throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: `registration endpoint returned ${response.status}` })
  if (response.status !== 201)
    throw new GatewayError('BANK_REFUSED', { internalMessage: `registration endpoint returned ${response.status}` })
  return parseBankJson(registrationResponse, response.text).client_id
}

function parseSoftwareId(statement: string): string {
  try {
    const { software_id: id } = decodeJwt(statement)
    if (typeof id === 'string' && /^[\x21-\x7e]{1,128}$/.test(id)) return id
  } catch {
    // Malformed; reported below.
  }
  return throwInvalidInput(['softwareStatement'], 'must be a JWT issued by the directory, with a `software_id` claim')
}

async function fetchServerMetadata(server: string, tools: ConnectorTools): Promise<z.output<typeof serverMetadata>> {
  const url = `${server.replace(/\/$/, '')}/.well-known/openid-configuration`
  const { status, text } = await sendToBank(tools.http, {
    method: 'GET',
    url,
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES * 4,
  })
  const metadata = status === 200 ? serverMetadata.safeParse(parseJson(text)).data : undefined
  if (metadata?.issuer !== server)
    throw new GatewayError('BANK_REFUSED', {
      internalMessage: 'metadata has no registration endpoint or another issuer',
    })
  return metadata
}
