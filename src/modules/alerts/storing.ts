import type { SqlTransaction } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { Alert } from './model.ts'
import type { AlertStore } from './store.ts'

/** The dependencies of `storeAlerts`. */
export interface StoringDependencies {
  readonly outbox: Outbox
  readonly ledger: Ledger
  readonly signals: Signals
}

/** Customers that one signal names: a notification of PostgreSQL has at most 8,000 bytes. */
const CUSTOMERS_PER_SIGNAL = 100

/** Stores alerts in a transaction, each with its ledger entry and with the outbox message that is due when it is shown. */
export async function storeAlerts(
  { outbox, ledger, signals }: StoringDependencies,
  store: AlertStore,
  tx: SqlTransaction,
  alerts: readonly Alert[],
  now: Date,
): Promise<void> {
  if (alerts.length === 0) return
  await store.add(tx, alerts)
  await outbox.enqueueAll(
    tx,
    alerts.map(({ id, severity, shownAt }) => ({
      topic: severity === 'URGENT' ? 'alert.urgent' : 'alert.received',
      subjectId: id,
      dueAt: shownAt,
    })),
  )
  await ledger.recordEntries(
    tx,
    alerts.map(({ id, accountId }) => ({
      action: 'ALERT_RECEIVED',
      accountIds: accountId === null ? [] : [accountId],
      subjectId: id,
    })),
  )
  await publishChanges(signals, tx, alerts, now)
}

/** Lists of alerts are stale at once; alerts that are shown later are announced when they are planned. */
async function publishChanges(
  signals: Signals,
  tx: SqlTransaction,
  alerts: readonly Alert[],
  now: Date,
): Promise<void> {
  const customerIds = [...new Set(alerts.filter(({ shownAt }) => shownAt <= now).map(({ customerId }) => customerId))]
  if (customerIds.length === 0) return
  const parts = Array.from({ length: Math.ceil(customerIds.length / CUSTOMERS_PER_SIGNAL) }, (_none, index) =>
    customerIds.slice(index * CUSTOMERS_PER_SIGNAL, (index + 1) * CUSTOMERS_PER_SIGNAL),
  )
  await signals.publishAll(
    tx,
    parts.map((part) => ({ kind: 'ALERTS_CHANGED', customerIds: part })),
  )
}
