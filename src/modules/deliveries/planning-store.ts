import type { Sql } from '../../storage/database.ts'
import type { CustomerEventType, Priority, WebhookFormat, WebhookOrdering } from './model.ts'

/** The endpoint of a client that an event is sent to. */
export interface PlannedEndpoint {
  /** The place of the event in the list. */
  readonly index: number
  readonly webhookEndpointId: string
  readonly format: WebhookFormat
  readonly ordering: WebhookOrdering
  /** The delivery of the event to the endpoint, if there is one. */
  readonly deliveryId: string | null
  /** Whether that delivery has its message. */
  readonly hasBody: boolean
  /** The place of the event among those that the client received about the customer; null if it has none yet. */
  readonly sequence: number | null
}

/** A delivery to add. */
export interface NewDelivery {
  readonly id: string
  readonly eventType: CustomerEventType
  /** The alert that it is about. Null if it is about none. */
  readonly alertId: string | null
  readonly webhookEndpointId: string
  readonly consentId: string
  readonly customerId: string
  readonly sequence: number
  readonly priority: Priority
  readonly body: string
  readonly format: WebhookFormat
  readonly isInOrder: boolean
}

/** A client and a customer whom it knows. */
export interface ClientCustomer {
  readonly clientId: string
  readonly customerId: string
}

const ENDPOINTS_SQL = `
  select pair.index::int - 1 as index, endpoint.id as "webhookEndpointId", endpoint.format, endpoint.ordering,
    delivery.id as "deliveryId",
    delivery.body is not null as "hasBody",
    max(nullif(delivery.sequence, 0)) over (partition by pair.index) as sequence
  from unnest($1::text[], $2::text[]) with ordinality as pair (alert_id, client_id, index)
  join webhook_endpoint endpoint on endpoint.client_id = pair.client_id and endpoint.status = 'ACTIVE'
  left join delivery on delivery.alert_id = pair.alert_id and delivery.webhook_endpoint_id = endpoint.id
  order by pair.index, endpoint.created_at, endpoint.id`

// In the order of the keys, so that two transactions with the same customers wait for each other and do not deadlock.
const SEQUENCES_SQL = `
  insert into delivery_sequence as taken (client_id, customer_id, last_sequence)
  select client_id, customer_id, count from unnest($1::text[], $2::text[], $3::int[]) as wanted (client_id, customer_id, count)
  order by client_id, customer_id
  on conflict (client_id, customer_id) do update set last_sequence = taken.last_sequence + excluded.last_sequence
  returning client_id as "clientId", customer_id as "customerId", last_sequence as "lastSequence"`

const INSERT_SQL = `
  insert into delivery (id, event_type, alert_id, webhook_endpoint_id, consent_id, customer_id, sequence, priority, body, format,
    in_order, status, created_at, schedule_started_at, next_attempt_at)
  select id, event_type, alert_id, webhook_endpoint_id, consent_id, customer_id, sequence, priority, body, format, in_order,
    'PENDING', $12, $12, case when in_order then greatest($12, (
      select max(earlier.next_attempt_at) from delivery earlier where earlier.webhook_endpoint_id = planned.webhook_endpoint_id
        and earlier.customer_id = planned.customer_id and earlier.status = 'PENDING' and earlier.in_order)) else $12 end
  from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::int[], $8::text[], $9::text[], $10::text[],
    $11::bool[]) as planned (id, event_type, alert_id, webhook_endpoint_id, consent_id, customer_id, sequence, priority, body, format,
    in_order)
  on conflict (alert_id, webhook_endpoint_id) do update set body = excluded.body, format = excluded.format,
    sequence = excluded.sequence, in_order = excluded.in_order
  where delivery.body is null`

/** Reads and writes of planning, each for many events in one statement. */
export const planningStore = {
  /** The active endpoints of each client, for the event beside it. Only an alert can have deliveries already. */
  findEndpoints: (
    sql: Sql,
    pairs: readonly { readonly alertId: string | null; readonly clientId: string }[],
  ): Promise<PlannedEndpoint[]> =>
    sql.query('planned-endpoints', ENDPOINTS_SQL, [
      pairs.map(({ alertId }) => alertId),
      pairs.map(({ clientId }) => clientId),
    ]),

  /**
   * Takes `count` further sequence numbers for each client and customer, and returns the last one of each. Until the transaction
   * ends, others that need numbers for the same customer wait.
   */
  takeSequences: (
    sql: Sql,
    wanted: readonly (ClientCustomer & { readonly count: number })[],
  ): Promise<(ClientCustomer & { lastSequence: number })[]> =>
    sql.query('take-sequences', SEQUENCES_SQL, [
      wanted.map(({ clientId }) => clientId),
      wanted.map(({ customerId }) => customerId),
      wanted.map(({ count }) => count),
    ]),

  /** Adds the deliveries, due at `now`, or in order with the earlier one that they wait for. One that exists without its message gets it; any other that exists is left as it is. */
  async insert(sql: Sql, deliveries: readonly NewDelivery[], now: Date): Promise<void> {
    await sql.query('insert-deliveries', INSERT_SQL, [
      deliveries.map(({ id }) => id),
      deliveries.map(({ eventType }) => eventType),
      deliveries.map(({ alertId }) => alertId),
      deliveries.map(({ webhookEndpointId }) => webhookEndpointId),
      deliveries.map(({ consentId }) => consentId),
      deliveries.map(({ customerId }) => customerId),
      deliveries.map(({ sequence }) => sequence),
      deliveries.map(({ priority }) => priority),
      deliveries.map(({ body }) => body),
      deliveries.map(({ format }) => format),
      deliveries.map(({ isInOrder }) => isInOrder),
      now,
    ])
  },
}
