import 'reflect-metadata'
import { createPublicKey, generateKeyPairSync, webcrypto, type KeyObject } from 'node:crypto'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0])

const ALGORITHMS = {
  rsa: { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256', publicExponent: new Uint8Array([1, 0, 1]), modulusLength: 2048 },
  ec: { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' },
} as const
const YEAR_MS = 365 * 86_400_000

export interface Issued {
  /** PEM: the certificate and that of its authority. */
  readonly chain: string
  readonly leaf: string
}

export interface IssueOptions {
  readonly subject: string
  readonly notBefore?: Date
  readonly notAfter?: Date
  /** For a server of mutual TLS, on loopback. */
  readonly isServer?: boolean
  readonly usages?: readonly string[]
}

/** A certificate authority. */
export type CertificateAuthority = Awaited<ReturnType<typeof createAuthority>>

/**
 * A certificate authority, such as that of a scheme or a provider of qualified certificates. It is independent of the gateway's own
 * code for certificates.
 */
export async function createAuthority(name = 'CN=Test Scheme CA', type: 'rsa' | 'ec' = 'rsa') {
  const signingAlgorithm = ALGORITHMS[type]
  const keys = await webcrypto.subtle.generateKey(signingAlgorithm, true, ['sign', 'verify'])
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name,
    notBefore: new Date(Date.now() - YEAR_MS),
    notAfter: new Date(Date.now() + 10 * YEAR_MS),
    signingAlgorithm,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 1, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
    ],
  })
  let serial = 1

  async function issue(publicKey: x509.PublicKey, options: IssueOptions): Promise<Issued> {
    const { subject, notBefore = new Date(Date.now() - 60_000), notAfter = new Date(Date.now() + YEAR_MS) } = options
    const usages = options.usages ?? [
      options.isServer ? x509.ExtendedKeyUsage.serverAuth : x509.ExtendedKeyUsage.clientAuth,
    ]
    const certificate = await x509.X509CertificateGenerator.create({
      serialNumber: (++serial).toString(16).padStart(4, '0'),
      subject,
      issuer: root.subject,
      notBefore,
      notAfter,
      signingAlgorithm,
      publicKey,
      signingKey: keys.privateKey,
      extensions: [
        new x509.ExtendedKeyUsageExtension([...usages]),
        ...(options.isServer
          ? [
              new x509.SubjectAlternativeNameExtension([
                { type: 'dns', value: 'localhost' },
                { type: 'ip', value: '127.0.0.1' },
              ]),
            ]
          : []),
      ],
    })
    const leaf = certificate.toString('pem')
    return { leaf: `${leaf}\n`, chain: `${leaf}\n${root.toString('pem')}\n` }
  }

  /** Issues a certificate for the public part of a key. */
  function issueFor(key: KeyObject, options: IssueOptions): Promise<Issued> {
    const spki = createPublicKey(key).export({ type: 'spki', format: 'der' })
    return issue(new x509.PublicKey(new Uint8Array(spki).buffer), options)
  }

  return {
    root: `${root.toString('pem')}\n`,

    /** Issues a certificate for a request, after verifying its signature. */
    async answer(request: string, options: Omit<IssueOptions, 'subject'> = {}): Promise<Issued> {
      const parsed = new x509.Pkcs10CertificateRequest(request)
      if (!(await parsed.verify())) throw new Error('the request is not signed by its key')
      return issue(parsed.publicKey, { ...options, subject: parsed.subject })
    },

    /** Issues another certificate for the key and subject of this one. */
    renew(leaf: string): Promise<Issued> {
      const { publicKey, subject } = new x509.X509Certificate(leaf)
      return issue(publicKey, { subject })
    },

    issueFor,

    /** Issues a certificate with a new key. */
    async issueWithKey(options: IssueOptions, type: KeyType = 'rsa'): Promise<Issued & { key: string }> {
      const key = newKey(type)
      return { ...(await issueFor(key, options)), key: String(key.export({ type: 'pkcs8', format: 'pem' })) }
    },
  }
}

/** What a certificate request asks for, as an independent parser reads it. */
export function readRequest(request: string): { subject: string; extensions: readonly string[] } {
  const { subject, extensions } = new x509.Pkcs10CertificateRequest(request)
  return { subject, extensions: extensions.map(({ type }) => type) }
}

type KeyType = 'rsa' | 'rsa-8192' | 'ec' | 'ed25519'

/** A new private key. */
export function newKey(type: KeyType): KeyObject {
  if (type === 'ec') return generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  if (type === 'ed25519') return generateKeyPairSync('ed25519').privateKey
  return generateKeyPairSync('rsa', { modulusLength: type === 'rsa' ? 2048 : 8192 }).privateKey
}
