import { createLocalJWKSet, jwtVerify, SignJWT, type JWTPayload } from 'jose'
import type { SandboxBank } from './bank.ts'
import { json, HttpError, type SandboxRequest } from './server.ts'

/** An error response of RFC 6749, 5.2. */
export const oauthError = (status: number, error: string): HttpError => new HttpError(json(status, { error }))

/** Signs a JWT of the bank for `audience`, valid for `seconds`. */
export const signJwt = async (
  bank: SandboxBank,
  claims: JWTPayload,
  audience: string,
  seconds: number,
): Promise<string> =>
  new SignJWT(claims)
    .setProtectedHeader({ alg: 'ES256', kid: bank.keyId })
    .setIssuer(bank.origin)
    .setAudience(audience)
    .setIssuedAt(Math.floor(bank.now().getTime() / 1_000))
    .setExpirationTime(Math.floor(bank.now().getTime() / 1_000) + seconds)
    .sign(await bank.signingKey())

/** Returns the function that authenticates clients as they are registered and returns their ID. Each assertion is accepted once. */
export function createClientAuthentication(bank: SandboxBank): (request: SandboxRequest) => Promise<string> {
  const usedAssertions = new Set<string>()
  return async (request) => {
    const assertion = request.form.get('client_assertion') ?? ''
    const statedId = assertion === '' ? clientIdOf(request) : unverifiedIssuer(assertion)
    const client = bank.client(statedId)
    if (!client) throw oauthError(401, 'invalid_client')
    const { authMethod = 'private_key_jwt', secret, signingAlgorithm = 'ES256' } = client.deviations ?? {}
    if (authMethod !== 'private_key_jwt') {
      if (secret === undefined || secretOf(request, authMethod) !== secret) throw oauthError(401, 'invalid_client')
      return statedId
    }
    const audience = client.deviations?.expectsTokenEndpointAudience
      ? `${bank.origin}/token`
      : [bank.origin, `${bank.origin}/token`]
    const { payload } = await jwtVerify(assertion, createLocalJWKSet({ keys: client.keys }), {
      issuer: statedId,
      subject: statedId,
      audience,
      algorithms: [signingAlgorithm],
      requiredClaims: ['jti', 'exp'],
      currentDate: bank.now(),
    }).catch(() => {
      throw oauthError(401, 'invalid_client')
    })
    if (usedAssertions.has(payload.jti!)) throw oauthError(401, 'invalid_client')
    usedAssertions.add(payload.jti!)
    return statedId
  }
}

/** ID and secret of the Basic scheme, form-encoded (RFC 6749, 2.3.1). */
function basicCredentials({ headers }: SandboxRequest): readonly string[] {
  const encoded = /^Basic (.+)$/.exec(headers.authorization ?? '')?.[1] ?? ''
  const parts = Buffer.from(encoded, 'base64').toString('utf8').split(':')
  return parts.map((part) => decodeURIComponent(part.replaceAll('+', ' ')))
}
const clientIdOf = (request: SandboxRequest): string =>
  request.form.get('client_id') ?? basicCredentials(request)[0] ?? ''
const secretOf = (request: SandboxRequest, method: 'client_secret_basic' | 'client_secret_post'): string | undefined =>
  method === 'client_secret_basic' ? basicCredentials(request)[1] : (request.form.get('client_secret') ?? undefined)

function unverifiedIssuer(assertion: string): string {
  try {
    const claims = JSON.parse(Buffer.from(assertion.split('.')[1] ?? '', 'base64url').toString('utf8')) as {
      iss?: unknown
    }
    return typeof claims.iss === 'string' ? claims.iss : ''
  } catch {
    return ''
  }
}
