import { isStandardId, type Registration, type StandardId } from '../../connectors/index.ts'
import type { TimePosition, TimeSlice } from '../../kernel/pagination.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { sliceByTime } from '../../storage/time-slice.ts'
import {
  normalizeBankName,
  type Bank,
  type BankConflict,
  type Connector,
  type ConnectorFilter,
  type ConnectorStatus,
} from './model.ts'

interface ConnectorRow {
  id: string
  bankId: string
  clientId: string
  standard: string
  status: string
  registration: unknown
  profile: string | null
  profileRevision: string | null
  jwks: unknown
  clientCertificate: string | null
  clientIdAtBank: string | null
  acceptsNewConsents: boolean
}

/** The client ID from the bank's own registration response takes precedence over the one that the partner stated. */
const withClientIdAtBank = (registration: Registration, clientIdAtBank: string | null): Registration =>
  clientIdAtBank === null ? registration : { ...registration, clientId: clientIdAtBank }

const toConnector = (row: ConnectorRow): Connector => ({
  id: row.id,
  bankId: row.bankId,
  clientId: row.clientId,
  standard: standardOf(row.standard),
  status: row.status as ConnectorStatus,
  registration: withClientIdAtBank(row.registration as Registration, row.clientIdAtBank),
  profile: row.profile,
  profileRevision: row.profileRevision,
  jwks: row.jwks,
  clientCertificate: row.clientCertificate,
  acceptsNewConsents: row.acceptsNewConsents,
})

function standardOf(text: string): StandardId {
  if (!isStandardId(text)) throw new Error('a connector of a standard that this version does not speak')
  return text
}

/** Why a bank could not be added: its ID is taken or, if not, its name is too similar to another bank's. */
function conflictWith(
  existing: (Bank & { clientId: string }) | null,
  { name, country }: Bank,
  clientId: string,
): BankConflict | undefined {
  if (!existing) return 'name'
  return existing.clientId === clientId && existing.name === name && existing.country === country ? undefined : 'id'
}

const bankFields = { id: true, name: true, country: true } as const

/** Banks and connectors. The registration of a connector never changes. */
export const bankStore = (database: Database) => ({
  /** Adds the bank if it does not exist. Returns the conflict if the ID or a similar name belongs to another bank. */
  async addBank(tx: Transaction, bank: Bank, clientId: string): Promise<BankConflict | undefined> {
    const data = [{ ...bank, normalizedName: normalizeBankName(bank.name), clientId }]
    const { count } = await tablesIn(tx).bank.createMany({ data, skipDuplicates: true })
    return count === 1
      ? undefined
      : conflictWith(await tablesIn(tx).bank.findUnique({ where: { id: bank.id } }), bank, clientId)
  },

  /** The conflict that `addBank` would have now, if any. */
  async findBankConflict(bank: Bank, clientId: string): Promise<BankConflict | undefined> {
    const existing = await database.tables.bank.findUnique({ where: { id: bank.id } })
    const isFree =
      !existing && !(await database.tables.bank.findUnique({ where: { normalizedName: normalizeBankName(bank.name) } }))
    return isFree ? undefined : conflictWith(existing, bank, clientId)
  },

  async addConnector(tx: Transaction, connector: Connector & { sealedKey: string }): Promise<void> {
    const { registration, jwks, ...rest } = connector
    await tablesIn(tx).connector.create({
      data: {
        ...rest,
        registration: JSON.parse(JSON.stringify(registration)) as object,
        jwks: jwks as object,
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

  async connectors(where: { clientId?: string; bankId?: string; status?: ConnectorStatus }): Promise<Connector[]> {
    return (await database.tables.connector.findMany({ where, orderBy: { createdAt: 'asc' } })).map(toConnector)
  },

  /** The IDs of the connectors in one of these statuses. */
  async connectorIds(statuses: readonly ConnectorStatus[]): Promise<ReadonlySet<string>> {
    const rows = await database.tables.connector.findMany({
      where: { status: { in: [...statuses] } },
      select: { id: true },
    })
    return new Set(rows.map(({ id }) => id))
  },

  /** Claims the next poll of a bank. True for one of several concurrent callers; then false until the poll is due again. */
  async claimEventPoll(id: string, intervalMs: number): Promise<boolean> {
    const updatedCount = await database.tables.$executeRaw`
      update connector set events_polled_at = statement_timestamp() where id = ${id}
        and coalesce(events_polled_at <= statement_timestamp() - ${intervalMs}::int * interval '1 millisecond', true)`
    return updatedCount === 1
  },

  async bank(id: string): Promise<Bank | null> {
    return database.tables.bank.findUnique({ where: { id }, select: bankFields })
  },

  async banks(ids: readonly string[]): Promise<Bank[]> {
    return database.tables.bank.findMany({
      where: { id: { in: [...ids] } },
      select: bankFields,
    })
  },

  /** The banks with an active connector, by name; optionally only those that accept new consents. */
  async activeBanks(connector: { readonly acceptsNewConsents?: true } = {}): Promise<Bank[]> {
    return database.tables.bank.findMany({
      where: { connectors: { some: { status: 'ACTIVE', ...connector } } },
      orderBy: [{ name: 'asc' }, { id: 'asc' }],
      select: bankFields,
    })
  },

  /** The bank with this ID, if it has an active connector. */
  async activeBank(id: string): Promise<Bank | null> {
    return database.tables.bank.findFirst({
      where: { id, connectors: { some: { status: 'ACTIVE' } } },
      select: bankFields,
    })
  },

  /** The client that registered the bank. */
  async partnerOf(bankId: string): Promise<string | undefined> {
    return (await database.tables.bank.findUnique({ where: { id: bankId }, select: { clientId: true } }))?.clientId
  },

  /** The ID of each bank's newest connector that is active and accepts new consents, by bank ID. */
  async connectableConnectorIds(bankIds: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const rows = await database.tables.connector.findMany({
      where: { bankId: { in: [...bankIds] }, status: 'ACTIVE', acceptsNewConsents: true },
      orderBy: { createdAt: 'asc' },
      select: { id: true, bankId: true },
    })
    return new Map(rows.map(({ id, bankId }) => [bankId, id]))
  },

  /** The ID of each bank's newest active connector, by bank ID. */
  async activeConnectorIds(bankIds: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const rows = await database.tables.connector.findMany({
      where: { bankId: { in: [...bankIds] }, status: 'ACTIVE' },
      orderBy: { createdAt: 'asc' },
      select: { id: true, bankId: true },
    })
    return new Map(rows.map(({ id, bankId }) => [bankId, id]))
  },

  /** A slice of the connectors of one client, or of all clients. */
  async connectorSlice(
    clientId: string | undefined,
    { statuses, standards, bankIds }: ConnectorFilter,
    slice: TimeSlice,
  ): Promise<Connector[]> {
    const { where, ...order } = sliceByTime('createdAt', slice)
    const rows = await database.tables.connector.findMany({
      where: {
        ...where,
        ...(clientId !== undefined && { clientId }),
        ...(statuses && { status: { in: [...statuses] } }),
        ...(standards && { standard: { in: [...standards] } }),
        ...(bankIds && { bankId: { in: [...bankIds] } }),
      },
      ...order,
    })
    return rows.map(toConnector)
  },

  /** The position of the connector in the list of one client, or of all clients. */
  async connectorPosition(clientId: string | undefined, id: string): Promise<TimePosition | undefined> {
    const row = await database.tables.connector.findFirst({
      where: { id, ...(clientId !== undefined && { clientId }) },
      select: { createdAt: true },
    })
    return row ? { id, at: row.createdAt } : undefined
  },

  /** Changes the status if it is one of `from` and returns the previous one. Only one of several concurrent callers succeeds. */
  async transition(
    tx: Transaction,
    id: string,
    from: readonly ConnectorStatus[],
    to: ConnectorStatus,
  ): Promise<ConnectorStatus | undefined> {
    const [row] = await tablesIn(tx).$queryRaw<{ status: ConnectorStatus }[]>`
      update connector set status = ${to} from (select id, status from connector where id = ${id} for update) as before
      where connector.id = before.id and before.status = any(${[...from]}) returning before.status`
    return row?.status
  },

  /** Stores the client ID from the gateway's certificate. False if a connector that has left DRAFT has another one. */
  async setIdentifiedClientId(tx: Transaction, id: string, clientIdAtBank: string): Promise<boolean> {
    const where = { id, OR: [{ status: 'DRAFT' }, { clientIdAtBank }] }
    return (await tablesIn(tx).connector.updateMany({ where, data: { clientIdAtBank } })).count === 1
  },

  /** Stores the client ID that the bank assigned. False if the connector is not a draft. */
  async setClientIdAtBank(tx: Transaction, id: string, clientIdAtBank: string): Promise<boolean> {
    const where = { id, status: 'DRAFT' }
    return (await tablesIn(tx).connector.updateMany({ where, data: { clientIdAtBank } })).count === 1
  },

  /** Sets whether the bank accepts new consents. True if this is a change. */
  async setAcceptsNewConsents(tx: Transaction, id: string, acceptsNewConsents: boolean): Promise<boolean> {
    const where = { id, acceptsNewConsents: !acceptsNewConsents }
    return (await tablesIn(tx).connector.updateMany({ where, data: { acceptsNewConsents } })).count === 1
  },
})
/** The store of banks and their connectors. */
export type BankStore = ReturnType<typeof bankStore>
