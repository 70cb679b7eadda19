import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database, type Sql } from '../../storage/database.ts'
import type { DisabledReason, WebhookEndpoint, WebhookFormat, WebhookOrdering } from './model.ts'

interface EndpointRow {
  id: string
  clientId: string
  url: string
  format: string
  ordering: string
  status: string
  disabledAt: Date | null
  disabledReason: string | null
  failingSince: Date | null
  lastSuccessAt: Date | null
  publicKey: string | null
  secretOverlapEndsAt: Date | null
}

/** What attempts at one URL of an endpoint came to. */
export interface EndpointOutcome {
  readonly webhookEndpointId: string
  readonly url: string
  /** The newest accepted attempt. */
  readonly acceptedAt: Date | null
  /** The first attempt that failed, and how many did. */
  readonly failedAt: Date | null
  readonly failedCount: number
}

/** An endpoint, and a URL at which it was attempted. */
export type EndpointAtUrl = Pick<WebhookEndpoint, 'id' | 'url'>

/** When an endpoint counts as failing. */
export interface FailingLimits {
  /** It has accepted nothing since then. */
  readonly before: Date
  readonly minAttempts: number
}

/** An endpoint that the gateway has disabled. */
export interface DisabledEndpoint {
  readonly id: string
  readonly clientId: string
  readonly reason: Exclude<DisabledReason, 'CLIENT'>
}

const endpointFields = {
  id: true,
  clientId: true,
  url: true,
  format: true,
  ordering: true,
  status: true,
  disabledAt: true,
  disabledReason: true,
  failingSince: true,
  lastSuccessAt: true,
  publicKey: true,
  secretOverlapEndsAt: true,
} as const
const toEndpoint = (row: EndpointRow): WebhookEndpoint => ({
  ...row,
  format: row.format as WebhookFormat,
  ordering: row.ordering as WebhookOrdering,
  status: row.status as WebhookEndpoint['status'],
  disabledReason: row.disabledReason as DisabledReason | null,
})

// Rows are locked in the order of their IDs to prevent deadlocks. An attempt at a URL that the endpoint no longer has says nothing
// about it.
const RECORD_OUTCOMES_SQL = `
  with outcome as (
    select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::int[], $5::text[])
      as outcome (id, accepted_at, failed_at, failed_count, url)
  ), locked as (
    select endpoint.id, endpoint.url from webhook_endpoint endpoint
    join outcome on outcome.id = endpoint.id and outcome.url = endpoint.url
    order by endpoint.id for no key update of endpoint
  )
  update webhook_endpoint endpoint set
    last_success_at = greatest(endpoint.last_success_at, accepted_at),
    failing_since = case when accepted_at is null then coalesce(endpoint.failing_since, failed_at) end,
    failed_attempt_count = case when accepted_at is null then endpoint.failed_attempt_count + failed_count else 0 end
  from outcome join locked on locked.id = outcome.id and locked.url = outcome.url where endpoint.id = outcome.id`
const DISABLE_SQL = `
  with status_410 as (select * from unnest($2::text[], $6::text[]) as status_410 (id, url))
  update webhook_endpoint set status = 'DISABLED', disabled_at = $5,
    disabled_reason = case when (id, url) in (select status_410.id, status_410.url from status_410) then 'GONE' else 'FAILING' end
  where id = any($1::text[]) and status = 'ACTIVE' and ((id, url) in (select status_410.id, status_410.url from status_410) or (
    failing_since <= $3 and coalesce(last_success_at <= $3, true) and failed_attempt_count >= $4))
  returning id, client_id as "clientId", disabled_reason as reason`

/** Webhook endpoints. */
export function webhookEndpointStore(database: Database) {
  /** The endpoints that match, oldest first. */
  async function list(
    where: { clientId?: string | { in: string[] }; status?: WebhookEndpoint['status'] },
    tx?: Transaction,
  ): Promise<WebhookEndpoint[]> {
    const { webhookEndpoint } = tx ? tablesIn(tx) : database.tables
    const rows = await webhookEndpoint.findMany({ where, select: endpointFields, orderBy: { createdAt: 'asc' } })
    return rows.map(toEndpoint)
  }

  return {
    list,

    /** False if the client already has an endpoint with this URL. */
    async add(
      tx: Transaction,
      endpoint: Pick<WebhookEndpoint, 'id' | 'clientId' | 'url' | 'format' | 'ordering' | 'status' | 'publicKey'>,
    ): Promise<boolean> {
      return (await tablesIn(tx).webhookEndpoint.createMany({ data: [endpoint], skipDuplicates: true })).count === 1
    },

    /** The client's endpoints, oldest first. Until the transaction ends, others that call this for the client wait. */
    async lockList(tx: Transaction, clientId: string): Promise<WebhookEndpoint[]> {
      await tablesIn(tx).$queryRaw`select id from client where id = ${clientId} for no key update`
      return list({ clientId }, tx)
    },

    /** The client's endpoints, oldest first, locked until the transaction ends. */
    async lock(tx: Transaction, clientId: string): Promise<WebhookEndpoint[]> {
      await tablesIn(tx)
        .$queryRaw`select id from webhook_endpoint where client_id = ${clientId} order by id for no key update`
      return list({ clientId }, tx)
    },

    /** Stores what says which keys sign. */
    async setKeys(
      tx: Transaction,
      id: string,
      keys: Pick<WebhookEndpoint, 'publicKey' | 'secretOverlapEndsAt'>,
    ): Promise<void> {
      await tablesIn(tx).webhookEndpoint.update({ where: { id }, data: keys })
    },

    /** Stores a changed endpoint. The count of its failed attempts begins again. */
    async update(
      tx: Transaction,
      { id, status, url, format, ordering, disabledAt, disabledReason }: WebhookEndpoint,
    ): Promise<void> {
      await tablesIn(tx).webhookEndpoint.update({
        where: { id },
        data: { status, url, format, ordering, disabledAt, disabledReason, failingSince: null, failedAttemptCount: 0 },
      })
    },
  }
}

/** What attempts change of endpoints, each for many in one statement. */
export const endpointHealthStore = {
  /** Stores what attempts at the present URLs came to. An accepted attempt ends a series of failed ones. */
  async recordOutcomes(sql: Sql, outcomes: readonly EndpointOutcome[]): Promise<void> {
    await sql.query('record-endpoint-outcomes', RECORD_OUTCOMES_SQL, [
      outcomes.map(({ webhookEndpointId }) => webhookEndpointId),
      outcomes.map(({ acceptedAt }) => acceptedAt),
      outcomes.map(({ failedAt }) => failedAt),
      outcomes.map(({ failedCount }) => failedCount),
      outcomes.map(({ url }) => url),
    ])
  },

  /** Disables those of the endpoints that are active, and failing or responded with 410 at their present URL. Returns them. */
  disable: (
    sql: Sql,
    ids: readonly string[],
    { status410, failing, now }: { status410: readonly EndpointAtUrl[]; failing: FailingLimits; now: Date },
  ): Promise<DisabledEndpoint[]> =>
    sql.query('disable-endpoints', DISABLE_SQL, [
      ids,
      status410.map(({ id }) => id),
      failing.before,
      failing.minAttempts,
      now,
      status410.map(({ url }) => url),
    ]),
}

/** The store of webhook endpoints. */
export type WebhookEndpointStore = ReturnType<typeof webhookEndpointStore>
