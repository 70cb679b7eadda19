import { createPrivateKey, type KeyObject, type X509Certificate } from 'node:crypto'
import type { GatewayAlgorithm } from '../../../connectors/index.ts'
import { parseCertificates } from '../../../kernel/certificate.ts'
import type { CertificateUse } from '../../../kernel/certificate-request.ts'
import { throwInvalidInput } from '../../../kernel/input-faults.ts'

/** An uploaded certificate with its chain. */
export interface CertificateChain {
  readonly leaf: X509Certificate
  /** PEM, the leaf first. */
  readonly pem: string
  readonly expiresAt: Date
}

const MAX_CHAIN_LENGTH = 5
const CLIENT_AUTHENTICATION = '1.3.6.1.5.5.7.3.2'
/** Longer keys would keep a process busy with each signature and each handshake. */
const RSA_BITS = { min: 2_048, max: 4_096 }
const MAX_KEY_ID_LENGTH = 256

/**
 * Parses a certificate chain for `use`: the leaf first, each signed by the next, the leaf valid now. Throws `INVALID_INPUT` at
 * `certificateChain` with the rule that is broken.
 */
export function parseCertificateChain(text: string, use: CertificateUse, now: Date): CertificateChain {
  const certificates = parseCertificates(text)
  const fail = (rule: string): never => throwInvalidInput(['certificateChain'], rule)
  if (!certificates) return fail('must be one or more certificates in PEM and nothing else')
  const [leaf] = certificates
  if (certificates.length > MAX_CHAIN_LENGTH) return fail(`must have at most ${MAX_CHAIN_LENGTH} certificates`)
  for (const [index, certificate] of certificates.entries()) {
    const issuer = certificates[index + 1]
    if (!publicKeyOf(certificate)) return fail('must have keys of a known type')
    if (issuer && !isIssuedBy(certificate, issuer))
      return fail('must begin with the own certificate, and each must be issued by the next')
  }
  if (leaf!.ca) return fail('must begin with the own certificate, not that of an authority')
  const [validFrom, expiresAt] = [new Date(leaf!.validFrom), new Date(leaf!.validTo)]
  if (Number.isNaN(expiresAt.getTime()) || Number.isNaN(validFrom.getTime()))
    return fail('must state from when and until when it is valid')
  if (expiresAt <= now) return fail(`must not have expired: it ended on ${expiresAt.toISOString()}`)
  if (validFrom > now) return fail(`must be valid now: it begins on ${validFrom.toISOString()}`)
  const usages = leaf!.keyUsage as readonly string[] | undefined
  if (use === 'TRANSPORT' && usages && !usages.includes(CLIENT_AUTHENTICATION))
    return fail('must allow client authentication (extended key usage)')
  return { leaf: leaf!, pem: certificates.map(String).join(''), expiresAt }
}

/** Parses a private key in PEM. Throws `INVALID_INPUT` if it is none, or does not belong to the certificate. */
export function parsePrivateKey(pem: string, leaf: X509Certificate): KeyObject {
  const key = readPrivateKey(pem)
  if (!key)
    return throwInvalidInput(['privateKey'], 'must be an unencrypted private key in PEM (PKCS #8, PKCS #1 or SEC 1)')
  if (!leaf.checkPrivateKey(key))
    return throwInvalidInput(['privateKey'], 'must belong to the first certificate of the chain')
  return key
}

/** The signature algorithm of a key. Throws `INVALID_INPUT` at `certificateChain` if the gateway does not use such keys. */
export function algorithmOf({ asymmetricKeyType: type, asymmetricKeyDetails: details }: KeyObject): GatewayAlgorithm {
  if (type === 'ec' && details?.namedCurve === 'prime256v1') return 'ES256'
  if (type === 'ed25519') return 'EdDSA'
  const bits = details?.modulusLength ?? 0
  if (type === 'rsa' && bits >= RSA_BITS.min && bits <= RSA_BITS.max) return 'PS256'
  return throwInvalidInput(
    ['certificateChain'],
    'must have a P-256 key, an Ed25519 key or an RSA key of 2048 to 4096 bits',
  )
}

/** The `kid` that a directory or bank gave to a key. Throws `INVALID_INPUT` if no header can hold it. */
export function parseKeyId(keyId: string | null | undefined): string | undefined {
  if (keyId == null) return undefined
  if (keyId.length > MAX_KEY_ID_LENGTH || !/^[\x21-\x7e]+$/.test(keyId))
    throwInvalidInput(['keyId'], `must have 1 to ${MAX_KEY_ID_LENGTH} visible ASCII characters`)
  return keyId
}

/**
 * The `organizationIdentifier` of a certificate's subject (OID 2.5.4.97); undefined if it has none that can be a client id: 1 to 128
 * visible ASCII characters.
 */
export function organizationIdentifierOf({ subject }: X509Certificate): string | undefined {
  return /^(?:organizationIdentifier|2\.5\.4\.97)=([\x21-\x7e]{1,128})$/m.exec(subject)?.[1]
}

/** Undefined for a key of a type that OpenSSL does not know, or that is damaged. */
function publicKeyOf(certificate: X509Certificate): KeyObject | undefined {
  try {
    return certificate.publicKey
  } catch {
    return undefined
  }
}

function isIssuedBy(certificate: X509Certificate, issuer: X509Certificate): boolean {
  const key = publicKeyOf(issuer)
  return key !== undefined && certificate.checkIssued(issuer) && certificate.verify(key)
}

function readPrivateKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem)
  } catch {
    return undefined
  }
}
