import type { AlertSubject } from '../../../connectors/index.ts'
import { digest } from '../../../kernel/ids.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Signals } from '../../../storage/signals.ts'
import type { Consents } from '../../consents/index.ts'
import type { ResponseStore } from './store.ts'

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
   * Records that a customer has seen the detail of the alert of this event in the bank's own app. The subject must name the person
   * if several customers share the account. Returns whether the alert and the customer are known.
   */
  recordDetailViewed(bank: ReportingBank, eventId: string, subject: AlertSubject | undefined): Promise<boolean>
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
  /** The customers whom the subject names. Undefined if it is an account, which does not say who of its holders saw the detail. */
  async function customersNamed({ connectorId }: ReportingBank, subject: AlertSubject | undefined) {
    if (subject?.kind !== 'CUSTOMER') return undefined
    const refs = subject.customerRefs.map((ref) => ({ connectorId, ref }))
    return (await consents.matchCustomers(database.intake, refs)).map(({ customerId }) => customerId)
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

    async recordDetailViewed(bank, eventId, subject) {
      const [alerts, named] = await Promise.all([
        store.customersOf(eventDigestOf(bank.bankId, eventId), bank.bankId),
        customersNamed(bank, subject),
      ])
      const viewed = named ? alerts.filter(({ customerId }) => named.includes(customerId)) : alerts
      const customerIds = [...new Set(viewed.map(({ customerId }) => customerId))]
      if (customerIds.length === 0 || (!named && customerIds.length > 1)) return false
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
