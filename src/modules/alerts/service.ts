import { subtractMs, DAY_MS } from '../../kernel/clock.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import { eventStore } from './event-store.ts'
import type { Alert } from './model.ts'
import { createPolling } from './polling.ts'
import { createReceiver, type ReceiverDependencies } from './receive.ts'
import { createSharedAlerts, type SharedAlertsDependencies } from './shared-alerts.ts'
import { alertStore } from './store.ts'

/** Alerts that banks send about their customers' accounts. */
export type Alerts = ReturnType<typeof createAlerts>

/** The dependencies of alerts. */
export interface AlertsDependencies extends ReceiverDependencies, SharedAlertsDependencies {
  readonly world: ReceiverDependencies['world']
  /** Counts rejected events, whether they were pushed or polled. */
  readonly rejectedEvents: EventCounter
}

/** Longer by a day than an event can be old when it is accepted. */
const EVENT_RETENTION_MS = 8 * DAY_MS

/** Receives the events of banks, and opens alerts by grants. */
export function createAlerts(dependencies: AlertsDependencies) {
  const { database, world, banks, rejectedEvents } = dependencies
  const store = alertStore(database)
  const events = eventStore(database)
  const receive = createReceiver(dependencies, store, events)

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

    ...createPolling({ world, banks, rejectedEvents, receive }),

    /** Deletes the IDs of events that are too old to be accepted again. Returns their number. */
    deleteExpiredEvents: (): Promise<number> => events.deleteBefore(subtractMs(world.clock.now(), EVENT_RETENTION_MS)),

    find: (id: string): Promise<Alert | null> => store.find(id),
    /** The alert and the customer of its account, the only one who may see it; null if it has no account. */
    findWithCustomer: (id: string): Promise<{ alert: Alert; customerId: string } | null> => store.findWithCustomer(id),

    ...createSharedAlerts(dependencies, store),
  }
}
