import { createPrivateKey, createPublicKey, generateKeyPair, type KeyObject } from 'node:crypto'
import { promisify } from 'node:util'
import { resolveOauthProfile, STANDARDS, type GatewayAlgorithm, type SigningKey } from '../../../connectors/index.ts'
import type { CertificateUse } from '../../../kernel/certificate-request.ts'
import { throwInvalidInput } from '../../../kernel/input-faults.ts'
import { jwkThumbprint } from '../../../kernel/public-keys.ts'
import type { Connector } from '../model.ts'

const generateKey = promisify(generateKeyPair)

/** A key of the type that is usual for certificates, or that the signatures of the profile need. */
export async function generateKeyFor(use: CertificateUse, connector: Connector): Promise<KeyObject> {
  const algorithm = use === 'SIGNING' ? signingAlgorithmOf(connector) : 'PS256'
  return generateSigningKey(algorithm)
}

/** Generates a private key for an algorithm. */
export async function generateSigningKey(algorithm: GatewayAlgorithm): Promise<KeyObject> {
  if (algorithm === 'ES256') return (await generateKey('ec', { namedCurve: 'P-256' })).privateKey
  if (algorithm === 'EdDSA') return (await generateKey('ed25519')).privateKey
  return (await generateKey('rsa', { modulusLength: 2_048 })).privateKey
}

/** The algorithm that the connector's profile signs with. */
export const signingAlgorithmOf = ({ standard, registration }: Pick<Connector, 'standard' | 'registration'>) =>
  resolveOauthProfile(STANDARDS[standard].oauthDefaults, registration.oauth).signingAlgorithm

/** Throws `INVALID_INPUT` unless a signing certificate has a key for the algorithm of the connector's profile. */
export function requireAlgorithm(connector: Connector, algorithm: GatewayAlgorithm): void {
  const expected = signingAlgorithmOf(connector)
  if (algorithm !== expected)
    throwInvalidInput(['certificateChain'], `must have a key for ${expected}, as the registration says`)
}

/** The private JWK, with a `kid` that is its thumbprint (RFC 7638) unless one is given. */
export function privateJwk(key: KeyObject, alg: GatewayAlgorithm, keyId?: string): SigningKey {
  const jwk = key.export({ format: 'jwk' })
  return { ...jwk, kty: String(jwk.kty), kid: keyId ?? jwkThumbprint({ ...jwk }), alg, use: 'sig' }
}

/** The public JWK of a private key. */
export function publicJwk(key: KeyObject, alg: GatewayAlgorithm, keyId?: string): SigningKey {
  return privateJwk(createPublicKey(key), alg, keyId)
}

/** The private key in PEM. */
export const toPem = (jwk: SigningKey): string =>
  String(createPrivateKey({ key: { ...jwk }, format: 'jwk' }).export({ type: 'pkcs8', format: 'pem' }))
