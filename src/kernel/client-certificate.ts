import { createHash, X509Certificate } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { parseCertificates } from './certificate.ts'
import { resolveClientAddress, type IsTrustedProxy } from './client-address.ts'

/**
 * The header in which the proxy that terminates TLS states the client's certificate: `client-cert` (RFC 9440, 2), or `x-client-cert`
 * with the certificate in URL-encoded PEM, which is what nginx can send. `none`: no header is read.
 */
export const CLIENT_CERTIFICATE_HEADERS = ['none', 'client-cert', 'x-client-cert'] as const
/** One of `CLIENT_CERTIFICATE_HEADERS`. */
export type ClientCertificateHeader = (typeof CLIENT_CERTIFICATE_HEADERS)[number]

/** The certificate with which a client authenticated its TLS connection. Its issuer and its validity are not verified. */
export interface ClientCertificate {
  /** SHA-256 of the DER in base64url: `x5t#S256` (RFC 8705, 3.1). */
  readonly thumbprint: string
  readonly notBefore: Date
  readonly notAfter: Date
}

/** Returns the certificate of a request's client; undefined if it has none. */
export type ReadClientCertificate = (
  request: Pick<IncomingMessage, 'headers' | 'socket'>,
) => ClientCertificate | undefined

/**
 * Creates the reader of one header. It reads the header only of a connection from a trusted proxy, because everybody else can
 * forge it. Anything but exactly one certificate in the form of the header counts as none.
 */
export function createClientCertificateReader(
  header: ClientCertificateHeader,
  isTrustedProxy: IsTrustedProxy,
): ReadClientCertificate {
  if (header === 'none') return () => undefined
  const parse = header === 'client-cert' ? parseByteSequence : parseEscapedPem
  return ({ headers, socket }) => {
    const value = headers[header]
    if (typeof value !== 'string') return undefined
    if (!isTrustedProxy(resolveClientAddress(socket.remoteAddress, undefined, isTrustedProxy))) return undefined
    const certificate = parse(value)
    return certificate && toClientCertificate(certificate)
  }
}

function toClientCertificate({ raw, validFrom, validTo }: X509Certificate): ClientCertificate {
  return {
    thumbprint: createHash('sha256').update(raw).digest('base64url'),
    notBefore: new Date(validFrom),
    notAfter: new Date(validTo),
  }
}

/** Parses a byte sequence (RFC 8941, 3.3.5) of DER. */
function parseByteSequence(value: string): X509Certificate | undefined {
  const base64 = /^:([A-Za-z0-9+/]+={0,2}):$/.exec(value.trim())?.[1]
  if (base64 === undefined) return undefined
  try {
    return new X509Certificate(Buffer.from(base64, 'base64'))
  } catch {
    return undefined
  }
}

function parseEscapedPem(value: string): X509Certificate | undefined {
  try {
    const certificates = parseCertificates(decodeURIComponent(value))
    return certificates?.length === 1 ? certificates[0] : undefined
  } catch {
    return undefined
  }
}
