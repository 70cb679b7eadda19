import 'reflect-metadata'
import { generateKeyPairSync, webcrypto, type KeyObject } from 'node:crypto'
import * as x509 from '@peculiar/x509'

x509.cryptoProvider.set(webcrypto as unknown as Parameters<typeof x509.cryptoProvider.set>[0])

const RSA = {
  name: 'RSASSA-PKCS1-v1_5',
  hash: 'SHA-256',
  publicExponent: new Uint8Array([1, 0, 1]),
  modulusLength: 2048,
}
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

/** A certificate authority of a scheme. It is independent of the gateway's own code for certificates. */
export async function createAuthority(name = 'Test Scheme CA') {
  const keys = await webcrypto.subtle.generateKey(RSA, true, ['sign', 'verify'])
  const root = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: '01',
    name: `CN=${name}`,
    notBefore: new Date(Date.now() - YEAR_MS),
    notAfter: new Date(Date.now() + 10 * YEAR_MS),
    signingAlgorithm: RSA,
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
      signingAlgorithm: RSA,
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

    /** Issues a certificate with a new key. */
    async issueWithKey(options: IssueOptions, type: KeyType = 'rsa'): Promise<Issued & { key: string }> {
      const key = newKey(type)
      const spki = key.publicKey.export({ type: 'spki', format: 'der' })
      const issued = await issue(new x509.PublicKey(new Uint8Array(spki).buffer), options)
      return { ...issued, key: String(key.privateKey.export({ type: 'pkcs8', format: 'pem' })) }
    },
  }
}

/** What a certificate request asks for, as an independent parser reads it. */
export function readRequest(request: string): { subject: string; extensions: readonly string[] } {
  const { subject, extensions } = new x509.Pkcs10CertificateRequest(request)
  return { subject, extensions: extensions.map(({ type }) => type) }
}

type KeyType = 'rsa' | 'rsa-8192' | 'ec' | 'ed25519'

function newKey(type: KeyType): { publicKey: KeyObject; privateKey: KeyObject } {
  if (type === 'rsa-8192') return generateKeyPairSync('rsa', { modulusLength: 8_192 })
  if (type === 'ec') return generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return type === 'ed25519' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 })
}
