import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn } from '../../storage/database.ts'

interface RequeuedRow {
  id: string
  created_at: Date
}

/** Starts a new schedule for locked rows. Only DELIVERED and FAILED deliveries change. */
const RESTART_SQL = `
  update delivery set status = 'PENDING', next_attempt_at = $1, claimed_until = null, ended_at = null, attempt_count = 0,
    schedule_started_at = $1
  from chosen where delivery.id = chosen.id and status in ('DELIVERED', 'FAILED') returning delivery.id, created_at`
const REQUEUE_BY_ID_SQL = `
  with chosen as (
    select delivery.id from delivery join webhook_endpoint endpoint on endpoint.id = webhook_endpoint_id
    where delivery.id = any($4::text[]) and client_id = $2 and ($3::text is null or endpoint.id = $3)
      and endpoint.status = 'ACTIVE' and delivery.status in ('DELIVERED', 'FAILED')
    order by delivery.id for update of delivery)
  ${RESTART_SQL}`
const REQUEUE_BY_TIME_SQL = `
  with found as (
    select ended.id from webhook_endpoint endpoint
    cross join unnest(array['DELIVERED', 'FAILED']) as wanted (status) cross join lateral (
      select id from delivery where webhook_endpoint_id = endpoint.id and status = wanted.status
        and created_at >= coalesce($4::timestamptz, '-infinity') and created_at < coalesce($5::timestamptz, 'infinity')
      order by created_at desc, id desc limit $6::int) as ended
    where client_id = $2 and ($3::text is null or endpoint.id = $3) and endpoint.status = 'ACTIVE' limit $6::int
  ), chosen as (
    select id from delivery where id in (select id from found) and status in ('DELIVERED', 'FAILED')
    order by id for update)
  ${RESTART_SQL}`

/** The deliveries to replay: by ID, or at most `limit` of a time range. */
export type RequeueSelection =
  | { readonly ids: readonly string[] }
  | { readonly since: Date | undefined; readonly until: Date | undefined; readonly limit: number }

/**
 * Queues the selected deliveries of a client that have ended, each with a new schedule that starts at `at`. Skips deliveries to
 * disabled endpoints. Returns those that were queued.
 */
export async function requeueDeliveries(
  tx: Transaction,
  at: Date,
  { clientId, webhookEndpointId }: { clientId: string; webhookEndpointId: string | undefined },
  selection: RequeueSelection,
): Promise<{ id: string; createdAt: Date }[]> {
  const common = [at, clientId, webhookEndpointId ?? null]
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
  return rows.map((row) => ({ id: row.id, createdAt: row.created_at }))
}
