import { newId } from '../../kernel/ids.ts'
import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { timeRangeFaults } from '../../kernel/time-range.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { AccountAccess, Grant } from '../consents/index.ts'
import { attemptStore } from './attempt-store.ts'
import { createAttempts, type AttemptsDependencies } from './attempts.ts'
import { claimStore } from './claim-store.ts'
import type { Delivery, DeliveryFilter } from './model.ts'
import { createDeliveryQueue } from './queue.ts'
import { createReplay } from './replay.ts'
import { deliveryStore } from './store.ts'
import { webhookEndpointStore } from './webhook-endpoint-store.ts'
import { createWebhookEndpoints } from './webhook-endpoints.ts'

/** Webhooks: the deliveries of alerts to the endpoints of clients. */
export type Deliveries = ReturnType<typeof createDeliveries>

/** The dependencies of deliveries. */
export interface DeliveriesDependencies extends AttemptsDependencies {
  readonly idempotency: Idempotency
}

/** Creates the service. It attempts nothing until `startDue`. */
export function createDeliveries(dependencies: DeliveriesDependencies) {
  const { database, world, alerts, consents } = dependencies
  const store = deliveryStore(database)
  const claims = claimStore(database)
  const attemptRows = attemptStore(database)
  const endpoints = webhookEndpointStore(database)
  const attempts = createAttempts(dependencies, { claims, attempts: attemptRows, endpoints })

  return {
    ...createWebhookEndpoints(dependencies, endpoints),

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

    replay: createReplay(dependencies, store, endpoints),

    /**
     * Schedules one delivery to each active endpoint of every client that has an active consent for alerts of the alert's account,
     * however many such consents it has. Scheduling the same alert again adds nothing.
     */
    async scheduleForAlert(alertId: string): Promise<void> {
      const alert = await alerts.find(alertId)
      if (!alert?.accountId) return
      const now = world.clock.now()
      const grantByClient = longestGrantByClient(await consents.findAccess([alert.accountId], 'alerts:read'))
      const active = await endpoints.list({ clientId: { in: [...grantByClient.keys()] }, status: 'ACTIVE' })
      await store.insertMissing(
        active.map((endpoint) => ({
          id: newId('dlvr', world.randomness),
          alertId,
          webhookEndpointId: endpoint.id,
          consentId: grantByClient.get(endpoint.clientId)!.consentId,
          createdAt: now,
          scheduleStartedAt: now,
          nextAttemptAt: now,
        })),
      )
    },

    ...createDeliveryQueue(claims, attempts, world.clock),
    markStopping: attempts.markStopping,

    /**
     * Drops the pending deliveries of a consent that has ended. Those that another active consent of the same client covers move
     * to that consent instead. Returns the number of dropped deliveries.
     */
    async dropForConsent(consentId: string): Promise<number> {
      const pending = await store.findPending(consentId)
      if (!pending) return 0
      const accesses = await consents.findAccess(pending.accountIds, 'alerts:read')
      for (const access of accesses)
        if (access.grant.clientId === pending.clientId && access.grant.consentId !== consentId)
          await store.moveToConsent(consentId, access)
      return store.dropForConsent(consentId, world.clock.now())
    },
  }
}

/** The grant of each client that expires last. */
function longestGrantByClient(accesses: readonly AccountAccess[]): ReadonlyMap<string, Grant> {
  const longest = new Map<string, Grant>()
  for (const { grant } of accesses) {
    const current = longest.get(grant.clientId)
    if (!current || current.expiresAt < grant.expiresAt) longest.set(grant.clientId, grant)
  }
  return longest
}
