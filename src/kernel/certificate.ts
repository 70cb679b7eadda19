import { createPublicKey, sign, X509Certificate, type KeyObject } from 'node:crypto'
import { encodeName, signatureAlgorithmOf } from './certificate-request.ts'
import { encodeDer, encodePem, TAG } from './der.ts'

/** The subject and validity of a certificate. */
export interface CertificateFields {
  /** The common name of both subject and issuer: printable ASCII, at most 64 characters. */
  readonly commonName: string
  readonly serial: Uint8Array
  readonly notBefore: Date
  readonly notAfter: Date
}

const UTC_TIME = 0x17
const GENERALIZED_TIME = 0x18

/**
 * Returns a self-signed X.509 certificate of a P-256 key in PEM (RFC 5280, 4.1), for banks that pin it (RFC 8705, 2.2). It has
 * no extensions. Throws `TypeError` for another type of key. Written here because a library would add nineteen dependencies.
 */
export function createSelfSignedCertificate(
  key: KeyObject,
  { commonName, serial, notBefore, notAfter }: CertificateFields,
): string {
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('the key must be a P-256 key')
  const algorithm = signatureAlgorithmOf(key)
  const distinguishedName = encodeName({ commonName })
  // The leading 0x01 keeps the number positive and its encoding minimal.
  const serialNumber = encodeDer(TAG.integer, Buffer.of(0x01), serial)
  const tbsCertificate = encodeDer(
    TAG.sequence,
    encodeDer(TAG.context0, encodeDer(TAG.integer, Buffer.of(0x02))),
    serialNumber,
    algorithm,
    distinguishedName,
    encodeDer(TAG.sequence, encodeTime(notBefore), encodeTime(notAfter)),
    distinguishedName,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
  )
  const signature = encodeDer(TAG.bitString, Buffer.of(0x00), sign('sha256', tbsCertificate, key))
  return encodePem('CERTIFICATE', encodeDer(TAG.sequence, tbsCertificate, algorithm, signature))
}

/** Encodes the year with two digits through 2049 and with four after that (RFC 5280, 4.1.2.5). */
function encodeTime(at: Date): Buffer {
  const text = at.toISOString().replace(/[-:T]|\.\d+/g, '')
  return at.getUTCFullYear() < 2050
    ? encodeDer(UTC_TIME, Buffer.from(text.slice(2)))
    : encodeDer(GENERALIZED_TIME, Buffer.from(text))
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g

/** The certificates of a PEM text in their order; undefined if it holds anything else, or a certificate that cannot be parsed. */
export function parseCertificates(pem: string): X509Certificate[] | undefined {
  const blocks = pem.match(PEM_CERTIFICATE) ?? []
  if (blocks.length === 0 || pem.replaceAll(PEM_CERTIFICATE, '').trim() !== '') return undefined
  try {
    return blocks.map((block) => new X509Certificate(block))
  } catch {
    return undefined
  }
}
