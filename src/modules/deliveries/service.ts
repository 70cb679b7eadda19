import { DAY_MS, subtractMs } from '../../kernel/clock.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import { timeRangeFaults } from '../../kernel/time-range.ts'
import type { World } from '../../kernel/world.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Clients } from '../clients/index.ts'
import type { Ledger } from '../ledger/index.ts'
import { alertEvents, type AlertEventsDependencies } from './alert-events.ts'
import { attemptStore } from './attempt-store.ts'
import { createAttempts, type AttemptsDependencies } from './attempts.ts'
import { claimStore } from './claim-store.ts'
import { consentExpiringEvents } from './consent-events.ts'
import { createEndpointHealth } from './endpoint-health.ts'
import { createEndpointLimits } from './endpoint-limits.ts'
import { REPLAY_DAYS, type Delivery, type DeliveryFilter } from './model.ts'
import { createPlanning, type PlanningDependencies } from './planning.ts'
import { createDeliveryQueue } from './queue.ts'
import { createReplay } from './replay.ts'
import { createEventSigner, type EventSigningKey } from './security-event.ts'
import { createSettlement } from './settlement.ts'
import { deliveryStore } from './store.ts'
import { createTestEvents } from './test-events.ts'
import { webhookEndpointStore } from './webhook-endpoint-store.ts'
import { createWebhookEndpoints } from './webhook-endpoints.ts'
import { webhookSecretStore } from './webhook-secret-store.ts'
import { createWebhookSecrets } from './webhook-secrets.ts'

/** Webhooks: the deliveries of events to the endpoints of clients. */
export type Deliveries = ReturnType<typeof createDeliveries>

/** The dependencies of deliveries. */
export interface DeliveriesDependencies
  extends AttemptsDependencies, AlertEventsDependencies, Omit<PlanningDependencies, 'eventSigner'> {
  readonly world: World
  /** The origin of the gateway, which issues events. */
  readonly issuer: string
  readonly eventKey: EventSigningKey
  readonly ledger: Ledger
  readonly clients: Clients
  readonly idempotency: Idempotency
}

const MAX_COUNTED = 1_000

/** Creates the service. It attempts nothing until `startDue`. */
export function createDeliveries(dependencies: DeliveriesDependencies) {
  const { database, world, consents } = dependencies
  const eventSigner = createEventSigner(dependencies.issuer, dependencies.eventKey)
  const store = deliveryStore(database)
  const claims = claimStore(database)
  const attemptRows = attemptStore(database)
  const endpoints = webhookEndpointStore(database)
  const limits = createEndpointLimits(world.clock, world.randomness)
  const attempts = createAttempts(
    dependencies,
    claims,
    createSettlement(dependencies, createEndpointHealth(dependencies)),
    limits,
  )

  const secrets = createWebhookSecrets(dependencies, webhookSecretStore(database), endpoints)

  return {
    ...createWebhookEndpoints(dependencies, endpoints, secrets, (id) => limits.reset(id)),
    rotateSecret: secrets.rotate,
    deleteEndedSecrets: secrets.deleteEnded,
    /** Deletes expired deliveries. Returns their number. */
    deleteExpired: (): Promise<number> => store.deleteCreatedBefore(expiredBefore('delivery', world.clock.now())),
    /** Deletes expired attempts. Returns their number. */
    deleteExpiredAttempts: (): Promise<number> =>
      attemptRows.deleteBefore(expiredBefore('delivery_attempt', world.clock.now())),

    /** The client's delivery with this ID, or null. */
    findDelivery: (clientId: string, id: string): Promise<Delivery | null> => store.find(clientId, id),
    /** A page of a client's deliveries, newest first. Throws `INVALID_INPUT` with every fault. */
    listForClient: (clientId: string, filter: DeliveryFilter, page: PageArguments): Promise<Connection<Delivery>> =>
      connectionFromStore<Delivery, Delivery>(page, {
        idOf: ({ id }) => id,
        findCursor: (cursor) => store.find(clientId, cursor),
        read: (slice) => store.listForClient(clientId, filter, slice),
        otherFaults: timeRangeFaults(filter, ['filter', 'created']),
      }),
    /** The newest 50 attempts of each delivery, by number. */
    findAttempts: (deliveryIds: readonly string[]) => attemptRows.list(deliveryIds),

    sendTestEvent: createTestEvents(dependencies, eventSigner, store, endpoints),
    /** The number of the client's FAILED deliveries of the last 30 days. 1,000 means 1,000 or more. */
    countFailed: (clientId: string): Promise<number> =>
      store.countFailed(clientId, subtractMs(world.clock.now(), REPLAY_DAYS * DAY_MS), MAX_COUNTED),

    replay: createReplay(dependencies, store, endpoints),

    planDue: createPlanning({ ...dependencies, eventSigner }, [
      alertEvents(dependencies, 'alert.urgent'),
      alertEvents(dependencies, 'alert.received'),
      consentExpiringEvents(dependencies),
    ]),

    ...createDeliveryQueue({ database, world, consents, claims, attempts, limits }),
    markStopping: attempts.markStopping,

    /** Drops the pending deliveries to an endpoint, as long as it is disabled. */
    dropForEndpoint: (webhookEndpointId: string): Promise<void> =>
      store.dropForEndpoint(webhookEndpointId, world.clock.now()),

    /**
     * Drops the pending deliveries of a consent that has ended. Those of alerts that another active consent of the same client
     * covers move to that consent instead. Returns the number of dropped deliveries.
     */
    async dropForConsent(consentId: string): Promise<number> {
      const { clientId, subjects } = await store.findPending(consentId)
      const grants = await consents.findGrantsForAlerts(database, subjects)
      for (const [index, subject] of subjects.entries())
        for (const grant of grants[index]!)
          if (grant.clientId === clientId && grant.consentId !== consentId)
            await store.moveToConsent(consentId, subject, grant)
      return store.dropForConsent(consentId, world.clock.now())
    },
  }
}
