import type { AlertAction, AlertSeverity, AlertType } from '../../kernel/alert-vocabulary.ts'
import type { Transaction } from '../../kernel/transaction.ts'
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

/** Alerts. */
export const alertStore = (database: Database) => ({
  async add(tx: Transaction, alerts: readonly Alert[], createdAt: Date): Promise<void> {
    await tablesIn(tx).alert.createMany({ data: alerts.map((alert) => ({ ...alert, createdAt })) })
  },

  async find(id: string): Promise<Alert | null> {
    const row = await database.tables.alert.findUnique({ where: { id }, select: alertFields })
    return row && toAlert(row)
  },

  /** The alert and the customer of its account; null if there is no such alert or it has no account. */
  async findWithCustomer(id: string): Promise<{ alert: Alert; customerId: string } | null> {
    const row = await database.tables.alert.findUnique({
      where: { id },
      select: { ...alertFields, account: { select: { customerId: true } } },
    })
    if (!row?.account) return null
    const { account, ...alert } = row
    return { alert: toAlert(alert), customerId: account.customerId }
  },

  /** The newest alerts of the accounts, each from its `since` on; newest first. */
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

/** The store of alerts. */
export type AlertStore = ReturnType<typeof alertStore>
