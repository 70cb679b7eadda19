import type { AlertSubject } from '../../../connectors/index.ts'
import { addMs, MINUTE_MS } from '../../../kernel/clock.ts'
import { digest } from '../../../kernel/ids.ts'
import type { World } from '../../../kernel/world.ts'
import type { Database } from '../../../storage/database.ts'
import type { Signals } from '../../../storage/signals.ts'
import type { Consents } from '../../consents/index.ts'
import type { Outbox } from '../../outbox/index.ts'
import type { AlertOfEvent, ResponseStore } from './store.ts'

/** The dependencies of reports. */
export interface ReportsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock'>
  readonly consents: Consents
  readonly outbox: Outbox
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
   * only if the alert is about it and a single customer has it. If there is no alert yet, the report is stored and applied when the
   * alert is stored. Returns whether the report is about a known customer.
   */
  recordDetailViewed(bank: ReportingBank, eventId: string, viewer: AlertSubject | undefined): Promise<boolean>
  /** Applies the stored reports about the alerts of an event. */
  applyDetailViews(eventDigest: string): Promise<void>
}

/** The bank that reports, and through which connector. */
export interface ReportingBank {
  readonly bankId: string
  readonly connectorId: string
}

/** Longer than a transaction that stores alerts takes. */
const APPLY_AFTER_MS = MINUTE_MS

/** A customer whom a report can be about, by the ID that is stored: of the customer or the account. */
interface Candidate {
  readonly viewerId: string
  readonly customerId: string
}

/** The digest by which an event of a bank is recognized. */
export const eventDigestOf = (bankId: string, jti: string): string => digest(JSON.stringify([bankId, jti]))

/** Creates the reports. */
export function createReports(
  { database, world, consents, outbox, signals }: ReportsDependencies,
  store: ResponseStore,
): Reports {
  /** Whom a report can be about: the customers who are named, or all who have the account. */
  async function candidatesOf(
    { bankId, connectorId }: ReportingBank,
    viewer: AlertSubject,
  ): Promise<readonly Candidate[]> {
    if (viewer.kind === 'ACCOUNT') {
      const accounts = viewer.refs.map((ref) => ({ bankId, ref }))
      const matched = await consents.matchAccounts(database.intake, accounts)
      return matched.map(({ accountId, customerId }) => ({ viewerId: accountId, customerId }))
    }
    const persons = viewer.customerRefs.map((ref) => ({ connectorId, ref }))
    const matched = await consents.matchCustomers(database.intake, persons)
    return matched.map(({ customerId }) => ({ viewerId: customerId, customerId }))
  }

  /** Stores a report until its alert is stored. */
  async function storeForLater(bankId: string, eventDigest: string, viewerIds: readonly string[]): Promise<void> {
    const now = world.clock.now()
    await database.intake.transaction(async (tx) => {
      await store.addDetailViews(tx, eventDigest, viewerIds, now)
      // The alert can be in a transaction that has not committed yet and does not see the report.
      const dueAt = addMs(now, APPLY_AFTER_MS)
      await outbox.enqueueAll(tx, [{ topic: 'alert-detail.viewed', subjectId: eventDigest, groupId: bankId, dueAt }])
    })
  }

  async function markViewed(viewed: readonly AlertOfEvent[]): Promise<void> {
    const customerIds = [...new Set(viewed.map(({ customerId }) => customerId))]
    await database.transaction(async (tx) => {
      const alertIds = viewed.map(({ alertId }) => alertId)
      // A bank that repeats its report must not make clients read their alerts again.
      if (await store.markDetailViewed(tx, alertIds, world.clock.now()))
        await signals.publish(tx, { kind: 'ALERTS_CHANGED', customerIds })
    })
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
      const eventDigest = eventDigestOf(bank.bankId, eventId)
      const candidates = await candidatesOf(bank, viewer)
      const alerts = await store.alertsOf(eventDigest, bank.bankId)
      const viewerIds = new Set(candidates.map(({ viewerId }) => viewerId))
      const viewed = alerts.filter(
        ({ customerId, accountId }) => viewerIds.has(customerId) || (accountId !== null && viewerIds.has(accountId)),
      )
      // An account does not say which of its holders saw the detail.
      const holders = alerts.length > 0 ? viewed : candidates
      const isKnown = holders.length > 0 && (viewer.kind === 'CUSTOMER' || isOneCustomer(holders))
      if (!isKnown) return false
      await (alerts.length > 0 ? markViewed(viewed) : storeForLater(bank.bankId, eventDigest, [...viewerIds]))
      return true
    },

    async applyDetailViews(eventDigest) {
      const viewed = await store.findViewed(eventDigest)
      if (viewed.length > 0) await markViewed(viewed)
    },
  }
}

const isOneCustomer = (holders: readonly { readonly customerId: string }[]): boolean =>
  new Set(holders.map(({ customerId }) => customerId)).size === 1
