import type { EventCounter } from '../../kernel/event-counter.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import type { Sql } from '../../storage/database.ts'
import { eventStore } from './event-store.ts'
import type { Alert } from './model.ts'
import { createPhrases } from './phrase.ts'
import { createPolling } from './polling.ts'
import { createIntake, type IntakeDependencies } from './intake.ts'
import { createLineAlerts } from './line-alerts.ts'
import { createPublishing } from './publishing.ts'
import { createReports } from './responses/reports.ts'
import { createResponding, type RespondingDependencies } from './responses/responding.ts'
import { createSending } from './responses/sending.ts'
import { responseStore } from './responses/store.ts'
import { createReceiver, type ReceiverDependencies } from './receive.ts'
import { createMarking, type ReadStateDependencies } from './read-state.ts'
import { readStateStore } from './read-state-store.ts'
import { createSharedAlerts, type SharedAlertsDependencies } from './shared-alerts.ts'
import { alertStore } from './store.ts'

/** Alerts that banks send about their customers' accounts. */
export type Alerts = ReturnType<typeof createAlerts>

/** The dependencies of alerts. */
export interface AlertsDependencies
  extends
    IntakeDependencies,
    ReceiverDependencies,
    ReadStateDependencies,
    RespondingDependencies,
    SharedAlertsDependencies {
  readonly world: IntakeDependencies['world']
  readonly consents: IntakeDependencies['consents']
  /** Counts rejected events, whether they were pushed or polled. */
  readonly rejectedEvents: EventCounter
}

/** Receives the events of banks, and opens alerts by grants. */
export function createAlerts(dependencies: AlertsDependencies) {
  const { database, world, banks, rejectedEvents } = dependencies
  const store = alertStore(database)
  const events = eventStore(database)
  const readStates = readStateStore(database)
  const responses = responseStore(database)
  const intake = createIntake(dependencies, { store, events, responses })
  const reports = createReports(dependencies, responses)
  const receive = createReceiver(dependencies, intake, reports)
  const shared = createSharedAlerts(dependencies, store, readStates, responses)

  return {
    /** Whether a forged event of this connector is expected, because a certification run requested it. */
    expectsForgedEvent: (connectorId: string): boolean => banks.expectsForgedEvent(connectorId),

    /** Whether events of this connector are accepted now. Reads the database only after a change. */
    acceptsEvents: (connectorId: string): boolean | Promise<boolean> => banks.acceptsEventsOf(connectorId),

    /**
     * Receives one event and verifies it by the connector's standard. Before this returns, one transaction stores the event's ID,
     * the alert, its outbox message and its ledger entry. A repeated event changes nothing. An alert about an account that
     * nobody shares is not stored. Throws `NOT_FOUND` or `EVENT_REJECTED`.
     */
    receive,

    publish: createPublishing({ banks, clock: world.clock }, intake),

    reportLineCrossed: createLineAlerts(dependencies, store),

    ...createPolling({ world, banks, rejectedEvents, receive }),

    /** Deletes the IDs of events that are too old to be accepted again. Returns their number. */
    deleteExpiredEvents: (): Promise<number> => events.deleteBefore(expiredBefore('bank_event', world.clock.now())),

    /** Applies reports that came while their alert was being stored: the handler of `alert-detail.viewed`. */
    applyDetailViews: reports.applyDetailViews,

    /** Deletes reports about alerts that can no longer be received. Returns their number. */
    deleteExpiredDetailViews: (): Promise<number> =>
      responses.deleteDetailViewsBefore(expiredBefore('alert_detail_view', world.clock.now())),

    /** Deletes alerts that no client can read any more, and that have no deliveries left. Returns their number. */
    deleteExpired: (): Promise<number> => store.deleteCreatedBefore(expiredBefore('alert', world.clock.now())),

    /** The alerts among these IDs, in no order. */
    findMany: (ids: readonly string[], sql: Sql = database): Promise<Alert[]> => store.find(sql, ids),

    ...shared,

    markRead: createMarking(dependencies, readStates, shared),

    phrases: createPhrases(dependencies),

    /** Stores a customer's answer to an alert, and sends it to the bank. */
    respond: createResponding(dependencies, responses, shared.findShared),
    /** Sends an answer to its bank: the handler of `alert-response.given`. */
    sendResponse: createSending(dependencies, responses),
  }
}
