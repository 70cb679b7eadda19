import { newId } from '../../kernel/ids.ts'
import type { Signal } from '../../kernel/signal.ts'
import type { World } from '../../kernel/world.ts'
import type { SqlTransaction } from '../../storage/database.ts'
import type { Grant } from '../consents/index.ts'
import { buildBody, type WebhookMessage } from './message.ts'
import type { CustomerEventType, Priority } from './model.ts'
import { planningStore, type NewDelivery, type PlannedEndpoint } from './planning-store.ts'
import type { EventSigner } from './security-event.ts'

/** An event for one client about one customer. */
export interface ClientEvent {
  readonly type: CustomerEventType
  /** The alert that it is about. Null if it is about none. */
  readonly alertId: string | null
  /** The grant under which it is planned. */
  readonly grant: Grant
  readonly priority: Priority
  /** The data of a message that is created at `timestamp`. Not called if the client has no endpoint that lacks the message. */
  buildData(timestamp: Date): WebhookMessage['data']
}

/** Events that are planned together. */
export interface ClientEvents {
  readonly events: readonly ClientEvent[]
  /** What is published when their deliveries are committed. */
  readonly signals: readonly Signal[]
}

/**
 * Adds the deliveries of the events, one to each active endpoint of the client. The sequence numbers about a customer follow the order
 * of the events. Planning the same alert again adds nothing.
 */
export async function planDeliveries(
  { world, eventSigner }: { readonly world: World; readonly eventSigner: EventSigner },
  tx: SqlTransaction,
  events: readonly ClientEvent[],
): Promise<void> {
  const now = world.clock.now()
  const endpoints = await planningStore.findEndpoints(
    tx,
    events.map(({ alertId, grant: { clientId } }) => ({ alertId, clientId })),
  )
  const open = endpoints.filter(({ hasBody }) => !hasBody)
  const sequences = await assignSequences(tx, events, open)
  const deliveries = open.map(({ index, webhookEndpointId, format, ordering, deliveryId }): NewDelivery => {
    const { type, alertId, grant, priority, buildData } = events[index]!
    const { clientId, customerId, consentId } = grant
    const sequence = sequences.get(index)!
    const id = deliveryId ?? newId('dlvr', world.randomness)
    const message: WebhookMessage = { type, timestamp: now, sequence, data: buildData(now) }
    return {
      id,
      eventType: type,
      alertId,
      webhookEndpointId,
      consentId,
      customerId,
      sequence,
      priority,
      body: buildBody(message, { deliveryId: id, clientId, format }, eventSigner),
      format,
      isInOrder: ordering === 'PER_CUSTOMER',
    }
  })
  if (deliveries.length > 0) await planningStore.insert(tx, deliveries, now)
}

/** The sequence number of each event that is sent anywhere: the one that it has already, or the next. */
async function assignSequences(
  tx: SqlTransaction,
  events: readonly ClientEvent[],
  endpoints: readonly PlannedEndpoint[],
): Promise<ReadonlyMap<number, number>> {
  const sequences = new Map<number, number>()
  for (const { index, sequence } of endpoints) if (sequence !== null) sequences.set(index, sequence)
  const missing = [...new Set(endpoints.map(({ index }) => index))].filter((index) => !sequences.has(index))
  const indexesByKey = Map.groupBy(missing, (index) => {
    const { clientId, customerId } = events[index]!.grant
    return `${clientId} ${customerId}`
  })
  if (indexesByKey.size === 0) return sequences
  const wanted = [...indexesByKey.values()].map((indexes) => {
    const { clientId, customerId } = events[indexes[0]!]!.grant
    return { clientId, customerId, count: indexes.length }
  })
  for (const { clientId, customerId, lastSequence } of await planningStore.takeSequences(tx, wanted)) {
    const indexes = indexesByKey.get(`${clientId} ${customerId}`)!
    indexes.forEach((index, place) => sequences.set(index, lastSequence - indexes.length + 1 + place))
  }
  return sequences
}
