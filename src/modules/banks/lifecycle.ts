import { GatewayError } from '../../kernel/errors.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Database } from '../../storage/database.ts'
import type { Change, Ledger, LedgerKind } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { CertificationReport, Connector, ConnectorState } from './model.ts'
import type { Notices } from './notices.ts'
import type { BankStore } from './store.ts'

interface Transition {
  readonly from: readonly ConnectorState[]
  readonly to: ConnectorState
  readonly ledgerKind: LedgerKind
}

/** The life of a connector, one step a line. */
const TRANSITIONS = {
  certify: { from: ['DRAFT', 'CERTIFIED'], to: 'CERTIFYING', ledgerKind: 'CONNECTOR_CERTIFYING' },
  pass: { from: ['CERTIFYING'], to: 'CERTIFIED', ledgerKind: 'CONNECTOR_CERTIFIED' },
  fail: { from: ['CERTIFYING'], to: 'DRAFT', ledgerKind: 'CERTIFICATION_NOT_PASSED' },
  putLive: { from: ['CERTIFIED', 'SUSPENDED'], to: 'LIVE', ledgerKind: 'CONNECTOR_LIVE' },
  suspend: { from: ['LIVE'], to: 'SUSPENDED', ledgerKind: 'CONNECTOR_SUSPENDED' },
  retire: { from: ['DRAFT', 'CERTIFIED', 'SUSPENDED'], to: 'RETIRED', ledgerKind: 'CONNECTOR_RETIRED' },
} as const satisfies Record<string, Transition>

/** How steps of a connector are written in the ledger. */
const stateChange = (before: ConnectorState, after: ConnectorState): Change => ({
  field: 'status',
  before: [before],
  after: [after],
})
const newConsentsChange = (after: boolean): Change => ({
  field: 'newConsents',
  before: [String(!after)],
  after: [String(after)],
})

/** What the steps of a connector's life depend on. */
export interface LifecycleDependencies {
  readonly store: BankStore
  readonly database: Database
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly notices: Notices
  /** The connector, or `NOT_FOUND`. */
  readonly requireConnector: (id: string) => Promise<Connector>
}

/** Leads connectors from draft to live and to their end, each step with its entry in the ledger. */
export function createLifecycle({ store, database, ledger, outbox, notices, requireConnector }: LifecycleDependencies) {
  return {
    /** Begins a certification run, with what `ask` does in the same transaction. Throws `STATE_CONFLICT` while one runs. */
    startCertification: (
      actorClientId: string,
      id: string,
      enqueueRun: (tx: Transaction) => Promise<void>,
    ): Promise<Connector> => transition(actorClientId, id, TRANSITIONS.certify, enqueueRun),

    /** Puts a certified connector live, for every process at once. Throws `FORBIDDEN` for the one who registered it. */
    async putLive(actorClientId: string, id: string): Promise<Connector> {
      if ((await requireConnector(id)).clientId === actorClientId)
        throw new GatewayError('FORBIDDEN', { internalMessage: 'four eyes: not by who registered it' })
      return transition(actorClientId, id, TRANSITIONS.putLive)
    },

    suspend: (actorClientId: string, id: string): Promise<Connector> =>
      transition(actorClientId, id, TRANSITIONS.suspend),
    retire: (actorClientId: string, id: string): Promise<Connector> =>
      transition(actorClientId, id, TRANSITIONS.retire),
    completeCertification,
  }

  async function transition(
    actorClientId: string,
    id: string,
    { from, to, ledgerKind }: Transition,
    inSameTransaction: (tx: Transaction) => Promise<void> = () => Promise.resolve(),
  ): Promise<Connector> {
    const { bankId } = await requireConnector(id)
    await database.transaction(async (tx) => {
      const before = await store.transition(tx, id, from, to)
      if (!before) throw new GatewayError('STATE_CONFLICT')
      await ledger.record(tx, {
        kind: ledgerKind,
        clientId: actorClientId,
        subjectId: id,
        changes: [stateChange(before, to)],
      })
      await inSameTransaction(tx)
      await outbox.publish({ kind: 'BANK', id: bankId }, tx)
    })
    outbox.publishLocal({ kind: 'BANK', id: bankId })
    return requireConnector(id)
  }

  /** A draft that passed is certified; a bank that is live and failed takes part in nothing new until it passes again. */
  async function completeCertification({ id, bankId }: Connector, report: CertificationReport): Promise<void> {
    const { passed } = report
    const committedKind = await database.transaction(async (tx) => {
      await store.finishCertification(tx, report)
      const { to, ledgerKind } = passed ? TRANSITIONS.pass : TRANSITIONS.fail
      const before = await store.transition(tx, id, ['CERTIFYING'], to)
      const transitionKind = before === undefined ? undefined : ledgerKind
      const newConsentsKind =
        !transitionKind &&
        report.kind === 'NIGHTLY' &&
        (await store.setNewConsents(tx, id, passed)) &&
        (passed ? 'NEW_CONSENTS_ENABLED' : 'NEW_CONSENTS_DISABLED')
      const transition = transitionKind ?? newConsentsKind
      if (!transition) return false
      const changes = before ? [stateChange(before, to)] : [newConsentsChange(passed)]
      await ledger.record(tx, { kind: transition, subjectId: id, changes })
      await outbox.publish({ kind: 'BANK', id: bankId }, tx)
      return transition
    })
    if (!committedKind) return
    outbox.publishLocal({ kind: 'BANK', id: bankId })
    if (committedKind === 'NEW_CONSENTS_ENABLED') await notices.record(id, 'CERTIFIED_AGAIN')
    if (committedKind === 'NEW_CONSENTS_DISABLED') await notices.record(id, 'CERTIFICATION_FAILED')
  }
}
