import { createPrivateKey, createPublicKey, type KeyObject } from 'node:crypto'
import type { SigningKey } from '../../../connectors/index.ts'
import {
  createCertificateRequest,
  type CertificateSubject,
  type CertificateUse,
  type LicensingAuthority,
} from '../../../kernel/certificate-request.ts'
import { GatewayError } from '../../../kernel/errors.ts'
import { throwInvalidInput } from '../../../kernel/input-faults.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import type { Connector } from '../model.ts'
import type { BankStore } from '../store.ts'
import { createChanges, type ChangeDependencies } from './changes.ts'
import {
  algorithmOf,
  organizationIdentifierOf,
  parseCertificateChain,
  parseKeyId,
  parsePrivateKey,
} from './certificate-chain.ts'
import { requireNewCertificate, requireUnambiguousKeyId } from './conflicts.ts'
import {
  certificateStatus,
  isCertificate,
  type CertificateOfConnector,
  credentialContext,
  credentialInUse,
  publishedKeysOf,
  type CertificateStatus,
  type Credential,
  type PublishedKeys,
} from './model.ts'
import { generateKeyFor, privateJwk, publicJwk, requireAlgorithm } from './keys.ts'

/** The dependencies of credentials. */
export interface CredentialsDependencies extends ChangeDependencies {
  readonly bankStore: BankStore
  /** Returns the connector or throws `NOT_FOUND`. */
  readonly requireConnector: (id: string) => Promise<Connector>
}

/** A certificate to request. */
export interface RequestedCertificate {
  readonly use: CertificateUse
  readonly subject: CertificateSubject
  /** Who licensed the operator, for a certificate under PSD2. */
  readonly authority?: LicensingAuthority | undefined
}

/** An issued certificate, with its key unless the gateway made it. */
export interface UploadedCertificate {
  readonly use: CertificateUse
  /** PEM, the own certificate first. */
  readonly certificateChain: string
  /** PEM. Absent if the certificate answers a request of the gateway. */
  readonly privateKey?: string | null | undefined
  /** The `kid` that the directory or bank gave to the key; its thumbprint if absent. */
  readonly keyId?: string | null | undefined
}

/** Creates the service. Every change has an entry in the ledger and takes effect in every process. */
export function createCredentials(dependencies: CredentialsDependencies) {
  const { store, bankStore, world, seal, requireConnector } = dependencies
  const { clock } = world

  const { change, newCredential, prepareClientSecret } = createChanges(dependencies)

  async function requestCertificate(
    actorClientId: string,
    connectorId: string,
    { use, subject, authority }: RequestedCertificate,
  ): Promise<Credential> {
    const connector = await requireConnector(connectorId)
    const key = await generateKeyFor(use, connector)
    const credential = await newCredential(connectorId, use, privateJwk(key, algorithmOf(key)), {
      publicKey: publicJwk(key, algorithmOf(key)),
      certificateRequest: createCertificateRequest(key, use, subject, authority),
    })
    const changes = [{ field: 'certificate', before: [], after: [use] }]
    await change(actorClientId, connector, 'CERTIFICATE_REQUESTED', changes, (tx) => store.add(tx, credential))
    return (await store.find(credential.id))!
  }

  async function uploadCertificate(
    actorClientId: string,
    connectorId: string,
    { use, certificateChain, privateKey, keyId }: UploadedCertificate,
  ): Promise<Credential> {
    const connector = await requireConnector(connectorId)
    const now = clock.now()
    const { leaf, pem, expiresAt } = parseCertificateChain(certificateChain, use, now)
    const keyName = parseKeyId(keyId)
    const algorithm = algorithmOf(leaf.publicKey)
    if (use === 'SIGNING') requireAlgorithm(connector, algorithm)
    const { id, key } =
      privateKey == null
        ? await findRequested(connectorId, use, leaf.publicKey)
        : { id: undefined, key: parsePrivateKey(privateKey, leaf) }
    const jwk = privateJwk(key, algorithm, keyName)
    const certificate = {
      certificateChain: pem,
      expiresAt,
      activatedAt: now,
      publicKey: publicJwk(key, algorithm, keyName),
    }
    const added = id === undefined ? await newCredential(connectorId, use, jwk, certificate) : undefined
    const resealed = id === undefined ? '' : await seal.seal(credentialContext(id), jwk)
    const changes = [{ field: 'certificate', before: [], after: [use, leaf.fingerprint256] }]
    await change(actorClientId, connector, 'CERTIFICATE_UPLOADED', changes, async (tx, { credentials }) => {
      requireNewCertificate(leaf, use, credentials)
      if (use === 'SIGNING') requireUnambiguousKeyId(certificate.publicKey, connector.jwks, credentials)
      if (added) await store.add(tx, added)
      else if (!(await store.activate(tx, id!, { ...certificate, sealed: resealed })))
        throw new GatewayError('STATE_CONFLICT')
      if (use === 'TRANSPORT') await identifyClient(tx, connector, organizationIdentifierOf(leaf))
    })
    return (await store.find(added?.id ?? id!))!
  }

  /** Stores the organization of the certificate as the client id, if the bank identifies the gateway by it. */
  async function identifyClient(
    tx: Transaction,
    connector: Connector,
    organization: string | undefined,
  ): Promise<void> {
    if (connector.registration.certificates?.identifyClient !== true) return
    if (organization === undefined)
      return throwInvalidInput(
        ['certificateChain'],
        'must name an organizationIdentifier: the bank takes it as the client ID',
      )
    if (!(await bankStore.setIdentifiedClientId(tx, connector.id, organization)))
      throwInvalidInput(['certificateChain'], 'must name the same organizationIdentifier as the certificate in use')
  }

  async function findRequested(
    connectorId: string,
    use: CertificateUse,
    publicKey: KeyObject,
  ): Promise<{ id: string; key: KeyObject }> {
    for (const { id, kind, activatedAt, retiredAt } of await store.ofConnectors([connectorId])) {
      if (kind !== use || activatedAt || retiredAt) continue
      const key = createPrivateKey({
        key: (await seal.unseal(credentialContext(id), await store.sealed(id))) as SigningKey,
        format: 'jwk',
      })
      if (createPublicKey(key).equals(publicKey)) return { id, key }
    }
    return throwInvalidInput(
      ['privateKey'],
      'is required: the certificate is for no key that the gateway made for this connector',
    )
  }

  return {
    /** Makes a key, stores it sealed, and returns the certificate request for it. */
    requestCertificate,
    /**
     * Stores an issued certificate and uses it from now on. Throws `INVALID_INPUT` if chain or key are not acceptable. Earlier
     * certificates stay known to the bank until they are retired.
     */
    uploadCertificate,

    /** Stores the secret that the bank gave to the gateway and uses it from now on. */
    async setClientSecret(actorClientId: string, connectorId: string, clientSecret: string): Promise<Connector> {
      const connector = await requireConnector(connectorId)
      if (!/^[\x21-\x7e]{8,512}$/.test(clientSecret))
        throwInvalidInput(['clientSecret'], 'must be 8 to 512 visible ASCII characters')
      const replaceSecret = await prepareClientSecret(connectorId, clientSecret)
      await change(actorClientId, connector, 'CLIENT_SECRET_CHANGED', [], replaceSecret)
      return connector
    },

    /** Retires a certificate, which is then neither used nor published. Throws `STATE_CONFLICT` for the one in use. */
    async retireCertificate(actorClientId: string, credentialId: string): Promise<Credential> {
      const credential = await store.find(credentialId)
      if (!credential || credential.kind === 'CLIENT_SECRET') throw new GatewayError('NOT_FOUND')
      const connector = await requireConnector(credential.connectorId)
      const changes = [{ field: 'certificate', before: [credential.kind], after: [] }]
      await change(actorClientId, connector, 'CERTIFICATE_RETIRED', changes, async (tx, { status, credentials }) => {
        const inUse = credentialInUse(credentials, credential.kind, clock.now())
        if (status === 'ACTIVE' && inUse?.id === credentialId)
          throw new GatewayError('STATE_CONFLICT', { internalMessage: 'the certificate is in use' })
        if (!(await store.retire(tx, credentialId, clock.now()))) throw new GatewayError('STATE_CONFLICT')
      })
      return (await store.find(credentialId))!
    },

    /** The credential without its secret part, if there is one. */
    findCredential: (id: string): Promise<Credential | null> => store.find(id),
    /** The certificate with the others of its connector. Null if there is none, and for a secret. */
    async findCertificate(id: string): Promise<CertificateOfConnector | null> {
      const certificate = await store.find(id)
      return certificate && isCertificate(certificate)
        ? { certificate, all: await store.ofConnectors([certificate.connectorId]) }
        : null
    },
    /** The credentials of these connectors, oldest first. */
    credentialsOf: (connectorIds: readonly string[]): Promise<Credential[]> => store.ofConnectors(connectorIds),

    /** The public keys of a connector that is not RETIRED. Throws `NOT_FOUND` for others. */
    async publishedKeys(connectorId: string): Promise<PublishedKeys> {
      const { status, jwks } = await requireConnector(connectorId)
      if (status === 'RETIRED') throw new GatewayError('NOT_FOUND')
      return publishedKeysOf(jwks, await store.ofConnectors([connectorId]))
    },

    /** The status of a certificate among all credentials of its connector. */
    certificateStatus: (certificate: Credential, all: readonly Credential[]): CertificateStatus =>
      certificateStatus(certificate, all, clock.now()),
  }
}
