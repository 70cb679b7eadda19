import { GatewayError } from '../../../kernel/errors.ts'
import { newId } from '../../../kernel/ids.ts'
import { faultAt, invalidInputError } from '../../../kernel/input-faults.ts'
import type { Transaction } from '../../../kernel/transaction.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Seal } from '../../../storage/seal.ts'
import type { Signals } from '../../../storage/signals.ts'
import type { Change, Ledger, LedgerAction } from '../../ledger/index.ts'
import type { Connector, ConnectorStatus } from '../model.ts'
import { credentialContext, type Credential, type CredentialKind, type SealedCredential } from './model.ts'
import type { CredentialStore } from './store.ts'

/** The dependencies of changes. */
export interface ChangeDependencies {
  readonly store: CredentialStore
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly ledger: Ledger
  readonly signals: Signals
}

/** A connector while one of its credentials changes. */
interface PresentState {
  readonly status: ConnectorStatus
  /** Those that are not retired, oldest first. */
  readonly credentials: readonly Credential[]
}

/** Certificates and secrets of one connector that are not retired. */
const MAX_CREDENTIALS = 20

/** The shared parts of changes of credentials. */
export type CredentialChanges = ReturnType<typeof createChanges>

/** What every change of credentials has in common. */
export function createChanges({ store, database, world, seal, ledger, signals }: ChangeDependencies) {
  const { clock, randomness } = world
  return { change, newCredential, prepareClientSecret }

  /**
   * Runs a change of a connector that is not RETIRED, with its ledger entry and signal. Changes of one connector run one after another,
   * in all processes.
   */
  async function change(
    actorClientId: string,
    connector: Connector,
    action: LedgerAction,
    changes: readonly Change[],
    apply: (tx: Transaction, present: PresentState) => Promise<void>,
  ): Promise<void> {
    await database.transaction(async (tx) => {
      const status = await store.lockConnector(tx, connector.id)
      if (status === 'RETIRED') throw new GatewayError('STATE_CONFLICT')
      const credentials = (await store.ofConnectors([connector.id], tx)).filter(({ retiredAt }) => retiredAt === null)
      if (action !== 'CERTIFICATE_RETIRED') requireRoom(credentials)
      await apply(tx, { status, credentials })
      await ledger.record(tx, { action, clientId: actorClientId, subjectId: connector.id, changes: [...changes] })
      await signals.publish(tx, { kind: 'BANK', id: connector.bankId })
      await signals.publish(tx, { kind: 'CREDENTIALS', id: connector.id })
    })
  }

  /** Bounds what one connector stores. Throws `STATE_CONFLICT`. */
  function requireRoom(credentials: readonly Credential[]): void {
    if (credentials.length >= MAX_CREDENTIALS)
      throw invalidInputError([
        faultAt(
          ['connectorId'],
          `has ${MAX_CREDENTIALS} certificates: retire those that are in use no more`,
          'STATE_CONFLICT',
        ),
      ])
  }

  /** A new credential with its sealed secret, which is not stored yet. */
  async function newCredential(
    connectorId: string,
    kind: CredentialKind,
    secret: unknown,
    members: Partial<Credential>,
  ): Promise<SealedCredential> {
    const id = newId('cred', randomness)
    const empty = { publicKey: null, certificateRequest: null, certificateChain: null, expiresAt: null }
    const dates = { createdAt: clock.now(), activatedAt: null, retiredAt: null }
    const sealed = await seal.seal(credentialContext(id), secret)
    return { id, connectorId, kind, sealed, ...empty, ...dates, ...members }
  }

  /** Seals a secret that the bank gave to the gateway. The result stores it in place of the earlier ones. */
  async function prepareClientSecret(
    connectorId: string,
    clientSecret: string,
  ): Promise<(tx: Transaction) => Promise<void>> {
    const now = clock.now()
    const credential = await newCredential(connectorId, 'CLIENT_SECRET', clientSecret, { activatedAt: now })
    return async (tx) => {
      await store.lockConnector(tx, connectorId)
      for (const { id, kind } of await store.ofConnectors([connectorId], tx))
        if (kind === 'CLIENT_SECRET') await store.retire(tx, id, now)
      await store.add(tx, credential)
    }
  }
}
