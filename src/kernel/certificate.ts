import { createPublicKey, sign, X509Certificate, type KeyObject } from 'node:crypto'

/** The subject and validity of a certificate. */
export interface CertificateFields {
  /** The common name of both subject and issuer: printable ASCII, at most 64 characters. */
  readonly commonName: string
  readonly serial: Uint8Array
  readonly notBefore: Date
  readonly notAfter: Date
}

const SEQUENCE = 0x30
const SET = 0x31
const INTEGER = 0x02
const BIT_STRING = 0x03
const OBJECT_ID = 0x06
const UTF8_STRING = 0x0c
const UTC_TIME = 0x17
const GENERALIZED_TIME = 0x18
const VERSION = 0xa0
/** ecdsa-with-SHA256 (RFC 5758, 3.2) and id-at-commonName (X.520). */
const ECDSA_WITH_SHA256 = Buffer.from('2a8648ce3d040302', 'hex')
const COMMON_NAME = Buffer.from('550403', 'hex')

/**
 * Returns a self-signed X.509 certificate of a P-256 key in PEM (RFC 5280, 4.1), for banks that pin it (RFC 8705, 2.2). It has
 * no extensions. Throws `TypeError` for another type of key. Written here because a library would add nineteen dependencies.
 */
export function createSelfSignedCertificate(
  key: KeyObject,
  { commonName, serial, notBefore, notAfter }: CertificateFields,
): string {
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('the key must be a P-256 key')
  const algorithm = encodeDer(SEQUENCE, encodeDer(OBJECT_ID, ECDSA_WITH_SHA256))
  const relativeName = encodeDer(
    SEQUENCE,
    encodeDer(OBJECT_ID, COMMON_NAME),
    encodeDer(UTF8_STRING, Buffer.from(commonName)),
  )
  const distinguishedName = encodeDer(SEQUENCE, encodeDer(SET, relativeName))
  // The leading 0x01 keeps the number positive and its encoding minimal.
  const serialNumber = encodeDer(INTEGER, Buffer.of(0x01), serial)
  const tbsCertificate = encodeDer(
    SEQUENCE,
    encodeDer(VERSION, encodeDer(INTEGER, Buffer.of(0x02))),
    serialNumber,
    algorithm,
    distinguishedName,
    encodeDer(SEQUENCE, encodeTime(notBefore), encodeTime(notAfter)),
    distinguishedName,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
  )
  const signature = encodeDer(BIT_STRING, Buffer.of(0x00), sign('sha256', tbsCertificate, key))
  const lines = encodeDer(SEQUENCE, tbsCertificate, algorithm, signature)
    .toString('base64')
    .match(/.{1,64}/g)!
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

/** Encodes the year with two digits through 2049 and with four after that (RFC 5280, 4.1.2.5). */
function encodeTime(at: Date): Buffer {
  const text = at.toISOString().replace(/[-:T]|\.\d+/g, '')
  return at.getUTCFullYear() < 2050
    ? encodeDer(UTC_TIME, Buffer.from(text.slice(2)))
    : encodeDer(GENERALIZED_TIME, Buffer.from(text))
}

/** Encodes tag, length and content (X.690, 8.1). Supports at most 65,535 bytes of content. */
function encodeDer(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const length = body.length
  const lengthBytes = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...lengthBytes]), body])
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
