import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn } from '../../storage/database.ts'

interface RequeuedRow {
  id: string
  created_at: Date
  unplanned_alert_id: string | null
}

/** A delivery that was queued again. */
export interface RequeuedDelivery {
  readonly id: string
  readonly createdAt: Date
  /** Its alert, if the delivery has no message yet: planning must build it. */
  readonly unplannedAlertId: string | null
}

/** Starts a new schedule for locked rows. Only DELIVERED and FAILED deliveries change. */
const RESTART_SQL = `
  update delivery set status = 'PENDING', next_attempt_at = $1, claimed_until = null, ended_at = null, attempt_count = 0,
    schedule_started_at = $1
  from chosen where delivery.id = chosen.id and status in ('DELIVERED', 'FAILED') returning delivery.id, created_at,
    case when body is null then alert_id end as unplanned_alert_id`
const REQUEUE_BY_ID_SQL = `
  with chosen as (
    select delivery.id from delivery join webhook_endpoint endpoint on endpoint.id = webhook_endpoint_id
    where delivery.id = any($5::text[]) and delivery.created_at >= $4 and client_id = $2 and ($3::text is null or endpoint.id = $3)
      and endpoint.status = 'ACTIVE' and delivery.status in ('DELIVERED', 'FAILED')
    order by delivery.id for update of delivery)
  ${RESTART_SQL}`
const REQUEUE_BY_TIME_SQL = `
  with found as (
    select ended.id from webhook_endpoint endpoint
    cross join unnest(array['DELIVERED', 'FAILED']) as wanted (status) cross join lateral (
      select id from delivery where webhook_endpoint_id = endpoint.id and status = wanted.status
        and created_at >= greatest($4::timestamptz, $5::timestamptz) and created_at < coalesce($6::timestamptz, 'infinity')
        and event_type <> 'endpoint.test'
      order by created_at desc, id desc limit $7::int) as ended
    where client_id = $2 and ($3::text is null or endpoint.id = $3) and endpoint.status = 'ACTIVE' limit $7::int
  ), chosen as (
    select id from delivery where id in (select id from found) and status in ('DELIVERED', 'FAILED')
    order by id for update)
  ${RESTART_SQL}`

/** The deliveries to replay: by ID, or at most `limit` of a time range. */
export type RequeueSelection =
  | { readonly ids: readonly string[] }
  | { readonly since: Date | undefined; readonly until: Date | undefined; readonly limit: number }

/** Limits a replay. */
export interface RequeueScope {
  readonly clientId: string
  readonly webhookEndpointId: string | undefined
  /** Older deliveries are not queued. */
  readonly createdSince: Date
}

/**
 * Queues the selected deliveries of a client that have ended, each with a new schedule that starts at `at`. Skips deliveries to
 * disabled endpoints. A range of time leaves out test events. Returns those that were queued.
 */
export async function requeueDeliveries(
  tx: Transaction,
  at: Date,
  { clientId, webhookEndpointId, createdSince }: RequeueScope,
  selection: RequeueSelection,
): Promise<RequeuedDelivery[]> {
  const common = [at, clientId, webhookEndpointId ?? null, createdSince]
  const tables = tablesIn(tx)
  const rows =
    'ids' in selection
      ? await tables.$queryRawUnsafe<RequeuedRow[]>(REQUEUE_BY_ID_SQL, ...common, [...selection.ids])
      : await tables.$queryRawUnsafe<RequeuedRow[]>(
          REQUEUE_BY_TIME_SQL,
          ...common,
          selection.since ?? null,
          selection.until ?? null,
          selection.limit,
        )
  return rows.map((row) => ({ id: row.id, createdAt: row.created_at, unplannedAlertId: row.unplanned_alert_id }))
}
