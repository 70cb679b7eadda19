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
const RSA_MIN_BITS = 2_048

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
    if (issuer && !(certificate.checkIssued(issuer) && certificate.verify(issuer.publicKey)))
      return fail('must begin with the own certificate, and each must be issued by the next')
  }
  if (leaf!.ca) return fail('must begin with the own certificate, not that of an authority')
  const [validFrom, expiresAt] = [new Date(leaf!.validFrom), new Date(leaf!.validTo)]
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
  if (type === 'rsa' && (details?.modulusLength ?? 0) >= RSA_MIN_BITS) return 'PS256'
  return throwInvalidInput(
    ['certificateChain'],
    'must have a P-256 key, an Ed25519 key or an RSA key of at least 2048 bits',
  )
}

/** The `organizationIdentifier` of a certificate's subject (OID 2.5.4.97); undefined if it has none. */
export function organizationIdentifierOf({ subject }: X509Certificate): string | undefined {
  return /^(?:organizationIdentifier|2\.5\.4\.97)=(.+)$/m.exec(subject)?.[1]
}

function readPrivateKey(pem: string): KeyObject | undefined {
  try {
    return createPrivateKey(pem)
  } catch {
    return undefined
  }
}
