import { randomBytes } from 'node:crypto'
import { createLocalJWKSet, decodeJwt, jwtVerify, SignJWT, type JWK } from 'jose'
import type { SandboxBank } from './bank.ts'
import { json, Refusal, type SandboxReply, type SandboxRequest } from './server.ts'

const DIRECTORY = 'https://directory.sandbox.example'

/** What a directory says of a piece of software; here the bank keeps the directory as well. */
interface Software {
  readonly software_id: string
  readonly software_jwks: { readonly keys: JWK[] }
  readonly software_redirect_uris: readonly string[]
  readonly events_url: string
}

/** The pretend directory: whoever asks gets a signed statement about their software. */
export async function softwareStatement(bank: SandboxBank, software: Omit<Software, 'software_id'>): Promise<string> {
  const id = `software-${randomBytes(6).toString('hex')}`
  return new SignJWT({ ...software, software_id: id })
    .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
    .setIssuer(DIRECTORY)
    .setIssuedAt()
    .sign(await bank.signingKey())
}

const refused = (error: string): Refusal => new Refusal(json(400, { error, error_description: 'refused' }))

/** Open Banking DCR 3.4 and CDR, POST /register: a JWT by the software's key, with the directory's statement inside. */
export async function takeRegistration(bank: SandboxBank, { headers, body }: SandboxRequest): Promise<SandboxReply> {
  if (!String(headers['content-type']).startsWith('application/jwt')) throw refused('invalid_client_metadata')
  const statement = claimedStatement(body)
  const { payload } = await jwtVerify(statement, createLocalJWKSet(bank.publicKeys()), { issuer: DIRECTORY }).catch(
    () => {
      throw refused('invalid_software_statement')
    },
  )
  const software = payload as unknown as Software
  const asked = await jwtVerify(body, createLocalJWKSet({ keys: software.software_jwks.keys }), {
    issuer: software.software_id,
    audience: bank.origin,
    currentDate: bank.now(),
    requiredClaims: ['jti', 'exp', 'iat'],
  }).catch(() => {
    throw refused('invalid_client_metadata')
  })
  const { redirect_uris: uris, token_endpoint_auth_method: method } = asked.payload as {
    redirect_uris?: string[]
    token_endpoint_auth_method?: string
  }
  if (!uris?.length || uris.some((uri) => !software.software_redirect_uris.includes(uri)))
    throw refused('invalid_redirect_uri')
  if (method !== 'private_key_jwt') throw refused('invalid_client_metadata')
  const id = `dcr-${randomBytes(8).toString('hex')}`
  const { keys } = software.software_jwks
  bank.introduce(id, { keys, redirectUri: uris[0]!, eventsUrl: software.events_url })
  return json(201, { ...asked.payload, client_id: id, client_id_issued_at: Math.floor(bank.now().getTime() / 1_000) })
}

function claimedStatement(body: string): string {
  try {
    return String(decodeJwt(body)['software_statement'])
  } catch {
    throw refused('invalid_client_metadata')
  }
}
