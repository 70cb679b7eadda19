import { GatewayError } from '../../kernel/errors.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Database } from '../../storage/database.ts'
import type { Change, Ledger, LedgerKind } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { CertificationReport, Connector, ConnectorState } from './model.ts'
import type { Notices } from './notices.ts'
import type { BankStore } from './store.ts'

interface Step {
  readonly from: readonly ConnectorState[]
  readonly to: ConnectorState
  readonly kind: LedgerKind
}

/** The life of a connector, one step a line. */
const STEPS = {
  certify: { from: ['DRAFT', 'CERTIFIED'], to: 'CERTIFYING', kind: 'CONNECTOR_CERTIFYING' },
  pass: { from: ['CERTIFYING'], to: 'CERTIFIED', kind: 'CONNECTOR_CERTIFIED' },
  fail: { from: ['CERTIFYING'], to: 'DRAFT', kind: 'CONNECTOR_NOT_CERTIFIED' },
  putLive: { from: ['CERTIFIED', 'SUSPENDED'], to: 'LIVE', kind: 'CONNECTOR_LIVE' },
  suspend: { from: ['LIVE'], to: 'SUSPENDED', kind: 'CONNECTOR_SUSPENDED' },
  retire: { from: ['DRAFT', 'CERTIFIED', 'SUSPENDED'], to: 'RETIRED', kind: 'CONNECTOR_RETIRED' },
} as const satisfies Record<string, Step>

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
  readonly found: (id: string) => Promise<Connector>
}

/** Leads connectors from draft to live and to their end, each step with its entry in the ledger. */
export function createLifecycle({ store, database, ledger, outbox, notices, found }: LifecycleDependencies) {
  return {
    /** Begins a certification run, with what `ask` does in the same transaction. Throws `STATE_CONFLICT` while one runs. */
    certify: (by: string, id: string, ask: (tx: Transaction) => Promise<void>): Promise<Connector> =>
      step(by, id, STEPS.certify, ask),

    /** Puts a certified connector live, for every process at once. Throws `FORBIDDEN` for the one who registered it. */
    async putLive(by: string, id: string): Promise<Connector> {
      if ((await found(id)).clientId === by)
        throw new GatewayError('FORBIDDEN', { internal: 'four eyes: not by who registered it' })
      return step(by, id, STEPS.putLive)
    },

    suspend: (by: string, id: string): Promise<Connector> => step(by, id, STEPS.suspend),
    retire: (by: string, id: string): Promise<Connector> => step(by, id, STEPS.retire),
    conclude,
  }

  async function step(
    by: string,
    id: string,
    { from, to, kind }: Step,
    also: (tx: Transaction) => Promise<void> = () => Promise.resolve(),
  ): Promise<Connector> {
    const { bankId } = await found(id)
    await database.transaction(async (tx) => {
      const before = await store.move(tx, id, from, to)
      if (!before) throw new GatewayError('STATE_CONFLICT')
      await ledger.record(tx, { kind, clientId: by, subjectId: id, changes: [stateChange(before, to)] })
      await also(tx)
      await outbox.signal({ kind: 'BANK', id: bankId }, tx)
    })
    outbox.echo({ kind: 'BANK', id: bankId })
    return found(id)
  }

  /** A draft that passed is certified; a bank that is live and failed takes part in nothing new until it passes again. */
  async function conclude({ id, bankId }: Connector, report: CertificationReport): Promise<void> {
    const { passed } = report
    const changed = await database.transaction(async (tx) => {
      await store.finishCertification(tx, report)
      const { to, kind } = passed ? STEPS.pass : STEPS.fail
      const before = await store.move(tx, id, ['CERTIFYING'], to)
      const life = before === undefined ? undefined : kind
      const doors =
        !life &&
        report.kind === 'NIGHTLY' &&
        (await store.setNewConsents(tx, id, passed)) &&
        (passed ? 'CONNECTOR_OPENED' : 'CONNECTOR_CLOSED')
      const step = life ?? doors
      if (!step) return false
      const changes = before ? [stateChange(before, to)] : [newConsentsChange(passed)]
      await ledger.record(tx, { kind: step, subjectId: id, changes })
      await outbox.signal({ kind: 'BANK', id: bankId }, tx)
      return step
    })
    if (!changed) return
    outbox.echo({ kind: 'BANK', id: bankId })
    if (changed === 'CONNECTOR_OPENED') await notices.tell(id, 'CERTIFIED_AGAIN')
    if (changed === 'CONNECTOR_CLOSED') await notices.tell(id, 'CERTIFICATION_FAILED')
  }
}
