import { decodeJwt, SignJWT } from 'jose'
import { z } from 'zod'
import { GatewayError } from '../kernel/errors.ts'
import { throwInvalidInput } from '../kernel/input-faults.ts'
import { parseJson, parseBankJson } from '../kernel/wire.ts'
import type { ConnectorTools, IssuedClient, Registration } from './connector.ts'
import { createUuid } from './bank-api.ts'
import { signingKeyOf } from './client-authentication.ts'
import { requireIssuer, type EndpointCheck } from './endpoints.ts'
import type { OauthProfile } from './oauth-profile.ts'
import { sendToBank } from './send-to-bank.ts'

const TIMEOUT_MS = 8_000
const MAX_BYTES = 65_536
const REQUEST_LIFETIME_S = 300

const serverMetadata = z.object({ issuer: z.string().max(2_048), registration_endpoint: z.url().max(2_048) })
const registrationResponse = z.object({
  client_id: z.string().regex(/^[\x21-\x7e]{1,128}$/),
  client_secret: z
    .string()
    .regex(/^[\x21-\x7e]{8,512}$/)
    .optional(),
})

/** How a bank takes registration requests. */
export interface RegistrationRequestRules {
  readonly contentType: 'application/jwt' | 'application/jose'
  /** The `aud` claim: the issuer, or the bank's id in its directory. */
  readonly audience: string
  /** The `tls_client_auth_subject_dn` claim, in the form that the bank expects; required with `tls_client_auth`. */
  readonly subjectDn?: string | undefined
}

/** The schema of `dynamicRegistration` in a registration. */
export const registrationRequestRules = z.strictObject({
  contentType: z.enum(['application/jwt', 'application/jose']).default('application/jwt'),
  audience: z.string().min(1).max(512).default('ISSUER'),
  subjectDn: z.string().min(1).max(512).optional(),
})

/** What a standard adds to a registration request. */
export interface RegistrationOptions {
  /** All scopes that the gateway will ever request. */
  readonly scope: string
  readonly profile: OauthProfile
  readonly rules?: RegistrationRequestRules | undefined
  /** Checks endpoints that the bank's metadata names. */
  readonly checkEndpoint: EndpointCheck
}

/**
 * Registers the gateway as a client of a bank with a software statement of the standard's directory, in a request signed
 * with the connector's key (Open Banking DCR 3.2 to 3.4; CDR 1.36, "Dynamic Client Registration"; both based on RFC 7591).
 * Throws `INVALID_INPUT` if the statement is malformed and `BANK_REFUSED` if the bank refuses.
 */
export async function registerDynamically(
  registration: Registration,
  tools: ConnectorTools,
  softwareStatement: string,
  options: RegistrationOptions,
): Promise<IssuedClient> {
  const { checkEndpoint, profile, rules } = options
  const softwareId = parseSoftwareId(softwareStatement)
  const { issuer, registration_endpoint: url } = await findRegistrationEndpoint(registration, profile, tools)
  const fault = checkEndpoint(url)
  if (fault !== undefined)
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: `registration_endpoint ${fault}` })
  const nowS = Math.floor(tools.clock.now().getTime() / 1_000)
  const { key, kid } = await signingKeyOf(tools)
  const request = await new SignJWT({
    jti: createUuid(tools.randomness),
    software_id: softwareId,
    software_statement: softwareStatement,
    ...clientMetadata(registration, tools, options),
  })
    .setProtectedHeader({ alg: profile.signingAlgorithm, typ: 'JWT', kid })
    .setIssuer(softwareId)
    .setAudience(rules === undefined || rules.audience === 'ISSUER' ? issuer : rules.audience)
    .setIssuedAt(nowS)
    .setExpirationTime(nowS + REQUEST_LIFETIME_S)
    .sign(key)
  const response = await sendToBank(tools.http, {
    method: 'POST',
    url,
    headers: { 'content-type': rules?.contentType ?? 'application/jwt', accept: 'application/json' },
    body: request,
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES,
  })
  if (response.status >= 500)
    throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: `registration endpoint returned ${response.status}` })
  if (response.status !== 201)
    throw new GatewayError('BANK_REFUSED', { internalMessage: `registration endpoint returned ${response.status}` })
  const { client_id: clientId, client_secret: clientSecret } = parseBankJson(registrationResponse, response.text)
  return { clientId, ...(profile.clientAuthentication.startsWith('client_secret') && { clientSecret }) }
}

/** The client's metadata (RFC 7591, 2; RFC 8705, 2.1.2), as the profile says. */
function clientMetadata(
  { mutualTls }: Registration,
  { redirectUri }: ConnectorTools,
  { scope, profile, rules }: RegistrationOptions,
): Record<string, unknown> {
  const { clientAuthentication, signingAlgorithm, bankAlgorithm } = profile
  if (clientAuthentication === 'tls_client_auth' && rules?.subjectDn === undefined)
    throwInvalidInput(['registration', 'dynamicRegistration', 'subjectDn'], 'is required with `tls_client_auth`')
  return {
    redirect_uris: [redirectUri],
    scope,
    application_type: 'web',
    grant_types: ['authorization_code', 'client_credentials', 'refresh_token'],
    response_types: [profile.responseType],
    token_endpoint_auth_method: clientAuthentication,
    ...(clientAuthentication === 'private_key_jwt' && { token_endpoint_auth_signing_alg: signingAlgorithm }),
    ...(clientAuthentication === 'tls_client_auth' && { tls_client_auth_subject_dn: rules!.subjectDn }),
    ...(mutualTls === true && { tls_client_certificate_bound_access_tokens: true }),
    ...(profile.requestObject && { request_object_signing_alg: signingAlgorithm }),
    id_token_signed_response_alg: bankAlgorithm,
    ...(profile.responseMode === 'jwt' && { authorization_signed_response_alg: bankAlgorithm }),
  }
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

/** The stated endpoint, or that of the metadata, which is at the stated or the well-known address and must name the issuer. */
async function findRegistrationEndpoint(
  registration: Registration,
  { metadataUrl, endpoints }: OauthProfile,
  tools: ConnectorTools,
): Promise<z.output<typeof serverMetadata>> {
  const authorizationServer = requireIssuer(registration)
  if (endpoints?.registration !== undefined)
    return { issuer: authorizationServer, registration_endpoint: endpoints.registration }
  const url = metadataUrl ?? `${authorizationServer.replace(/\/$/, '')}/.well-known/openid-configuration`
  const { status, text } = await sendToBank(tools.http, {
    method: 'GET',
    url,
    timeoutMs: TIMEOUT_MS,
    maxBytes: MAX_BYTES * 4,
  })
  const metadata = status === 200 ? serverMetadata.safeParse(parseJson(text)).data : undefined
  if (metadata?.issuer !== authorizationServer)
    throw new GatewayError('BANK_REFUSED', {
      internalMessage: 'metadata has no registration endpoint or another issuer',
    })
  return metadata
}
