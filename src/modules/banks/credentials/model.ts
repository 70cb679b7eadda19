import type { CertificateUse } from '../../../kernel/certificate-request.ts'

/** A certificate for mutual TLS or for signing, with its key, or a client secret. */
export type CredentialKind = CertificateUse | 'CLIENT_SECRET'

/** One credential of a connector, without its secret part. */
export interface Credential {
  readonly id: string
  readonly connectorId: string
  readonly kind: CredentialKind
  /** The public JWK with its `kid`. Null for a secret. */
  readonly publicKey: Readonly<Record<string, unknown>> | null
  /** PEM, if the gateway made the key. */
  readonly certificateRequest: string | null
  /** PEM, the leaf first. Null until a requested certificate is uploaded. */
  readonly certificateChain: string | null
  /** The end of the certificate's validity. Null for a secret, and until there is a certificate. */
  readonly expiresAt: Date | null
  readonly createdAt: Date
  /** Null until the certificate is uploaded. */
  readonly activatedAt: Date | null
  readonly retiredAt: Date | null
}

/** A certificate with the others of its connector, on which its status depends. */
export interface CertificateOfConnector {
  readonly certificate: Credential & { readonly kind: CertificateUse }
  readonly all: readonly Credential[]
}

/** A credential with its sealed private key or secret. */
export interface SealedCredential extends Credential {
  readonly sealed: string
}

/** The status of a certificate. The newest valid one is ACTIVE; those before it stay known to the bank until they are retired. */
export type CertificateStatus = 'REQUESTED' | 'ACTIVE' | 'SUPERSEDED' | 'EXPIRED' | 'RETIRED'

const isValidAt = ({ activatedAt, retiredAt, expiresAt }: Credential, now: Date): boolean =>
  activatedAt !== null && retiredAt === null && (expiresAt === null || expiresAt > now)

/** The credential of a kind that the gateway uses now: the newest valid one. */
export const credentialInUse = (
  credentials: readonly Credential[],
  kind: CredentialKind,
  now: Date,
): Credential | undefined =>
  credentials
    .filter((credential) => credential.kind === kind && isValidAt(credential, now))
    .sort((one, other) => other.activatedAt!.getTime() - one.activatedAt!.getTime())[0]

/** The status of a certificate among all credentials of its connector. */
export function certificateStatus(credential: Credential, all: readonly Credential[], now: Date): CertificateStatus {
  if (credential.retiredAt) return 'RETIRED'
  if (!credential.activatedAt) return 'REQUESTED'
  if (credential.expiresAt && credential.expiresAt <= now) return 'EXPIRED'
  return credentialInUse(all, credential.kind, now)?.id === credential.id ? 'ACTIVE' : 'SUPERSEDED'
}

/** A JWK set (RFC 7517, 5). */
export interface PublishedKeys {
  readonly keys: readonly Readonly<Record<string, unknown>>[]
}

/** The gateway's own key, and those of certificates that are in use or may still be: their keys must stay known to the bank. Each once. */
export function publishedKeysOf(ownKeys: unknown, credentials: readonly Credential[]): PublishedKeys {
  const published = credentials.filter(
    ({ kind, activatedAt, retiredAt }) => kind === 'SIGNING' && activatedAt && !retiredAt,
  )
  const { keys } = ownKeys as { keys: Readonly<Record<string, unknown>>[] }
  const byId = new Map([...keys, ...published.map(({ publicKey }) => publicKey!)].map((key) => [key['kid'], key]))
  return { keys: [...byId.values()] }
}

/** The context in which a credential is sealed. */
export const credentialContext = (id: string): `connector-credential:${string}` => `connector-credential:${id}`

/** Whether a credential is a certificate, and no secret. */
export const isCertificate = (credential: Credential): credential is CertificateOfConnector['certificate'] =>
  credential.kind !== 'CLIENT_SECRET'
