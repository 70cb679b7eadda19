import { randomBytes } from 'node:crypto'
import { createLocalJWKSet, decodeJwt, jwtVerify, SignJWT, type JWK } from 'jose'
import type { SandboxBank } from './bank.ts'
import { json, HttpError, type SandboxResponse, type SandboxRequest } from './server.ts'

const DIRECTORY_ISSUER = 'https://directory.sandbox.example'

/** The claims of a software statement. In the sandbox, the bank is also the directory. */
interface SoftwareMetadata {
  readonly software_id: string
  readonly software_jwks: { readonly keys: JWK[] }
  readonly software_redirect_uris: readonly string[]
  readonly events_url: string
}

/** Issues a signed software statement, as the sandbox directory. */
export async function issueSoftwareStatement(
  bank: SandboxBank,
  software: Omit<SoftwareMetadata, 'software_id'>,
): Promise<string> {
  const id = `software-${randomBytes(6).toString('hex')}`
  return new SignJWT({ ...software, software_id: id })
    .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
    .setIssuer(DIRECTORY_ISSUER)
    .setIssuedAt()
    .sign(await bank.signingKey())
}

const registrationError = (error: string): HttpError =>
  new HttpError(json(400, { error, error_description: 'refused' }))

const METHODS = ['private_key_jwt', 'client_secret_basic', 'client_secret_post'] as const

/** The id of a bank in the sandbox directory, to which requests can be addressed in place of the bank's issuer. */
const organizationIdOf = (bank: SandboxBank): string => `${bank.config.id}-organisation`

/** POST /register of Open Banking DCR 3.4 and CDR: a JWT signed with the software's key, with the software statement. */
export async function handleRegistration(
  bank: SandboxBank,
  { headers, body }: SandboxRequest,
): Promise<SandboxResponse> {
  if (!/^application\/(jwt|jose)\b/.test(String(headers['content-type'])))
    throw registrationError('invalid_client_metadata')
  const statement = unverifiedStatement(body)
  const { payload } = await jwtVerify(statement, createLocalJWKSet(bank.publicKeys()), {
    issuer: DIRECTORY_ISSUER,
  }).catch(() => {
    throw registrationError('invalid_software_statement')
  })
  const software = payload as unknown as SoftwareMetadata
  const verifiedRequest = await jwtVerify(body, createLocalJWKSet({ keys: software.software_jwks.keys }), {
    issuer: software.software_id,
    audience: [bank.origin, organizationIdOf(bank)],
    currentDate: bank.now(),
    requiredClaims: ['jti', 'exp', 'iat'],
  }).catch(() => {
    throw registrationError('invalid_client_metadata')
  })
  const { redirect_uris: redirectUris, token_endpoint_auth_method: method } = verifiedRequest.payload as {
    redirect_uris?: string[]
    token_endpoint_auth_method?: string
  }
  if (!redirectUris?.length || redirectUris.some((uri) => !software.software_redirect_uris.includes(uri)))
    throw registrationError('invalid_redirect_uri')
  const authMethod = METHODS.find((known) => known === method)
  if (authMethod === undefined) throw registrationError('invalid_client_metadata')
  const id = `dcr-${randomBytes(8).toString('hex')}`
  const secret = authMethod === 'private_key_jwt' ? undefined : randomBytes(24).toString('base64url')
  const { keys } = software.software_jwks
  const client = { keys, redirectUri: redirectUris[0]!, eventsUrl: software.events_url }
  bank.registerClient(id, { ...client, ...(secret !== undefined && { deviations: { authMethod, secret } }) })
  return json(201, {
    ...verifiedRequest.payload,
    client_id: id,
    ...(secret !== undefined && { client_secret: secret, client_secret_expires_at: 0 }),
    client_id_issued_at: Math.floor(bank.now().getTime() / 1_000),
  })
}

function unverifiedStatement(body: string): string {
  try {
    return String(decodeJwt(body)['software_statement'])
  } catch {
    throw registrationError('invalid_client_metadata')
  }
}
