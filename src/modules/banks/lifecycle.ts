import { GatewayError } from '../../kernel/errors.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Change, Ledger, LedgerAction } from '../ledger/index.ts'
import type { CertificationStore } from './certification/store.ts'
import { eventStreamStore } from './event-stream-store.ts'
import type { CertificationRun, Connector, ConnectorStatus } from './model.ts'
import type { Notices } from './notices.ts'
import type { BankStore } from './store.ts'

interface Transition {
  readonly from: readonly ConnectorStatus[]
  readonly to: ConnectorStatus
  readonly ledgerAction: LedgerAction
  /**
   * CLIENT: the partner, or an admin if the mutation's scopes allow it. OTHER_CLIENT: any client except the one that
   * registered the connector (four-eyes principle). RUN: only the end of a certification run.
   */
  readonly by: 'CLIENT' | 'OTHER_CLIENT' | 'RUN'
}

/** The transitions of a connector's lifecycle. */
const TRANSITIONS = {
  certify: { from: ['DRAFT', 'CERTIFIED'], to: 'CERTIFYING', ledgerAction: 'CERTIFICATION_REQUESTED', by: 'CLIENT' },
  pass: { from: ['CERTIFYING'], to: 'CERTIFIED', ledgerAction: 'CONNECTOR_CERTIFIED', by: 'RUN' },
  checkDraft: { from: ['CERTIFYING'], to: 'DRAFT', ledgerAction: 'CONNECTOR_CHECKED', by: 'RUN' },
  checkCertified: { from: ['CERTIFYING'], to: 'CERTIFIED', ledgerAction: 'CONNECTOR_CHECKED', by: 'RUN' },
  fail: { from: ['CERTIFYING'], to: 'DRAFT', ledgerAction: 'CERTIFICATION_FAILED', by: 'RUN' },
  activate: { from: ['CERTIFIED', 'SUSPENDED'], to: 'ACTIVE', ledgerAction: 'CONNECTOR_ACTIVATED', by: 'OTHER_CLIENT' },
  suspend: { from: ['ACTIVE'], to: 'SUSPENDED', ledgerAction: 'CONNECTOR_SUSPENDED', by: 'CLIENT' },
  retire: { from: ['DRAFT', 'CERTIFIED', 'SUSPENDED'], to: 'RETIRED', ledgerAction: 'CONNECTOR_RETIRED', by: 'CLIENT' },
} as const satisfies Record<string, Transition>

const statusChange = (before: ConnectorStatus, after: ConnectorStatus): Change => ({
  field: 'status',
  before: [before],
  after: [after],
})
const acceptsNewConsentsChange = (after: boolean): Change => ({
  field: 'acceptsNewConsents',
  before: [String(!after)],
  after: [String(after)],
})

/** The dependencies of the lifecycle. */
export interface LifecycleDependencies {
  readonly store: BankStore
  readonly runs: CertificationStore
  readonly database: Database
  readonly ledger: Ledger
  readonly signals: Signals
  readonly notices: Notices
  /** Returns the connector or throws `NOT_FOUND`. */
  readonly requireConnector: (id: string) => Promise<Connector>
}

/** Moves connectors through their lifecycle. */
export type Lifecycle = ReturnType<typeof createLifecycle>

/** Creates the lifecycle. Each transition has an entry in the ledger. */
export function createLifecycle(dependencies: LifecycleDependencies) {
  const { store, runs, database, ledger, signals, notices, requireConnector } = dependencies
  const streams = eventStreamStore(database)
  return {
    /** Starts a certification run, which `enqueueRun` adds in the same transaction. Throws `STATE_CONFLICT` while one runs. */
    startCertification: (
      actorClientId: string,
      id: string,
      enqueueRun: (tx: Transaction, before: ConnectorStatus) => Promise<void>,
    ): Promise<Connector> => transition(actorClientId, id, TRANSITIONS.certify, enqueueRun),

    /** Makes a certified or suspended connector ACTIVE in every process. Throws `FORBIDDEN` for the client that registered it. */
    activate: (actorClientId: string, id: string): Promise<Connector> =>
      transition(actorClientId, id, TRANSITIONS.activate, (tx) => streams.checkNow(tx, id)),
    /** Its stream of events is paused by the worker. */
    suspend: (actorClientId: string, id: string): Promise<Connector> =>
      transition(actorClientId, id, TRANSITIONS.suspend, (tx) => streams.checkNow(tx, id)),
    retire: (actorClientId: string, id: string): Promise<Connector> =>
      transition(actorClientId, id, TRANSITIONS.retire),
    completeCertification,
  }

  async function transition(
    actorClientId: string,
    id: string,
    { from, to, ledgerAction, by }: Transition,
    inSameTransaction: (tx: Transaction, before: ConnectorStatus) => Promise<void> = () => Promise.resolve(),
  ): Promise<Connector> {
    const { bankId, clientId } = await requireConnector(id)
    if (by === 'OTHER_CLIENT' && clientId === actorClientId)
      throw new GatewayError('FORBIDDEN', { internalMessage: 'four eyes: not by the client that registered it' })
    await database.transaction(async (tx) => {
      const before = await store.transition(tx, id, from, to)
      if (!before) throw new GatewayError('STATE_CONFLICT')
      const changes = [statusChange(before, to)]
      await ledger.record(tx, { action: ledgerAction, clientId: actorClientId, subjectId: id, changes })
      await inSameTransaction(tx, before)
      await signals.publish(tx, { kind: 'BANK', id: bankId })
    })
    return requireConnector(id)
  }

  /**
   * A draft that passed above STATIC is CERTIFIED; after a STATIC run it is what it was before. An active connector that failed
   * accepts no new consents until it passes again; a run that could not be completed says nothing about it.
   */
  async function completeCertification(
    { id, bankId }: Connector,
    run: CertificationRun,
    inSameTransaction: (tx: Transaction) => Promise<void>,
  ): Promise<void> {
    const hasPassed = run.status === 'PASSED'
    const committedAction = await database.transaction(async (tx) => {
      if (!(await runs.finish(tx, run))) return undefined
      await inSameTransaction(tx)
      const { from, to, ledgerAction } = await outcomeOf(tx, run)
      const before = await store.transition(tx, id, from, to)
      const isVerdict = run.trigger === 'SCHEDULED' && run.failureCode === null
      const isConsentChange = !before && isVerdict && (await store.setAcceptsNewConsents(tx, id, hasPassed))
      if (!before && !isConsentChange) return undefined
      const consentAction = hasPassed ? ('NEW_CONSENTS_ENABLED' as const) : ('NEW_CONSENTS_DISABLED' as const)
      const action = before ? ledgerAction : consentAction
      const changes = [before ? statusChange(before, to) : acceptsNewConsentsChange(hasPassed)]
      await ledger.record(tx, { action, subjectId: id, changes })
      await signals.publish(tx, { kind: 'BANK', id: bankId })
      return action
    })
    if (!committedAction) return
    if (committedAction === 'NEW_CONSENTS_ENABLED') await notices.record(id, 'CERTIFIED_AGAIN')
    if (committedAction === 'NEW_CONSENTS_DISABLED') await notices.record(id, 'CERTIFICATION_FAILED')
  }

  async function outcomeOf(tx: Transaction, { id, status, level }: CertificationRun): Promise<Transition> {
    if (status !== 'PASSED') return TRANSITIONS.fail
    if (level !== 'STATIC') return TRANSITIONS.pass
    return (await runs.wasCertified(tx, id)) ? TRANSITIONS.checkCertified : TRANSITIONS.checkDraft
  }
}
