import { createPublicKey, sign, type KeyObject } from 'node:crypto'

/** Whom a certificate is about, and for how long. */
export interface CertificateFacts {
  /** The common name of subject and issuer, which are the same: printable ASCII, at most 64 characters. */
  readonly name: string
  readonly serial: Uint8Array
  readonly from: Date
  readonly to: Date
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
 * An X.509 certificate (RFC 5280, 4.1) that a P-256 key signs for itself, in PEM: what a party is known by where a bank
 * pins it (RFC 8705, 2.2). No extensions, no authority. Written out here because the library for it brings nineteen others.
 */
export function selfSignedCertificate(key: KeyObject, { name, serial, from, to }: CertificateFacts): string {
  if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1') throw new TypeError('a P-256 key is needed')
  const algorithm = der(SEQUENCE, der(OBJECT_ID, ECDSA_WITH_SHA256))
  const common = der(SEQUENCE, der(OBJECT_ID, COMMON_NAME), der(UTF8_STRING, Buffer.from(name)))
  const party = der(SEQUENCE, der(SET, common))
  // A leading one keeps the number positive, and in its shortest form.
  const number = der(INTEGER, Buffer.of(0x01), serial)
  const facts = der(
    SEQUENCE,
    der(VERSION, der(INTEGER, Buffer.of(0x02))),
    number,
    algorithm,
    party,
    der(SEQUENCE, time(from), time(to)),
    party,
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
  )
  const signature = der(BIT_STRING, Buffer.of(0x00), sign('sha256', facts, key))
  const lines = der(SEQUENCE, facts, algorithm, signature)
    .toString('base64')
    .match(/.{1,64}/g)!
  return ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n')
}

/** With two digits for the year until 2049, and four from then on (RFC 5280, 4.1.2.5). */
function time(at: Date): Buffer {
  const text = at.toISOString().replace(/[-:T]|\.\d+/g, '')
  return at.getUTCFullYear() < 2050
    ? der(UTC_TIME, Buffer.from(text.slice(2)))
    : der(GENERALIZED_TIME, Buffer.from(text))
}

/** A tag, a length and what it holds (X.690, 8.1). */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const length = body.length
  const head = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...head]), body])
}
