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

/** Returns the function that authenticates clients by `private_key_jwt` and returns their ID. Each assertion is accepted once. */
export function createClientAuthentication(bank: SandboxBank): (request: SandboxRequest) => Promise<string> {
  const usedAssertions = new Set<string>()
  return async ({ form }) => {
    const assertion = form.get('client_assertion') ?? ''
    const clientId = unverifiedIssuer(assertion)
    const client = bank.client(clientId)
    if (!client) throw oauthError(401, 'invalid_client')
    const { payload } = await jwtVerify(assertion, createLocalJWKSet({ keys: client.keys }), {
      issuer: clientId,
      subject: clientId,
      audience: [bank.origin, `${bank.origin}/token`],
      algorithms: ['ES256'],
      requiredClaims: ['jti', 'exp'],
      currentDate: bank.now(),
    }).catch(() => {
      throw oauthError(401, 'invalid_client')
    })
    if (usedAssertions.has(payload.jti!)) throw oauthError(401, 'invalid_client')
    usedAssertions.add(payload.jti!)
    return clientId
  }
}

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
