import type { AlertSubject } from '../../../connectors/index.ts'
import { digest } from '../../../kernel/ids.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Signals } from '../../../storage/signals.ts'
import type { Consents } from '../../consents/index.ts'
import type { AlertOfEvent, ResponseStore } from './store.ts'

/** The dependencies of reports. */
export interface ReportsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock'>
  readonly consents: Consents
  readonly signals: Signals
}

/** Records what a bank reports about its alerts and their answers. Repeating a report changes nothing. */
export interface Reports {
  /**
   * Records that the bank has acted on an answer, or will not. Returns whether the bank got such an answer and had not reported it
   * before.
   */
  recordProcessed(bankId: string, responseId: string, isConfirmed: boolean): Promise<boolean>
  /**
   * Records that a customer has seen the detail of the alert of this event in the bank's own app. An account is enough as the viewer
   * only if the alert is about it and reached a single customer. Returns whether the alert and the customer are known.
   */
  recordDetailViewed(bank: ReportingBank, eventId: string, viewer: AlertSubject | undefined): Promise<boolean>
}

/** The bank that reports, and through which connector. */
export interface ReportingBank {
  readonly bankId: string
  readonly connectorId: string
}

/** The digest by which an event of a bank is recognized. */
export const eventDigestOf = (bankId: string, jti: string): string => digest(JSON.stringify([bankId, jti]))

/** Creates the reports. */
export function createReports(
  { database, world, consents, signals }: ReportsDependencies,
  store: ResponseStore,
): Reports {
  /** Of the alerts of an event, those whose customer is the viewer. */
  async function alertsOfViewer(
    { bankId, connectorId }: ReportingBank,
    alerts: readonly AlertOfEvent[],
    viewer: AlertSubject,
  ): Promise<readonly AlertOfEvent[]> {
    if (viewer.kind === 'CUSTOMER') {
      const refs = viewer.customerRefs.map((ref) => ({ connectorId, ref }))
      const matched = await consents.matchCustomers(database.intake, refs)
      return alerts.filter((alert) => matched.some(({ customerId }) => customerId === alert.customerId))
    }
    const refs = viewer.refs.map((ref) => ({ bankId, ref }))
    const matched = await consents.matchAccounts(database.intake, refs)
    const ofAccount = alerts.filter((alert) => matched.some(({ accountId }) => accountId === alert.accountId))
    // The account does not say which of its holders saw the detail.
    return new Set(ofAccount.map(({ customerId }) => customerId)).size === 1 ? ofAccount : []
  }

  return {
    recordProcessed: (bankId, responseId, isConfirmed) =>
      database.transaction(async (tx) => {
        const status = isConfirmed ? 'CONFIRMED' : 'FAILED'
        const customerId = await store.settle(tx, responseId, bankId, status, world.clock.now())
        if (customerId === undefined) return false
        await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds: [customerId] })
        return true
      }),

    async recordDetailViewed(bank, eventId, viewer) {
      if (!viewer) return false
      const alerts = await store.alertsOf(eventDigestOf(bank.bankId, eventId), bank.bankId)
      const viewed = await alertsOfViewer(bank, alerts, viewer)
      if (viewed.length === 0) return false
      const customerIds = [...new Set(viewed.map(({ customerId }) => customerId))]
      await database.transaction(async (tx) => {
        const alertIds = viewed.map(({ alertId }) => alertId)
        // A bank that repeats its report must not make clients read their alerts again.
        if (await store.markDetailViewed(tx, alertIds, world.clock.now()))
          await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds })
      })
      return true
    },
  }
}
