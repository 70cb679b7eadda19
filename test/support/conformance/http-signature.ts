import { constants, createHash, verify, X509Certificate, type KeyObject } from 'node:crypto'

/** A request whose signature is checked. Header names are in lower case. */
export interface SignedRequest {
  readonly method: string
  /** The path with its query. */
  readonly path: string
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: string
}

/** What a Berlin Group bank demands of signatures. */
export interface SignatureRules {
  /** The providers of qualified certificates that the bank trusts, in PEM. */
  readonly trustAnchors: readonly string[]
  /** The headers that must be signed if the request has them (1.3.11, 12.2). */
  readonly requiredHeaders?: readonly string[]
  /** The algorithm that the bank has agreed on, where the signature names none but `hs2019` (draft 12, 2.1.4). */
  readonly agreedAlgorithm?: string
  /** Names of the key besides those of 1.3.11, such as the client id. */
  readonly keyIds?: readonly string[]
}

/** The headers that 1.3.11, section 12.2, requires in a signature. */
const REQUIRED = ['digest', 'x-request-id', 'psu-id', 'psu-corporate-id', 'date', 'tpp-redirect-uri']
const HASHES: Readonly<Record<string, string>> = { 'SHA-256': 'sha256', 'SHA-512': 'sha512' }

/**
 * Checks `Digest` (RFC 3230), `Signature` (draft-cavage-http-signatures-10 and -12, also as `Authorization`) and `TPP-Signature-Certificate` as a bank does
 * that demands them (Berlin Group 1.3.11, 12). Returns what is wrong.
 */
export function findSignatureFaults(request: SignedRequest, rules: SignatureRules): string[] {
  const signature = request.headers['signature'] ?? /^Signature (.+)$/.exec(request.headers['authorization'] ?? '')?.[1]
  const encoded = request.headers['tpp-signature-certificate']
  if (signature === undefined || encoded === undefined) return ['SIGNATURE_MISSING']
  const parameters = parseSignature(signature)
  const certificate = parseCertificate(encoded)
  if (!parameters || !certificate) return ['FORMAT_ERROR']
  const { requiredHeaders = REQUIRED, agreedAlgorithm, keyIds = [] } = rules
  if ((agreedAlgorithm === undefined) === (parameters.algorithm === 'hs2019'))
    return [`algorithm ${parameters.algorithm}`]
  const verified = { ...parameters, algorithm: agreedAlgorithm ?? parameters.algorithm }
  const names = [...keyIdOf(certificate), ...keyIds]
  const missing = requiredHeaders.filter(
    (name) => request.headers[name] !== undefined && !parameters.headers.includes(name),
  )
  return [
    ...findDigestFaults(request),
    ...missing.map((name) => `${name} is not signed`),
    ...(parameters.headers.includes('digest') ? [] : ['digest is not signed']),
    ...(isTrusted(certificate, rules.trustAnchors) ? [] : ['CERTIFICATE_INVALID']),
    ...(names.includes(parameters.keyId.toLowerCase()) ? [] : [`keyId ${parameters.keyId}`]),
    ...(verifySignature(request, verified, certificate.publicKey) ? [] : ['SIGNATURE_INVALID']),
  ]
}

interface SignatureParameters {
  readonly keyId: string
  readonly algorithm: string
  readonly headers: readonly string[]
  readonly signature: Buffer
}

/** The parameters of a `Signature` header (draft 10, 2.1 and 4.1). */
export function parseSignature(text: string): SignatureParameters | undefined {
  const members = new Map<string, string>()
  for (const [, name, value] of text.matchAll(/([a-zA-Z]+)="([^"]*)"(?:\s*,\s*|$)/g)) {
    if (members.has(name!)) return undefined
    members.set(name!, value!)
  }
  const keyId = members.get('keyId')
  const signature = members.get('signature')
  if (keyId === undefined || signature === undefined) return undefined
  return {
    keyId,
    algorithm: (members.get('algorithm') ?? '').toLowerCase(),
    headers: (members.get('headers') ?? 'date').split(' ').map((name) => name.toLowerCase()),
    signature: Buffer.from(signature, 'base64'),
  }
}

/** The signed text (draft 10, 2.3); undefined if a signed header is missing. */
function signingString({ method, path, headers }: SignedRequest, names: readonly string[]): string | undefined {
  const lines = names.map((name) => {
    if (name === '(request-target)') return `${name}: ${method.toLowerCase()} ${path}`
    return headers[name] === undefined ? undefined : `${name}: ${headers[name].trim()}`
  })
  return lines.includes(undefined) ? undefined : lines.join('\n')
}

/** Whether the signature is that of the key. */
export function verifySignature(
  request: SignedRequest,
  { algorithm, headers, signature }: SignatureParameters,
  key: KeyObject,
): boolean {
  const text = signingString(request, headers)
  if (text !== undefined && algorithm === 'ed25519' && key.asymmetricKeyType === 'ed25519')
    return verify(null, Buffer.from(text), key, signature)
  const match = /^(rsa|rsa-pss|ecdsa)-(sha256|sha512)$/.exec(algorithm)
  if (text === undefined || !match || (match[1] === 'ecdsa' ? 'ec' : 'rsa') !== key.asymmetricKeyType) return false
  const padding = match[1] === 'rsa-pss' ? { padding: constants.RSA_PKCS1_PSS_PADDING } : {}
  return verify(match[2], Buffer.from(text), { key, ...padding }, signature)
}

function findDigestFaults({ headers, body }: SignedRequest): string[] {
  const [, algorithm = '', value] = /^([A-Z0-9-]+)=(.+)$/.exec(headers['digest'] ?? '') ?? []
  const hash = HASHES[algorithm]
  if (hash === undefined) return ['digest is missing']
  return createHash(hash).update(body).digest('base64') === value ? [] : ['digest is wrong']
}

function parseCertificate(text: string): X509Certificate | undefined {
  try {
    return new X509Certificate(Buffer.from(text, 'base64'))
  } catch {
    return undefined
  }
}

const isTrusted = (certificate: X509Certificate, trustAnchors: readonly string[]): boolean =>
  trustAnchors
    .map((pem) => new X509Certificate(pem))
    .some((anchor) => certificate.checkIssued(anchor) && certificate.verify(anchor.publicKey))

/**
 * The forms of `keyId` for a certificate, in lower case: its serial number in hexadecimal or decimal digits, and the name of its
 * issuer with the last or the first attribute first (1.3.11, 12.2). Banks differ in both.
 */
function keyIdOf({ serialNumber, issuer }: X509Certificate): string[] {
  const attributes = issuer.split('\n')
  const serials = [serialNumber, serialNumber.replace(/^0+(?=.)/, ''), BigInt(`0x${serialNumber}`).toString()]
  const names = [attributes, [...attributes].reverse()].flatMap((list) => [list.join(','), list.join(', ')])
  return serials.flatMap((serial) =>
    names
      .flatMap((name) => [name, encodeURIComponent(name), name.replaceAll(' ', '%20')])
      .map((name) => `SN=${serial},CA=${name}`.toLowerCase()),
  )
}
