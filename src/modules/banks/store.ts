import { isStandardId, type Registration, type StandardId } from '../../connectors/index.ts'
import { addMs } from '../../kernel/clock.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import {
  bankNameKey,
  type Bank,
  type BankConflict,
  type BankOperation,
  type CertificationCheck,
  type CertificationReport,
  type Notice,
  type NoticeKind,
  type Connector,
  type ConnectorState,
  type MaintenanceWindow,
} from './model.ts'

interface ConnectorRow {
  id: string
  bankId: string
  clientId: string
  standard: string
  status: string
  registration: unknown
  publicKeys: unknown
  certificate: string | null
  bankClientId: string | null
  newConsents: boolean
}

/** What the bank called the gateway when it registered itself counts before what the partner said. */
const withBankClientId = (registration: Registration, bankClientId: string | null): Registration =>
  bankClientId === null ? registration : { ...registration, clientId: bankClientId }

const toConnector = (row: ConnectorRow): Connector => ({
  id: row.id,
  bankId: row.bankId,
  clientId: row.clientId,
  standard: standardOf(row.standard),
  status: row.status as ConnectorState,
  registration: withBankClientId(row.registration as Registration, row.bankClientId),
  publicKeys: row.publicKeys,
  certificate: row.certificate,
  newConsents: row.newConsents,
})

function standardOf(text: string): StandardId {
  if (!isStandardId(text)) throw new Error('a connector of a standard that this version does not speak')
  return text
}

interface ReportRow {
  id: string
  connectorId: string
  kind: string
  at: Date
  passed: boolean
  checks: unknown
  finishedAt: Date | null
  statement: string | null
}
const toReport = ({
  id,
  connectorId,
  kind,
  at,
  passed,
  checks,
  finishedAt,
  statement,
}: ReportRow): CertificationReport => ({
  id,
  connectorId,
  kind: kind as CertificationReport['kind'],
  at,
  passed,
  checks: checks as CertificationCheck[],
  finishedAt,
  statement,
})
const checksToJson = (checks: readonly CertificationCheck[]): object[] => JSON.parse(JSON.stringify(checks)) as object[]

/** A bank that could not be added: its id is another's, or, where nobody has its id, its name is. */
function conflictWith(
  existing: (Bank & { clientId: string }) | null,
  { name, country }: Bank,
  clientId: string,
): BankConflict | undefined {
  if (!existing) return 'name'
  return existing.clientId === clientId && existing.name === name && existing.country === country ? undefined : 'id'
}

/** Banks and connectors; a connector's registration never changes. */
export const bankStore = (database: Database) => ({
  /** Adds the bank unless it is there; says what stands in the way where that one is another's, or only named like it. */
  async addBank(tx: Transaction, bank: Bank, clientId: string): Promise<BankConflict | undefined> {
    const data = [{ ...bank, nameKey: bankNameKey(bank.name), clientId }]
    const { count } = await tablesIn(tx).bank.createMany({ data, skipDuplicates: true })
    return count === 1
      ? undefined
      : conflictWith(await tablesIn(tx).bank.findUnique({ where: { id: bank.id } }), bank, clientId)
  },

  /** What would stand in the way of `addBank`, as things are now. */
  async findBankConflict(bank: Bank, clientId: string): Promise<BankConflict | undefined> {
    const existing = await database.tables.bank.findUnique({ where: { id: bank.id } })
    const isFree = !existing && !(await database.tables.bank.findUnique({ where: { nameKey: bankNameKey(bank.name) } }))
    return isFree ? undefined : conflictWith(existing, bank, clientId)
  },

  async addConnector(tx: Transaction, connector: Connector & { sealedKey: string }): Promise<void> {
    const { registration, publicKeys, ...rest } = connector
    await tablesIn(tx).connector.create({
      data: {
        ...rest,
        registration: JSON.parse(JSON.stringify(registration)) as object,
        publicKeys: publicKeys as object,
      },
    })
  },

  async connector(id: string): Promise<Connector | null> {
    const row = await database.tables.connector.findUnique({ where: { id } })
    return row && toConnector(row)
  },

  async sealedKey(id: string): Promise<string> {
    return (await database.tables.connector.findUniqueOrThrow({ where: { id }, select: { sealedKey: true } })).sealedKey
  },

  async connectors(where: { clientId?: string; bankId?: string; status?: ConnectorState }): Promise<Connector[]> {
    return (await database.tables.connector.findMany({ where, orderBy: { createdAt: 'asc' } })).map(toConnector)
  },

  /** The ids of the connectors in one of these statuses. */
  async connectorIds(statuses: ConnectorState[]): Promise<ReadonlySet<string>> {
    const rows = await database.tables.connector.findMany({ where: { status: { in: statuses } }, select: { id: true } })
    return new Set(rows.map(({ id }) => id))
  },

  /** True for one of many who ask at once, and then for nobody until the turn before it lies long enough back. */
  async claimEventPoll(id: string, intervalMs: number): Promise<boolean> {
    const updatedCount = await database.tables.$executeRaw`
      update connector set events_asked_at = statement_timestamp() where id = ${id}
        and coalesce(events_asked_at <= statement_timestamp() - ${intervalMs}::int * interval '1 millisecond', true)`
    return updatedCount === 1
  },

  async bank(id: string): Promise<Bank | null> {
    return database.tables.bank.findUnique({ where: { id }, select: { id: true, name: true, country: true } })
  },

  async banks(ids: readonly string[]): Promise<Bank[]> {
    return database.tables.bank.findMany({
      where: { id: { in: [...ids] } },
      select: { id: true, name: true, country: true },
    })
  },

  async liveBanks(): Promise<Bank[]> {
    return database.tables.bank.findMany({
      where: { connectors: { some: { status: 'LIVE', newConsents: true } } },
      orderBy: { name: 'asc' },
      select: { id: true, name: true, country: true },
    })
  },

  /** The status that the connector was in, of those of `from`; nothing where it was in none. Of two callers at once only one moves it. */
  async transition(
    tx: Transaction,
    id: string,
    from: readonly ConnectorState[],
    to: ConnectorState,
  ): Promise<ConnectorState | undefined> {
    const [row] = await tablesIn(tx).$queryRaw<{ status: ConnectorState }[]>`
      update connector set status = ${to} from (select id, status from connector where id = ${id} for update) as before
      where connector.id = before.id and before.status = any(${[...from]}) returning before.status`
    return row?.status
  },

  // What a partner announces, and what was seen of its bank

  async addMaintenance(tx: Transaction, window: MaintenanceWindow): Promise<void> {
    await tablesIn(tx).maintenanceWindow.create({ data: window })
  },

  async endIncidents(tx: Transaction, bankId: string, at: Date): Promise<number> {
    const where = { bankId, kind: 'INCIDENT', to: { gt: at } }
    return (await tablesIn(tx).maintenanceWindow.updateMany({ where, data: { to: at } })).count
  },

  async maintenance(bankIds: readonly string[], after: Date): Promise<MaintenanceWindow[]> {
    return database.tables.maintenanceWindow.findMany({
      where: { bankId: { in: [...bankIds] }, to: { gt: after } },
      orderBy: { from: 'asc' },
      select: { id: true, bankId: true, kind: true, from: true, to: true },
    }) as Promise<MaintenanceWindow[]>
  },

  /** Keeps the name that the bank gave, while the connector is a draft. */
  async setBankClientId(tx: Transaction, id: string, bankClientId: string): Promise<boolean> {
    const where = { id, status: 'DRAFT' }
    return (await tablesIn(tx).connector.updateMany({ where, data: { bankClientId } })).count === 1
  },

  /** Opens or closes the bank for new consents; true where that is a change. */
  async setNewConsents(tx: Transaction, id: string, newConsents: boolean): Promise<boolean> {
    const where = { id, newConsents: !newConsents }
    return (await tablesIn(tx).connector.updateMany({ where, data: { newConsents } })).count === 1
  },

  async addNotice(notice: Notice): Promise<void> {
    await database.tables.connectorNotice.create({ data: notice })
  },

  async notices(connectorId: string, limit: number): Promise<Notice[]> {
    const rows = await database.tables.connectorNotice.findMany({
      where: { connectorId },
      orderBy: [{ at: 'desc' }, { id: 'desc' }],
      take: limit,
    })
    return rows.map((row) => row as Notice)
  },

  /** What was told last of one kind of call. */
  async lastNotice(connectorId: string, operation: BankOperation): Promise<NoticeKind | undefined> {
    const row = await database.tables.connectorNotice.findFirst({
      where: { connectorId, operation },
      orderBy: [{ at: 'desc' }, { id: 'desc' }],
    })
    return row?.kind as NoticeKind | undefined
  },

  // Certification runs

  async addCertification(
    tx: Transaction,
    run: Pick<CertificationReport, 'id' | 'connectorId' | 'kind' | 'at'>,
  ): Promise<void> {
    await tablesIn(tx).certification.create({ data: { ...run, passed: false, checks: [] } })
  },

  /** Adds a nightly run, unless one waits, or one passed or failed too short a time ago. */
  async addNightlyCertificationIfDue(
    connectorId: string,
    id: string,
    at: Date,
    minAgeMs: { readonly passed: number; readonly failed: number },
  ): Promise<boolean> {
    const insertedCount = await database.tables.$executeRaw`
      insert into certification (id, connector_id, kind, at, passed, checks)
      select ${id}, ${connectorId}, 'NIGHTLY', ${at}, false, '[]'::jsonb
      where not exists (
        select 1 from certification where connector_id = ${connectorId} and (
          finished_at is null
          or passed and at > ${addMs(at, -minAgeMs.passed)}
          or not passed and at > ${addMs(at, -minAgeMs.failed)}))`
    return insertedCount === 1
  },

  /** The run that waits longest, of a partner of whom no other of the same kind is under way, for whoever asks first. */
  async claimCertification(
    kinds: readonly CertificationReport['kind'][],
    leaseMs: number,
  ): Promise<CertificationReport | null> {
    const [row] = await database.tables.$queryRaw<{ id: string }[]>`
      update certification set claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id = (
        select run.id from certification run join connector on connector.id = run.connector_id
        where run.finished_at is null and coalesce(run.claimed_until <= statement_timestamp(), true)
          and run.kind = any(${[...kinds]}) and not exists (
            select 1 from certification other join connector its on its.id = other.connector_id
            where other.finished_at is null and other.claimed_until > statement_timestamp() and other.kind = run.kind
              and its.client_id = connector.client_id)
        order by run.at for update of run skip locked limit 1)
      returning id`
    return row ? toReport(await database.tables.certification.findUniqueOrThrow({ where: { id: row.id } })) : null
  },

  async saveChecks(id: string, checks: readonly CertificationCheck[]): Promise<void> {
    await database.tables.certification.update({ where: { id }, data: { checks: checksToJson(checks) } })
  },

  async finishCertification(tx: Transaction, report: CertificationReport): Promise<void> {
    const { id, passed, checks, finishedAt, statement } = report
    await tablesIn(tx).certification.update({
      where: { id },
      data: { passed, checks: checksToJson(checks), finishedAt, statement },
    })
  },

  async certifications(connectorId: string, limit: number): Promise<CertificationReport[]> {
    const rows = await database.tables.certification.findMany({
      where: { connectorId },
      orderBy: [{ at: 'desc' }, { id: 'desc' }],
      take: limit,
    })
    return rows.map(toReport)
  },
})
/** The store of banks and their connectors. */
export type BankStore = ReturnType<typeof bankStore>
