import type { Database } from '../../storage/database.ts'
import { toDelivery, type DeliveryRow } from './delivery-row.ts'
import { CONSENT_EVENT_TYPES, type ClaimedDelivery, type DeliverySubject, type WebhookFormat } from './model.ts'

/** The attempts of one endpoint in this process. */
export interface EndpointLoad {
  readonly inFlight: number
  /** The attempts that may be in flight. */
  readonly limit: number
}

/** How many deliveries one call may claim. Attempts in flight count towards the limits of their client and endpoint. */
export interface ClaimLimits {
  /** The attempts that this process can start now. */
  readonly freeSlots: number
  readonly perClient: number
  /** The limit of an endpoint that is not in `loads`. */
  readonly perEndpoint: number
  /** The last `reserved` slots are for clients with at most `reservedPerClient` attempts. */
  readonly reserved: number
  readonly reservedPerClient: number
  readonly loads: ReadonlyMap<string, EndpointLoad>
}

interface ClaimedRow extends DeliveryRow {
  claimed_until: Date
  schedule_started_at: Date
  customer_id: string | null
  bank_id: string | null
  account_id: string | null
  alert_client_id: string | null
  alert_created_at: Date | null
  body: string
  sequence: number
  in_order: boolean
  format: WebhookFormat
  client_id: string
  url: string
  is_active: boolean
  failing_since: Date | null
  last_success_at: Date | null
  sealed_keys: string[]
}

function toSubject(row: ClaimedRow): DeliverySubject | null {
  const { event_type, consent_id: consentId, customer_id: customerId, bank_id: bankId } = row
  if (customerId === null) return null
  if (CONSENT_EVENT_TYPES.includes(event_type))
    return consentId === null ? null : { kind: 'CONSENT', consentId, customerId }
  if (bankId === null || row.alert_created_at === null) return null
  return {
    kind: 'ALERT',
    bankId,
    customerId,
    accountId: row.account_id,
    clientId: row.alert_client_id,
    createdAt: row.alert_created_at,
  }
}

/**
 * The due deliveries of one endpoint and priority, by the index that contains pending deliveries only. One that is sent in order is
 * left while an earlier one is pending, claimed or not; the settlement postpones those that wait, so that few are due and left.
 */
const dueOfPriority = (priority: string): string => `
  (select id, priority, next_attempt_at from delivery
   where webhook_endpoint_id = endpoint.id and priority = '${priority}' and status = 'PENDING' and next_attempt_at <= $1
     and body is not null and coalesce(claimed_until <= statement_timestamp(), true)
     and not (in_order and exists (
       select from delivery earlier where earlier.webhook_endpoint_id = endpoint.id and earlier.customer_id = delivery.customer_id
         and earlier.sequence < delivery.sequence and earlier.status = 'PENDING' and earlier.in_order))
   order by next_attempt_at limit greatest(0, coalesce(load.max_count, $8) - coalesce(load.count, 0)))`

/** One due test event of each endpoint. It needs no room at the endpoint, so that it also reaches one whose circuit breaker is open. */
const DUE_TESTS = `
  select distinct on (webhook_endpoint_id) id, priority, next_attempt_at, webhook_endpoint_id from delivery
  where priority = 'TEST' and status = 'PENDING' and next_attempt_at <= $1 and coalesce(claimed_until <= statement_timestamp(), true)
  order by webhook_endpoint_id, next_attempt_at`

// `is true` hides a condition from the indexes of pending deliveries: they are many, and the chosen ones are found by their IDs.
const CLAIM_SQL = `
  with load as (
    select * from unnest($2::text[], $3::int[], $4::int[]) as load (webhook_endpoint_id, count, max_count)
  ), client_load as (
    select client_id, sum(count) as count from load join webhook_endpoint on id = webhook_endpoint_id group by client_id
  ), due as (
    select due.id, due.priority, due.next_attempt_at, endpoint.client_id, coalesce(load.count, 0)
      + row_number() over (partition by endpoint.id order by due.priority desc, due.next_attempt_at) as place,
      coalesce(load.max_count, $8) as max_count
    from webhook_endpoint endpoint
    left join load on load.webhook_endpoint_id = endpoint.id
    cross join lateral (${dueOfPriority('URGENT')} union all ${dueOfPriority('STANDARD')}) as due
    where coalesce(load.max_count, $8) > coalesce(load.count, 0)
    union all
    select test.id, test.priority, test.next_attempt_at, endpoint.client_id, 1, 1 from (${DUE_TESTS}) as test
    join webhook_endpoint endpoint on endpoint.id = test.webhook_endpoint_id
  ), ranked as (
    select id, priority, next_attempt_at, coalesce(client_load.count, 0)
      + row_number() over (partition by client_id order by priority desc, place, next_attempt_at) as place
    from due left join client_load using (client_id) where place <= max_count
  ), in_turn as (
    select id, place, row_number() over (order by priority desc, place, next_attempt_at) as turn
    from ranked where place <= $7
  ), chosen as (
    select id from in_turn where turn <= $5::int - $10::int
    union all
    (select id from in_turn where turn > $5::int - $10::int and place <= $6 order by turn limit least($5::int, $10::int))
  ), claimed as (
    update delivery set claimed_until = statement_timestamp() + $9::int * interval '1 millisecond'
    where id in (
      select id from delivery where (status = 'PENDING') is true and next_attempt_at <= $1
        and coalesce(claimed_until <= statement_timestamp(), true) and id in (
        select id from chosen)
      for update skip locked)
    returning *
  ), sealed_key as (
    select webhook_endpoint_id, array_agg(sealed order by signs_until desc nulls first, created_at desc) as sealed_keys from webhook_secret
    where webhook_endpoint_id in (select webhook_endpoint_id from claimed) and coalesce(signs_until > $1, true)
    group by webhook_endpoint_id
  )
  select claimed.*, alert.bank_id, alert.account_id, alert.client_id as alert_client_id, alert.created_at as alert_created_at, endpoint.client_id,
    endpoint.url, endpoint.status = 'ACTIVE' and client.status = 'ACTIVE' as is_active, endpoint.failing_since, endpoint.last_success_at,
    sealed_keys
  from claimed join webhook_endpoint endpoint on endpoint.id = claimed.webhook_endpoint_id
  join sealed_key on sealed_key.webhook_endpoint_id = endpoint.id
  join client on client.id = endpoint.client_id
  left join alert on alert.id = claimed.alert_id
  order by claimed.priority desc, claimed.next_attempt_at`

const COUNT_DUE_SQL = `
  select count(*)::int as count from (
    select from webhook_endpoint endpoint cross join lateral (
      select from unnest(array['URGENT', 'STANDARD']) as wanted (priority) cross join lateral (
        select from delivery where webhook_endpoint_id = endpoint.id and delivery.priority = wanted.priority and status = 'PENDING'
          and next_attempt_at <= $1 limit $2::int) as of_priority
      limit $2::int) as due
    limit $2::int) as counted`

const RELEASE_SQL = `
  with locked as (
    select delivery.id from delivery join unnest($1::text[], $2::timestamptz[]) as released (id, claimed_until)
      on delivery.id = released.id
    where delivery.id = any($1) and delivery.claimed_until = released.claimed_until
    order by delivery.id for update of delivery)
  update delivery set claimed_until = null from locked where delivery.id = locked.id`

/**
 * Claims of deliveries, with a lease by the database's clock. A claimed delivery is changed only if `claimedUntil` is still that
 * of the claim: after the lease, another process may have claimed it.
 */
export const claimStore = (database: Database) => ({
  /**
   * Claims due deliveries that no other process has claimed, each for `leaseMs`. Urgent ones come first. Within a priority the order is
   * round-robin: the first delivery of every client, then the second of every client; the same among the endpoints of a client.
   * Of each endpoint and priority, reads at most as many rows as its limit, however many are due.
   */
  async claim(limits: ClaimLimits, now: Date, leaseMs: number): Promise<ClaimedDelivery[]> {
    const { freeSlots, perClient, perEndpoint, reserved, reservedPerClient, loads } = limits
    const rows = await database.delivery.query<ClaimedRow>('claim-deliveries', CLAIM_SQL, [
      now,
      [...loads.keys()],
      [...loads.values()].map(({ inFlight }) => inFlight),
      [...loads.values()].map(({ limit }) => limit),
      freeSlots,
      reservedPerClient,
      perClient,
      perEndpoint,
      leaseMs,
      reserved,
    ])
    return rows.map((row) => ({
      ...toDelivery(row, 'PENDING'),
      claimedUntil: row.claimed_until,
      priority: row.priority,
      scheduleStartedAt: row.schedule_started_at,
      subject: toSubject(row),
      body: row.body,
      format: row.format,
      sequence: row.sequence,
      isInOrder: row.in_order,
      endpoint: {
        id: row.webhook_endpoint_id,
        clientId: row.client_id,
        url: row.url,
        isActive: row.is_active,
        failingSince: row.failing_since,
        lastSuccessAt: row.last_success_at,
        sealedKeys: row.sealed_keys,
      },
    }))
  },

  /** The number of pending deliveries whose next attempt is due, with claimed ones. Counts at most `limit`. */
  async countDue(now: Date, limit: number): Promise<number> {
    const [row] = await database.query<{ count: number }>('count-due-deliveries', COUNT_DUE_SQL, [now, limit])
    return row!.count
  },

  /** Releases claims without an attempt, so that the deliveries are due again. Has no effect on a claim that was lost. */
  async release(claimed: readonly Pick<ClaimedDelivery, 'id' | 'claimedUntil'>[]): Promise<void> {
    await database.delivery.query('release-deliveries', RELEASE_SQL, [
      claimed.map(({ id }) => id),
      claimed.map(({ claimedUntil }) => claimedUntil),
    ])
  },
})

/** The store of claims. */
export type ClaimStore = ReturnType<typeof claimStore>
