import { createHash, createPrivateKey, sign, type KeyObject, type X509Certificate } from 'node:crypto'
import { z } from 'zod'
import { parseCertificates } from '../kernel/certificate.ts'
import { GatewayError } from '../kernel/errors.ts'
import type { ConnectorTools } from './connector.ts'
import type { GatewayAlgorithm } from './oauth-profile.ts'

/** The hash of each algorithm of HTTP signatures, and the algorithm of the keys that it needs. */
const ALGORITHMS = {
  'rsa-sha256': { hash: 'sha256', keys: 'PS256' },
  'rsa-sha512': { hash: 'sha512', keys: 'PS256' },
  'ecdsa-sha256': { hash: 'sha256', keys: 'ES256' },
  ed25519: { hash: null, keys: 'EdDSA' },
} as const satisfies Record<string, { hash: string | null; keys: GatewayAlgorithm }>
const DIGESTS = { 'SHA-256': 'sha256', 'SHA-512': 'sha512' } as const
/** What can be signed: headers that the gateway sends, and the method with the path. */
const SIGNED_PARTS = [
  '(request-target)',
  'host',
  'date',
  'digest',
  'content-type',
  'x-request-id',
  'consent-id',
  'psu-id',
  'psu-ip-address',
  'tpp-redirect-uri',
] as const

/** The members of `signatures` in a registration; all are optional. */
export const signatureMembers = z.strictObject({
  algorithm: z.enum(Object.keys(ALGORITHMS) as [keyof typeof ALGORITHMS]).default('rsa-sha256'),
  digest: z.enum(Object.keys(DIGESTS) as [keyof typeof DIGESTS]).default('SHA-256'),
  headers: z
    .array(z.enum(SIGNED_PARTS))
    .min(1)
    .refine((names) => new Set(names).size === names.length, 'must not name a header twice')
    .refine((names) => names.includes('digest'), 'must include digest')
    .default(['digest', 'x-request-id', 'psu-id', 'date', 'tpp-redirect-uri']),
  keyId: z
    .enum(['SERIAL_AND_ISSUER', 'SERIAL_AND_REVERSED_ISSUER', 'SERIAL', 'CLIENT_ID'])
    .default('SERIAL_AND_ISSUER'),
  draft: z.union([z.literal(10), z.literal(12)]).default(10),
  placement: z.enum(['SIGNATURE', 'AUTHORIZATION']).default('SIGNATURE'),
})

/** How a bank expects requests to be signed (Berlin Group 1.3.11, 12). */
export type SignatureRules = z.output<typeof signatureMembers>

/** The algorithm of the signing key that the rules need. */
export const keyAlgorithmOf = ({ algorithm }: SignatureRules): GatewayAlgorithm => ALGORITHMS[algorithm].keys

/** The names of the headers that a signature adds. */
export const signatureHeaders = ({ placement }: SignatureRules): readonly string[] => [
  'date',
  'digest',
  'tpp-signature-certificate',
  placement === 'SIGNATURE' ? 'signature' : 'authorization',
]

/** A request before it is signed. Header names are in lower case. */
export interface UnsignedRequest {
  readonly method: string
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** Empty if the request has no body. */
  readonly body: string
}

/** Returns the headers that sign a request. */
export type RequestSigner = (request: UnsignedRequest) => Readonly<Record<string, string>>

/**
 * Creates the signer of requests to one bank: `Digest` (RFC 3230), `Signature` (draft-cavage-http-signatures-10 or -12) and
 * `TPP-Signature-Certificate`, with the signing key and its certificate. Of the headers in the rules, it signs those that a request
 * has. The signer throws `BANK_REFUSED` if there is no certificate yet.
 */
export function createRequestSigner(
  rules: SignatureRules,
  { credentials, clock }: Pick<ConnectorTools, 'credentials' | 'clock'>,
  clientId: string | undefined,
): RequestSigner {
  const { signingKey, signingCertificate } = credentials
  const certificate = parseCertificates(signingCertificate ?? '')?.[0]
  let key: KeyObject | undefined
  return ({ method, url, headers, body }) => {
    if (!certificate)
      throw new GatewayError('BANK_REFUSED', { internalMessage: 'no signing certificate is stored for this bank' })
    key ??= createPrivateKey({ key: { ...signingKey }, format: 'jwk' })
    const { host, pathname, search } = new URL(url)
    const added = {
      date: clock.now().toUTCString(),
      digest: `${rules.digest}=${createHash(DIGESTS[rules.digest]).update(body).digest('base64')}`,
    }
    const parts: Readonly<Record<string, string | undefined>> = {
      ...headers,
      ...added,
      host,
      '(request-target)': `${method.toLowerCase()} ${pathname}${search}`,
    }
    const signed = rules.headers.flatMap((name) => (parts[name] === undefined ? [] : [[name, parts[name]] as const]))
    const text = signed.map(([name, value]) => `${name}: ${requireOneLine(value)}`).join('\n')
    const members = {
      keyId: keyIdOf(rules, certificate, clientId),
      algorithm: rules.draft === 12 ? 'hs2019' : rules.algorithm,
      headers: signed.map(([name]) => name).join(' '),
      signature: sign(ALGORITHMS[rules.algorithm].hash, Buffer.from(text), key).toString('base64'),
    }
    const signature = Object.entries(members)
      .map(([name, value]) => `${name}="${value}"`)
      .join(',')
    return {
      ...added,
      'tpp-signature-certificate': certificate.raw.toString('base64'),
      ...(rules.placement === 'SIGNATURE' ? { signature } : { authorization: `Signature ${signature}` }),
    }
  }
}

/** A value with a line break would be signed as several headers. */
function requireOneLine(value: string): string {
  if (/[\r\n\0]/.test(value)) throw new GatewayError('INTERNAL', { internalMessage: 'a header value has a line break' })
  return value.trim()
}

/** The name of the key (1.3.11, 12.2): the certificate's serial number in hexadecimal, and the name of its issuer (RFC 4514). */
function keyIdOf({ keyId }: SignatureRules, { serialNumber, issuer }: X509Certificate, clientId = ''): string {
  if (keyId === 'CLIENT_ID') return escapeQuoted(clientId)
  if (keyId === 'SERIAL') return serialNumber
  const attributes = issuer.split('\n')
  const ordered = keyId === 'SERIAL_AND_ISSUER' ? attributes.reverse() : attributes
  return escapeQuoted(`SN=${serialNumber},CA=${ordered.join(',')}`)
}

/** Percent-encodes what would end the quoted text or is not ASCII. */
const escapeQuoted = (text: string): string => text.replace(/[^\x20-\x7e]|["\\%]/gu, encodeURIComponent)
