import type { AlertAsk, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batches.ts'
import { within, type Database } from '../../storage/database.ts'
import type { Alert } from './model.ts'

interface AlertRow {
  id: string
  accountId: string
  type: string
  severity: string
  ask: string
  occurredAt: Date
}

const fields = { id: true, accountId: true, type: true, severity: true, ask: true, occurredAt: true } as const
const toAlert = (row: AlertRow): Alert => ({
  ...row,
  type: row.type as AlertType,
  severity: row.severity as AlertSeverity,
  ask: row.ask as AlertAsk,
})

/** Alerts and the events that were seen. */
export const alertStore = (database: Database) => ({
  /** True for the first of any number of events with this issuer and id. */
  async remember(tx: Transaction, issuer: string, jtiDigest: string, receivedAt: Date): Promise<boolean> {
    const data = [{ issuer, jtiDigest, receivedAt }]
    return (await within(tx).bankEvent.createMany({ data, skipDuplicates: true })).count === 1
  },

  async forgetEvents(before: Date): Promise<number> {
    const where = 'received_at < $1'
    return deleteInBatches(database, { table: 'bank_event', where, orderBy: 'received_at', values: [before] })
  },

  async add(tx: Transaction, alerts: readonly Alert[], createdAt: Date): Promise<void> {
    await within(tx).alert.createMany({ data: alerts.map((alert) => ({ ...alert, createdAt })) })
  },

  async find(id: string): Promise<Alert | null> {
    const row = await database.tables.alert.findUnique({ where: { id }, select: fields })
    return row && toAlert(row)
  },

  async withCustomer(id: string): Promise<{ alert: Alert; customerId: string } | null> {
    const row = await database.tables.alert.findUnique({
      where: { id },
      select: { ...fields, account: { select: { customerId: true } } },
    })
    if (!row) return null
    const { account, ...alert } = row
    return { alert: toAlert(alert), customerId: account.customerId }
  },

  /** The newest alerts of any of the accounts, each since its own moment. */
  async newest(opened: readonly { accountId: string; since: Date }[], limit: number): Promise<Alert[]> {
    if (opened.length === 0) return []
    const rows = await database.tables.alert.findMany({
      where: { OR: opened.map(({ accountId, since }) => ({ accountId, createdAt: { gte: since } })) },
      orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
      take: limit,
      select: fields,
    })
    return rows.map(toAlert)
  },
})
