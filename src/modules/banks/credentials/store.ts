import type { Transaction } from '../../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../../storage/database.ts'
import type { ConnectorStatus } from '../model.ts'
import type { Credential, SealedCredential } from './model.ts'

const fields = {
  id: true,
  connectorId: true,
  kind: true,
  publicKey: true,
  certificateRequest: true,
  certificateChain: true,
  expiresAt: true,
  createdAt: true,
  activatedAt: true,
  retiredAt: true,
} as const

type Row = { [K in keyof typeof fields]: unknown }
const toCredential = (row: Row): Credential => row as unknown as Credential

/** The certificates, their keys and the secrets with which the gateway authenticates to banks. Keys and secrets are sealed. */
export const credentialStore = (database: Database) => ({
  async add(tx: Transaction, { publicKey, ...credential }: SealedCredential): Promise<void> {
    await tablesIn(tx).connectorCredential.create({
      data: { ...credential, ...(publicKey && { publicKey: JSON.parse(JSON.stringify(publicKey)) as object }) },
    })
  },

  /** Stores the issued certificate of a requested one. False if another request has done so, or it is retired. */
  async activate(
    tx: Transaction,
    id: string,
    certificate: { certificateChain: string; expiresAt: Date; activatedAt: Date; publicKey: object; sealed: string },
  ): Promise<boolean> {
    const { count } = await tablesIn(tx).connectorCredential.updateMany({
      where: { id, activatedAt: null, retiredAt: null },
      data: certificate,
    })
    return count === 1
  },

  /** False if it is already retired. */
  async retire(tx: Transaction, id: string, retiredAt: Date): Promise<boolean> {
    const { count } = await tablesIn(tx).connectorCredential.updateMany({
      where: { id, retiredAt: null },
      data: { retiredAt },
    })
    return count === 1
  },

  /** The status of a connector. Neither it nor the connector's credentials change until `tx` ends. */
  async lockConnector(tx: Transaction, connectorId: string): Promise<ConnectorStatus> {
    const [row] = await tablesIn(tx).$queryRaw<{ status: ConnectorStatus }[]>`
      select status from connector where id = ${connectorId} for no key update`
    return row!.status
  },

  async find(id: string): Promise<Credential | null> {
    const row = await database.tables.connectorCredential.findUnique({ where: { id }, select: fields })
    return row && toCredential(row)
  },

  /** All credentials of these connectors, oldest first. */
  async ofConnectors(connectorIds: readonly string[], tx?: Transaction): Promise<Credential[]> {
    const rows = await (tx ? tablesIn(tx) : database.tables).connectorCredential.findMany({
      where: { connectorId: { in: [...connectorIds] } },
      orderBy: [{ createdAt: 'asc' }, { id: 'asc' }],
      select: fields,
    })
    return rows.map(toCredential)
  },

  async sealed(id: string): Promise<string> {
    const row = await database.tables.connectorCredential.findUniqueOrThrow({ where: { id }, select: { sealed: true } })
    return row.sealed
  },
})
/** The store of credentials. */
export type CredentialStore = ReturnType<typeof credentialStore>
