import { createPublicKey, sign, type KeyObject } from 'node:crypto'
import { encodeDer, encodeOid, encodePem, TAG } from './der.ts'

/** The distinguished name of a certificate's subject. */
export interface CertificateSubject {
  /** ISO 3166, two capital letters. */
  readonly country?: string | undefined
  readonly organization?: string | undefined
  readonly organizationalUnit?: string | undefined
  /** Such as `PSDGB-FCA-123456` (ETSI TS 119 495, 5.2.1). */
  readonly organizationIdentifier?: string | undefined
  readonly commonName: string
}

/** The authority that licensed the gateway's operator, for a certificate under PSD2 (ETSI TS 119 495, 5.1). */
export interface LicensingAuthority {
  readonly name: string
  /** Such as `GB-FCA`. */
  readonly id: string
}

/** What a certificate is to be used for. */
export type CertificateUse = 'TRANSPORT' | 'SIGNING'

/** The types of X.520 in the order in which a name is written. */
const NAME_TYPES: readonly (readonly [field: keyof CertificateSubject, oid: string, tag: number])[] = [
  ['country', '2.5.4.6', TAG.printableString],
  ['organization', '2.5.4.10', TAG.utf8String],
  ['organizationalUnit', '2.5.4.11', TAG.utf8String],
  ['organizationIdentifier', '2.5.4.97', TAG.utf8String],
  ['commonName', '2.5.4.3', TAG.utf8String],
]
const OID = {
  ecdsaWithSha256: '1.2.840.10045.4.3.2',
  sha256WithRsa: '1.2.840.113549.1.1.11',
  ed25519: '1.3.101.112',
  extensionRequest: '1.2.840.113549.1.9.14',
  keyUsage: '2.5.29.15',
  extendedKeyUsage: '2.5.29.37',
  clientAuthentication: '1.3.6.1.5.5.7.3.2',
  qcStatements: '1.3.6.1.5.5.7.1.3',
  qcType: '0.4.0.1862.1.6',
  psd2: '0.4.0.19495.2',
  accountInformationRole: '0.4.0.19495.1.3',
} as const
/** ETSI EN 319 412-5, 4.2.3. */
const QC_TYPES: Readonly<Record<CertificateUse, string>> = {
  TRANSPORT: '0.4.0.1862.1.6.3',
  SIGNING: '0.4.0.1862.1.6.2',
}
/** digitalSignature; for a seal also contentCommitment (RFC 5280, 4.2.1.3). */
const KEY_USAGE: Readonly<Record<CertificateUse, Buffer>> = {
  TRANSPORT: Buffer.of(0x07, 0x80),
  SIGNING: Buffer.of(0x06, 0xc0),
}

/**
 * Returns a certificate request in PEM (PKCS #10, RFC 2986), signed with the key: a P-256, RSA or Ed25519 key. With an
 * `authority` it asks for a certificate under PSD2 with the role of an account information service and no other.
 */
export function createCertificateRequest(
  key: KeyObject,
  use: CertificateUse,
  subject: CertificateSubject,
  authority?: LicensingAuthority,
): string {
  const extensions = [
    encodeExtension(OID.keyUsage, encodeDer(TAG.bitString, KEY_USAGE[use])),
    ...(use === 'TRANSPORT'
      ? [encodeExtension(OID.extendedKeyUsage, encodeDer(TAG.sequence, encodeOid(OID.clientAuthentication)))]
      : []),
    ...(authority ? [encodeExtension(OID.qcStatements, encodeQcStatements(use, authority))] : []),
  ]
  const attribute = encodeDer(
    TAG.sequence,
    encodeOid(OID.extensionRequest),
    encodeDer(TAG.set, encodeDer(TAG.sequence, ...extensions)),
  )
  const info = encodeDer(
    TAG.sequence,
    encodeDer(TAG.integer, Buffer.of(0x00)),
    encodeName(subject),
    createPublicKey(key).export({ type: 'spki', format: 'der' }),
    encodeDer(TAG.context0, attribute),
  )
  const signature = sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', info, key)
  return encodePem(
    'CERTIFICATE REQUEST',
    encodeDer(TAG.sequence, info, signatureAlgorithmOf(key), encodeDer(TAG.bitString, Buffer.of(0x00), signature)),
  )
}

/** The encoded algorithm with which a key signs certificates and requests. Throws `TypeError` for another type of key. */
export function signatureAlgorithmOf({ asymmetricKeyType: type }: KeyObject): Buffer {
  if (type === 'ec') return encodeDer(TAG.sequence, encodeOid(OID.ecdsaWithSha256))
  if (type === 'ed25519') return encodeDer(TAG.sequence, encodeOid(OID.ed25519))
  if (type === 'rsa') return encodeDer(TAG.sequence, encodeOid(OID.sha256WithRsa), encodeDer(TAG.null))
  throw new TypeError('the key must be a P-256, RSA or Ed25519 key')
}

/** The encoded distinguished name, with the fields that are given. */
export const encodeName = (subject: CertificateSubject): Buffer =>
  encodeDer(
    TAG.sequence,
    ...NAME_TYPES.flatMap(([field, oid, tag]) => {
      const text = subject[field]
      if (text === undefined) return []
      const attribute = encodeDer(TAG.sequence, encodeOid(oid), encodeDer(tag, Buffer.from(text)))
      return [encodeDer(TAG.set, attribute)]
    }),
  )

const encodeExtension = (oid: string, value: Buffer): Buffer =>
  encodeDer(TAG.sequence, encodeOid(oid), encodeDer(TAG.octetString, value))

/** The statements about a qualified certificate: its type, and the role and authority under PSD2 (ETSI TS 119 495, 5.1). */
function encodeQcStatements(use: CertificateUse, { name, id }: LicensingAuthority): Buffer {
  const role = encodeDer(
    TAG.sequence,
    encodeOid(OID.accountInformationRole),
    encodeDer(TAG.utf8String, Buffer.from('PSP_AI')),
  )
  return encodeDer(
    TAG.sequence,
    encodeDer(TAG.sequence, encodeOid(OID.qcType), encodeDer(TAG.sequence, encodeOid(QC_TYPES[use]))),
    encodeDer(
      TAG.sequence,
      encodeOid(OID.psd2),
      encodeDer(
        TAG.sequence,
        encodeDer(TAG.sequence, role),
        encodeDer(TAG.utf8String, Buffer.from(name)),
        encodeDer(TAG.utf8String, Buffer.from(id)),
      ),
    ),
  )
}
