import type { Slice } from '../../kernel/pagination.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { AlertSubject, Grant } from '../consents/index.ts'
import { toDelivery, type DeliveryRow } from './delivery-row.ts'
import {
  DELIVERY_STATUSES,
  type Delivery,
  type DeliveryFilter,
  type DeliveryStatus,
  type EventType,
  type WebhookFormat,
} from './model.ts'

/** A delivery that was dropped. */
interface DroppedRow {
  readonly webhookEndpointId: string
  readonly customerId: string | null
  readonly isInOrder: boolean
}

const deliveryFields = {
  id: true,
  eventType: true,
  alertId: true,
  webhookEndpointId: true,
  consentId: true,
  status: true,
  attemptCount: true,
  createdAt: true,
  nextAttemptAt: true,
} as const

const toTyped = <Row extends { eventType: string; status: string }>(row: Row) => ({
  ...row,
  eventType: row.eventType as EventType,
  status: row.status as DeliveryStatus,
})

/** Reads one index range for each endpoint and status; each returns at most one page. */
const clientDeliveriesSql = (direction: 'asc' | 'desc'): string => `
  select page.* from webhook_endpoint endpoint cross join unnest($3::text[]) as wanted (status) cross join lateral (
    select id, event_type, alert_id, webhook_endpoint_id, consent_id, status, attempt_count, created_at, next_attempt_at, priority
    from delivery
    where webhook_endpoint_id = endpoint.id and status = wanted.status
      and (created_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, ''))
      and (created_at, id) > (coalesce($6::timestamptz, '-infinity'), coalesce($7::text, ''))
      and created_at >= coalesce($8::timestamptz, '-infinity') and created_at < coalesce($9::timestamptz, 'infinity')
    order by created_at ${direction}, id ${direction} limit $10::int) as page
  where client_id = $1 and ($2::text is null or endpoint.id = $2)
  order by page.created_at ${direction}, page.id ${direction} limit $10::int`

const PENDING_SQL = `
  select distinct endpoint.client_id as "clientId", alert.bank_id as "bankId", alert.customer_id as "customerId",
    alert.account_id as "accountId", alert.client_id as "alertClientId"
  from delivery join alert on alert.id = alert_id join webhook_endpoint endpoint on endpoint.id = webhook_endpoint_id
  where delivery.consent_id = $1 and delivery.status = 'PENDING'`
// Rows are locked in the order of their IDs, as by SETTLE_SQL of settlement-store.ts, so that a consent can end while its
// deliveries are settled.
const DROP_SQL = `
  with locked as (
    select id from delivery where consent_id = $1 and status = 'PENDING' order by id for update)
  update delivery set status = 'DROPPED', ended_at = $2 from locked where delivery.id = locked.id
  returning webhook_endpoint_id as "webhookEndpointId", customer_id as "customerId", in_order as "isInOrder"`
// Those that were never attempted have no wait of their own. Locked ones are being ended, and waiting for them could be a deadlock.
const RESUME_SQL = `
  update delivery set next_attempt_at = resumed.at from (
    select waiting.id, greatest($3, (
      select max(earlier.next_attempt_at) from delivery earlier where earlier.webhook_endpoint_id = waiting.webhook_endpoint_id
        and earlier.customer_id = waiting.customer_id and earlier.sequence < waiting.sequence and earlier.status = 'PENDING'
        and earlier.in_order and earlier.attempt_count > 0)) as at
    from (select distinct * from unnest($1::text[], $2::text[]) as ended (webhook_endpoint_id, customer_id)) as ended
    join delivery waiting on waiting.webhook_endpoint_id = ended.webhook_endpoint_id and waiting.customer_id = ended.customer_id
    where waiting.status = 'PENDING' and waiting.in_order and waiting.attempt_count = 0 and waiting.next_attempt_at > $3
    for update of waiting skip locked) as resumed
  where delivery.id = resumed.id`
const DROP_FOR_ENDPOINT_SQL = `
  with dropped as (
    update delivery set status = 'DROPPED', ended_at = $2, claimed_until = null where id in (
      select delivery.id from unnest(array['URGENT', 'STANDARD', 'TEST']) as wanted (priority)
      join delivery on delivery.priority = wanted.priority and webhook_endpoint_id = $1 and status = 'PENDING'
      where exists (select from webhook_endpoint where id = $1 and status = 'DISABLED')
      limit $3::int for update of delivery skip locked) returning 1)
  select count(*)::int as count from dropped`
const COUNT_FAILED_SQL = `
  select count(*)::int as count from (
    select from webhook_endpoint endpoint cross join lateral (
      select from delivery where webhook_endpoint_id = endpoint.id and status = 'FAILED' and created_at >= $2
      limit $3::int) as failed
    where client_id = $1 limit $3::int) as counted`
/** Deliveries of one statement, so that it takes milliseconds. */
const DROP_BATCH_SIZE = 1_000
const MOVE_SQL = `
  with locked as (
    select delivery.id from delivery join alert on alert.id = delivery.alert_id
    where delivery.consent_id = $1 and delivery.status = 'PENDING' and alert.account_id is not distinct from $2
      and alert.created_at >= $3 and alert.client_id is not distinct from $5
    order by delivery.id for update of delivery)
  update delivery set consent_id = $4 from locked where delivery.id = locked.id`

/** Deliveries, except planning (planning-store.ts), their claims (claim-store.ts) and their replay (replay-store.ts). */
export const deliveryStore = (database: Database) => ({
  /** Deletes deliveries that were created before this time, have ended and have no attempts left. Returns their number. */
  deleteCreatedBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'delivery',
      // A scalar, which the planner looks up for each row instead of joining the tables.
      where: `created_at < $1 and ended_at is not null
        and coalesce((select false from delivery_attempt where delivery_id = delivery.id limit 1), true)`,
      orderBy: 'created_at',
      values: [before],
    }),

  /** The client of the consent's PENDING deliveries of alerts, and what these are about. No subjects if there are none. */
  async findPending(consentId: string): Promise<{ clientId: string; subjects: AlertSubject[] }> {
    const rows = await database.query<
      Omit<AlertSubject, 'clientId'> & { clientId: string; alertClientId: string | null }
    >('pending-of-consent', PENDING_SQL, [consentId])
    return {
      clientId: rows[0]?.clientId ?? '',
      subjects: rows.map(({ bankId, customerId, accountId, alertClientId }) => ({
        bankId,
        customerId,
        accountId,
        clientId: alertClientId,
      })),
    }
  },

  /** Moves the PENDING deliveries of alerts about a subject to another consent, if it was given before they were scheduled. */
  async moveToConsent(
    from: string,
    { accountId, clientId }: AlertSubject,
    { consentId, grantedAt }: Pick<Grant, 'consentId' | 'grantedAt'>,
  ): Promise<void> {
    await database.query('move-to-consent', MOVE_SQL, [from, accountId, grantedAt, consentId, clientId])
  },

  /** Ends the consent's PENDING deliveries as DROPPED, so that none waits for them any more. Returns their number. */
  dropForConsent(consentId: string, at: Date): Promise<number> {
    return database.delivery.transaction(async (tx) => {
      const dropped = await tx.query<DroppedRow>('drop-for-consent', DROP_SQL, [consentId, at])
      const inOrder = dropped.filter(({ isInOrder }) => isInOrder)
      if (inOrder.length > 0)
        await tx.query('resume-following', RESUME_SQL, [
          inOrder.map(({ webhookEndpointId }) => webhookEndpointId),
          inOrder.map(({ customerId }) => customerId),
          at,
        ])
      return dropped.length
    })
  },

  /** Ends the endpoint's PENDING deliveries as DROPPED, as long as it is disabled. Skips those that are being settled. */
  async dropForEndpoint(webhookEndpointId: string, at: Date): Promise<void> {
    for (let count = DROP_BATCH_SIZE; count === DROP_BATCH_SIZE;) {
      const values = [webhookEndpointId, at, DROP_BATCH_SIZE]
      const [row] = await database.query<{ count: number }>('drop-for-endpoint', DROP_FOR_ENDPOINT_SQL, values)
      count = row!.count
    }
  },

  /** A slice of the client's deliveries, newest first. */
  async listForClient(
    clientId: string,
    { statuses, webhookEndpointId, since, until }: DeliveryFilter,
    { after, before, isBackward, limit }: Slice<Delivery>,
  ): Promise<Delivery[]> {
    const direction = isBackward ? 'asc' : 'desc'
    const rows = await database.query<DeliveryRow & { status: DeliveryStatus }>(
      `deliveries-of-client-${direction}`,
      clientDeliveriesSql(direction),
      [
        clientId,
        webhookEndpointId ?? null,
        [...new Set(statuses ?? DELIVERY_STATUSES)],
        after?.createdAt ?? null,
        after?.id ?? null,
        before?.createdAt ?? null,
        before?.id ?? null,
        since ?? null,
        until ?? null,
        limit,
      ],
    )
    return rows.map((row) => toDelivery(row, row.status))
  },

  /** Adds a test event, due at `now`. */
  async addTest(
    tx: Transaction,
    test: Pick<Delivery, 'id' | 'eventType' | 'webhookEndpointId'> & {
      readonly body: string
      readonly format: WebhookFormat
    },
    now: Date,
  ): Promise<void> {
    const data = {
      ...test,
      priority: 'TEST',
      status: 'PENDING',
      createdAt: now,
      scheduleStartedAt: now,
      nextAttemptAt: now,
    }
    await tablesIn(tx).delivery.create({ data })
  },

  /** The number of test events to the endpoint since a time. */
  async countTests(tx: Transaction, webhookEndpointId: string, since: Date): Promise<number> {
    const [row] = await tablesIn(tx).$queryRaw<{ count: number }[]>`
      select count(*)::int as count from delivery
      where webhook_endpoint_id = ${webhookEndpointId} and priority = 'TEST' and created_at >= ${since}`
    return row!.count
  },

  /** The number of the client's FAILED deliveries that were created since a time; counts at most `limit`. */
  async countFailed(clientId: string, since: Date, limit: number): Promise<number> {
    const values = [clientId, since, limit]
    const [row] = await database.query<{ count: number }>('failed-deliveries', COUNT_FAILED_SQL, values)
    return row!.count
  },

  /** The client's delivery with this ID. */
  async find(clientId: string, id: string): Promise<Delivery | null> {
    const row = await database.tables.delivery.findFirst({
      where: { id, webhookEndpoint: { clientId } },
      select: deliveryFields,
    })
    return row && toTyped(row)
  },

  /** The client's deliveries among these IDs. */
  async findMany(clientId: string, ids: readonly string[], tx?: Transaction): Promise<Delivery[]> {
    const { delivery } = tx ? tablesIn(tx) : database.tables
    const rows = await delivery.findMany({
      where: { id: { in: [...ids] }, webhookEndpoint: { clientId } },
      select: deliveryFields,
    })
    return rows.map(toTyped)
  },
})

/** The store of deliveries. */
export type DeliveryStore = ReturnType<typeof deliveryStore>
