import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto'
import { createSelfSignedCertificate } from '../../src/kernel/certificate.ts'

const DAY_MS = 86_400_000

/** A certificate of a client of TLS, with its key and in the forms in which proxies state it. */
export interface ClientIdentity {
  readonly certificate: string
  readonly key: string
  /** `x5t#S256`. */
  readonly thumbprint: string
  /** The value of `Client-Cert` (RFC 9440). */
  readonly byteSequence: string
  /** The value of `X-Client-Cert`. */
  readonly escapedPem: string
}

/** Creates a self-signed certificate that is valid from and until these days from now. */
export function createClientIdentity(
  commonName: string,
  [fromDay, untilDay]: readonly [number, number] = [-1, 30],
): ClientIdentity {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const certificate = createSelfSignedCertificate(privateKey, {
    commonName,
    serial: Buffer.from('0102030405', 'hex'),
    notBefore: new Date(Date.now() + fromDay * DAY_MS),
    notAfter: new Date(Date.now() + untilDay * DAY_MS),
  })
  const { raw } = new X509Certificate(certificate)
  return {
    certificate,
    key: String(privateKey.export({ type: 'pkcs8', format: 'pem' })),
    thumbprint: createHash('sha256').update(raw).digest('base64url'),
    byteSequence: `:${raw.toString('base64')}:`,
    escapedPem: encodeURIComponent(certificate),
  }
}
