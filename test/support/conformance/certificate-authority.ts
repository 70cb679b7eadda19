import { createPublicKey, generateKeyPairSync, sign, type KeyObject } from 'node:crypto'

/** A certificate authority of a test, such as a scheme's directory or a provider of qualified certificates. */
export interface CertificateAuthority {
  /** Its own certificate in PEM. */
  readonly certificate: string
  /** A certificate for another party's key, in PEM. */
  issue(subject: DistinguishedName, publicKey: KeyObject, options?: IssueOptions): string
}

/** The attributes of a name in their order, by the short names of RFC 4514 and `organizationIdentifier` (ETSI EN 319 412-1). */
export type DistinguishedName = Readonly<Partial<Record<keyof typeof ATTRIBUTES, string>>>

interface IssueOptions {
  /** The IPv4 address of a server. */
  readonly serverIp?: string
  readonly notAfter?: Date
}

/** X.520 attribute types, as DER content. */
const ATTRIBUTES = {
  CN: '550403',
  C: '550406',
  O: '55040a',
  OU: '55040b',
  organizationIdentifier: '550461',
} as const
const ALGORITHMS = {
  ec: '2a8648ce3d040302', // ecdsa-with-SHA256
  rsa: '2a864886f70d01010b', // sha256WithRSAEncryption
} as const
const NOT_BEFORE = new Date('2020-01-01T00:00:00Z')
const NOT_AFTER = new Date('2049-12-31T00:00:00Z')

/** A new key of a TLS server, a client or an authority. */
export const newKey = (type: 'ec' | 'rsa'): KeyObject =>
  type === 'ec'
    ? generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
    : generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey

/** Creates an authority with a key of its own. */
export function createAuthority(name: DistinguishedName, type: 'ec' | 'rsa' = 'rsa'): CertificateAuthority {
  const key = newKey(type)
  let serial = 1
  const create = (subject: DistinguishedName, publicKey: KeyObject, notAfter: Date, extensions: readonly Buffer[]) => {
    const algorithm = der(0x30, oid(ALGORITHMS[type]), ...(type === 'rsa' ? [der(0x05)] : []))
    const body = der(
      0x30,
      der(0xa0, der(0x02, Buffer.of(2))),
      der(0x02, Buffer.of(serial++)),
      algorithm,
      encodeName(name),
      der(0x30, encodeTime(NOT_BEFORE), encodeTime(notAfter)),
      encodeName(subject),
      publicKey.export({ type: 'spki', format: 'der' }),
      der(0xa3, der(0x30, ...extensions)),
    )
    const signature = der(0x03, Buffer.of(0), sign('sha256', body, key))
    return toPem(der(0x30, body, algorithm, signature))
  }
  return {
    certificate: create(name, createPublicKey(key), NOT_AFTER, [basicConstraints(true)]),
    issue: (subject, publicKey, { serverIp, notAfter = NOT_AFTER } = {}) =>
      create(subject, publicKey, notAfter, [
        basicConstraints(false),
        ...(serverIp === undefined ? [] : [subjectAltName(serverIp)]),
      ]),
  }
}

const oid = (content: string): Buffer => der(0x06, Buffer.from(content, 'hex'))

const extension = (id: string, value: Buffer, isCritical = false): Buffer =>
  der(0x30, oid(id), ...(isCritical ? [der(0x01, Buffer.of(0xff))] : []), der(0x04, value))

const basicConstraints = (isAuthority: boolean): Buffer =>
  extension('551d13', der(0x30, ...(isAuthority ? [der(0x01, Buffer.of(0xff))] : [])), true)

const subjectAltName = (ip: string): Buffer =>
  extension('551d11', der(0x30, der(0x87, Buffer.from(ip.split('.').map(Number)))))

const encodeName = (name: DistinguishedName): Buffer =>
  der(
    0x30,
    ...Object.entries(name).map(([attribute, text]) =>
      der(0x31, der(0x30, oid(ATTRIBUTES[attribute as keyof typeof ATTRIBUTES]), der(0x0c, Buffer.from(text)))),
    ),
  )

const encodeTime = (at: Date): Buffer =>
  der(
    0x17,
    Buffer.from(
      at
        .toISOString()
        .replace(/[-:T]|\.\d+/g, '')
        .slice(2),
    ),
  )

/** Tag, length and content (X.690, 8.1). */
function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const { length } = body
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), body])
}

const toPem = (certificate: Buffer): string =>
  `-----BEGIN CERTIFICATE-----\n${certificate
    .toString('base64')
    .match(/.{1,64}/g)!
    .join('\n')}\n-----END CERTIFICATE-----\n`
