import type { AlertAction, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Alert } from './model.ts'

interface AlertRow {
  id: string
  accountId: string | null
  type: string
  severity: string
  requestedAction: string
  occurredAt: Date
}

const alertFields = {
  id: true,
  accountId: true,
  type: true,
  severity: true,
  requestedAction: true,
  occurredAt: true,
} as const
const toAlert = (row: AlertRow): Alert => ({
  ...row,
  type: row.type as AlertType,
  severity: row.severity as AlertSeverity,
  requestedAction: row.requestedAction as AlertAction,
})

/** Alerts and the events that were seen. */
export const alertStore = (database: Database) => ({
  /** True for the first of any number of events with this issuer and id. */
  async insertEventIfNew(tx: Transaction, issuer: string, jtiDigest: string, receivedAt: Date): Promise<boolean> {
    const data = [{ issuer, jtiDigest, receivedAt }]
    return (await tablesIn(tx).bankEvent.createMany({ data, skipDuplicates: true })).count === 1
  },

  async deleteEventsBefore(before: Date): Promise<number> {
    const where = 'received_at < $1'
    return deleteInBatches(database, { table: 'bank_event', where, orderBy: 'received_at', values: [before] })
  },

  async add(tx: Transaction, alerts: readonly Alert[], createdAt: Date): Promise<void> {
    await tablesIn(tx).alert.createMany({ data: alerts.map((alert) => ({ ...alert, createdAt })) })
  },

  async find(id: string): Promise<Alert | null> {
    const row = await database.tables.alert.findUnique({ where: { id }, select: alertFields })
    return row && toAlert(row)
  },

  async findWithCustomer(id: string): Promise<{ alert: Alert; customerId: string } | null> {
    const row = await database.tables.alert.findUnique({
      where: { id },
      select: { ...alertFields, account: { select: { customerId: true } } },
    })
    if (!row?.account) return null
    const { account, ...alert } = row
    return { alert: toAlert(alert), customerId: account.customerId }
  },

  /** The newest alerts of any of the accounts, each since its own moment. */
  async findNewest(accounts: readonly { accountId: string; since: Date }[], limit: number): Promise<Alert[]> {
    if (accounts.length === 0) return []
    const rows = await database.tables.alert.findMany({
      where: { OR: accounts.map(({ accountId, since }) => ({ accountId, createdAt: { gte: since } })) },
      orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
      take: limit,
      select: alertFields,
    })
    return rows.map(toAlert)
  },
})
