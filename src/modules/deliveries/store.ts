import type { Slice } from '../../kernel/pagination.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Grant } from '../consents/index.ts'
import {
  DELIVERY_STATUSES,
  type DeliveryAttempt,
  type ClaimedDelivery,
  type Delivery,
  type DeliveryFilter,
  type DeliveryStatus,
  type WebhookEndpoint,
} from './model.ts'

interface ClaimedRow {
  id: string
  alert_id: string
  webhook_endpoint_id: string
  consent_id: string
  attempt_count: number
  created_at: Date
  next_attempt_at: Date
}

interface RequeuedRow {
  id: string
  created_at: Date
}

/** How many deliveries a claim may take; `busy` counts what is under way at each endpoint of this process. */
interface ClaimLimits {
  readonly freeSlots: number
  readonly reserved: number
  readonly reservedPerClient: number
  readonly perClient: number
  readonly perEndpoint: number
  readonly inFlightByEndpoint: ReadonlyMap<string, number>
}

const deliveryFields = {
  id: true,
  alertId: true,
  webhookEndpointId: true,
  consentId: true,
  status: true,
  attemptCount: true,
  createdAt: true,
  nextAttemptAt: true,
} as const

const endpointFields = { id: true, clientId: true, url: true, status: true } as const
const toEndpoint = (row: { id: string; clientId: string; url: string; status: string }): WebhookEndpoint => ({
  ...row,
  status: row.status as WebhookEndpoint['status'],
})

const toDelivery = (row: ClaimedRow, status: DeliveryStatus): Delivery => ({
  id: row.id,
  alertId: row.alert_id,
  webhookEndpointId: row.webhook_endpoint_id,
  consentId: row.consent_id,
  status,
  attemptCount: row.attempt_count,
  createdAt: row.created_at,
  nextAttemptAt: row.next_attempt_at,
})

/** One ordered walk for each endpoint and status, of which each reads no more than the page. */
const clientDeliveriesSql = (direction: 'asc' | 'desc'): string => `
  select page.* from webhook_endpoint endpoint cross join unnest($3::text[]) as wanted (status) cross join lateral (
    select id, alert_id, webhook_endpoint_id, consent_id, status, attempt_count, created_at, next_attempt_at from delivery
    where webhook_endpoint_id = endpoint.id and status = wanted.status
      and (created_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, ''))
      and (created_at, id) > (coalesce($6::timestamptz, '-infinity'), coalesce($7::text, ''))
      and created_at >= coalesce($8::timestamptz, '-infinity') and created_at < coalesce($9::timestamptz, 'infinity')
    order by created_at ${direction}, id ${direction} limit $10::int) as page
  where client_id = $1 and ($2::text is null or endpoint.id = $2)
  order by page.created_at ${direction}, page.id ${direction} limit $10::int`

const ATTEMPTS_SQL = `
  select attempt.* from unnest($1::text[]) as delivery (id) cross join lateral (
    select delivery_id as "deliveryId", number, attempted_at as "attemptedAt", http_status as "httpStatus", outcome,
      failure_cause as "failureCause"
    from delivery_attempt where delivery_id = delivery.id order by number desc limit $2::int) as attempt
  order by attempt.number`

/** A schedule from the beginning, of rows that are locked; only DELIVERED and FAILED ones change. */
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
const MAX_SHOWN_ATTEMPTS = 50

/** Endpoints, deliveries and attempts; deliveries are claimed with a lease. */
export const deliveryStore = (database: Database) => ({
  /** False where the client has an endpoint at this address already. */
  async addEndpoint(tx: Transaction, endpoint: WebhookEndpoint & { sealedSigningSecret: string }): Promise<boolean> {
    return (await tablesIn(tx).webhookEndpoint.createMany({ data: [endpoint], skipDuplicates: true })).count === 1
  },

  async listEndpoints(
    where: { clientId?: string | { in: string[] }; status?: WebhookEndpoint['status'] },
    tx?: Transaction,
  ): Promise<WebhookEndpoint[]> {
    const { webhookEndpoint } = tx ? tablesIn(tx) : database.tables
    return (await webhookEndpoint.findMany({ where, select: endpointFields, orderBy: { createdAt: 'asc' } })).map(
      toEndpoint,
    )
  },

  async findEndpoint(id: string): Promise<(WebhookEndpoint & { sealedSigningSecret: string }) | null> {
    const row = await database.tables.webhookEndpoint.findUnique({
      where: { id },
      select: { ...endpointFields, sealedSigningSecret: true },
    })
    return row && { ...toEndpoint(row), sealedSigningSecret: row.sealedSigningSecret }
  },

  /** Adds those of which there is none yet for the alert and the endpoint. */
  async insertMissing(
    deliveries: readonly {
      id: string
      alertId: string
      webhookEndpointId: string
      consentId: string
      createdAt: Date
      scheduleStartedAt: Date
      nextAttemptAt: Date
    }[],
  ): Promise<void> {
    await database.tables.delivery.createMany({
      data: deliveries.map((delivery) => ({ ...delivery, status: 'PENDING' })),
      skipDuplicates: true,
    })
  },

  /**
   * Claims due deliveries that nobody else holds; each is ours until its lease ends. Clients take turns: everybody's first
   * comes before anybody's second, and within a client it is the same with its endpoints. At most `endpoint` rows of each
   * endpoint are read, however many wait.
   */
  async claim(
    { freeSlots, inFlightByEndpoint, ...limits }: ClaimLimits,
    now: Date,
    leaseMs: number,
  ): Promise<ClaimedDelivery[]> {
    const rows = await database.tables.$queryRaw<(ClaimedRow & { claimed_until: Date })[]>`
      with busy as (
        select key as webhook_endpoint_id, value::int as count
        from jsonb_each_text(${JSON.stringify(Object.fromEntries(inFlightByEndpoint))}::jsonb)
      ), busy_client as (
        select client_id, sum(count) as count from busy join webhook_endpoint on id = webhook_endpoint_id group by client_id
      ), due as (
        select due.id, due.next_attempt_at, endpoint.client_id,
          coalesce(busy.count, 0) + row_number() over (partition by endpoint.id order by due.next_attempt_at) as place
        from webhook_endpoint endpoint
        left join busy on busy.webhook_endpoint_id = endpoint.id
        cross join lateral (
          select id, next_attempt_at from delivery
          where webhook_endpoint_id = endpoint.id and status = 'PENDING' and next_attempt_at <= ${now}
            and coalesce(claimed_until <= statement_timestamp(), true)
          order by next_attempt_at limit greatest(0, ${limits.perEndpoint}::int - coalesce(busy.count, 0))) as due
      ), ranked as (
        select id, next_attempt_at, coalesce(busy_client.count, 0)
          + row_number() over (partition by client_id order by place, next_attempt_at) as place
        from due left join busy_client using (client_id)
      ), chosen as (
        select id, place, row_number() over (order by place, next_attempt_at) as turn
        from ranked where place <= ${limits.perClient}::int
      )
      update delivery set claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id in (
        select id from delivery where status = 'PENDING' and next_attempt_at <= ${now}
          and coalesce(claimed_until <= statement_timestamp(), true) and id in (
          select id from chosen where turn <= ${freeSlots - limits.reserved}::int
            or (place <= ${limits.reservedPerClient}::int and turn <= ${freeSlots}::int))
        for update skip locked)
      returning id, alert_id, webhook_endpoint_id, consent_id, attempt_count, created_at, next_attempt_at, claimed_until`
    return rows.map((row) => ({ ...toDelivery(row, 'PENDING'), claimedUntil: row.claimed_until }))
  },

  /** The same claim for `leaseMs` from now; nothing where it ended and somebody else has claimed the delivery since. */
  async renewClaim(claimed: ClaimedDelivery, leaseMs: number): Promise<ClaimedDelivery | undefined> {
    const [row] = await database.tables.$queryRaw<{ until: Date }[]>`
      update delivery set claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id = ${claimed.id} and status = 'PENDING' and claimed_until = ${claimed.claimedUntil}
      returning claimed_until as until`
    return row && { ...claimed, claimedUntil: row.until }
  },

  /** Lets go of a claim that came to nothing, so that the next who asks may attempt the delivery. */
  async releaseClaim({ id, claimedUntil }: ClaimedDelivery): Promise<void> {
    await database.tables.delivery.updateMany({ where: { id, claimedUntil }, data: { claimedUntil: null } })
  },

  /**
   * Counts an attempt that has an outcome and notes the consent it was sent under; nothing if the claim is not ours any more:
   * then the schedule is another's. Holds the row until the end of `tx` in any case.
   */
  async countAttempt(
    tx: Transaction,
    { id, claimedUntil }: ClaimedDelivery,
    consentId: string,
  ): Promise<{ attemptCount: number; startedAt: Date } | undefined> {
    await tablesIn(tx).$queryRaw`select 1 from delivery where id = ${id} for update`
    const where = { id, status: 'PENDING', claimedUntil }
    const data = { attemptCount: { increment: 1 }, consentId }
    const [counted] = await tablesIn(tx).delivery.updateManyAndReturn({
      where,
      data,
      select: { attemptCount: true, scheduleStartedAt: true },
    })
    return counted && { attemptCount: counted.attemptCount, startedAt: counted.scheduleStartedAt }
  },

  /** Adds an attempt of a delivery that `count` holds and returns its number. */
  async addAttempt(tx: Transaction, deliveryId: string, attempt: Omit<DeliveryAttempt, 'number'> & { id: string }) {
    const { _max } = await tablesIn(tx).deliveryAttempt.aggregate({ where: { deliveryId }, _max: { number: true } })
    const number = (_max.number ?? 0) + 1
    await tablesIn(tx).deliveryAttempt.create({ data: { ...attempt, deliveryId, number } })
    return number
  },

  /** Ends a claimed delivery; false where the claim is not ours any more. */
  async finish(
    tx: Transaction,
    { id, claimedUntil }: ClaimedDelivery,
    status: DeliveryStatus,
    at: Date,
  ): Promise<boolean> {
    const where = { id, status: 'PENDING', claimedUntil }
    const data = { status, endedAt: at, claimedUntil: null }
    return (await tablesIn(tx).delivery.updateMany({ where, data })).count === 1
  },

  /** Lets go of a claimed delivery until its next attempt; false where the claim is not ours any more. */
  async reschedule(tx: Transaction, { id, claimedUntil }: ClaimedDelivery, nextAttemptAt: Date): Promise<boolean> {
    const where = { id, status: 'PENDING', claimedUntil }
    return (await tablesIn(tx).delivery.updateMany({ where, data: { nextAttemptAt, claimedUntil: null } })).count === 1
  },

  /** The client and the accounts that a consent's PENDING deliveries are about; nothing if it has none. */
  async findPending(consentId: string): Promise<{ clientId: string; accountIds: string[] } | null> {
    const pending = { consentId, status: 'PENDING' }
    const delivery = await database.tables.delivery.findFirst({
      where: pending,
      select: { webhookEndpoint: { select: { clientId: true } } },
    })
    const alerts = await database.tables.alert.findMany({
      where: { deliveries: { some: pending } },
      distinct: ['accountId'],
      select: { accountId: true },
    })
    const accountIds = alerts.flatMap(({ accountId }) => accountId ?? [])
    return delivery && { clientId: delivery.webhookEndpoint.clientId, accountIds }
  },

  /** Moves a consent's PENDING deliveries to another that covers their account and was given before they were planned. */
  async moveToConsent(
    from: string,
    { accountId, grant }: { readonly accountId: string; readonly grant: Pick<Grant, 'consentId' | 'grantedAt'> },
  ): Promise<void> {
    await database.tables.delivery.updateMany({
      where: {
        consentId: from,
        status: 'PENDING',
        createdAt: { gte: grant.grantedAt },
        alert: { accountId },
      },
      data: { consentId: grant.consentId },
    })
  },

  async dropForConsent(consentId: string, at: Date): Promise<number> {
    return (
      await database.tables.delivery.updateMany({
        where: { consentId, status: 'PENDING' },
        data: { status: 'DROPPED', endedAt: at },
      })
    ).count
  },

  /** A slice of a client's deliveries, the newest first. */
  async listForClient(
    clientId: string,
    { statuses, webhookEndpointId, since, until }: DeliveryFilter,
    { after, before, isBackward, limit }: Slice<Delivery>,
  ): Promise<Delivery[]> {
    const direction = isBackward ? 'asc' : 'desc'
    const rows = await database.query<ClaimedRow & { status: DeliveryStatus }>(
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

  /** The delivery, where it is this client's. */
  async find(clientId: string, id: string): Promise<Delivery | null> {
    const row = await database.tables.delivery.findFirst({
      where: { id, webhookEndpoint: { clientId } },
      select: deliveryFields,
    })
    return row && { ...row, status: row.status as DeliveryStatus }
  },

  /** Those of the deliveries that are this client's. */
  async findMany(clientId: string, ids: readonly string[], tx?: Transaction): Promise<Delivery[]> {
    const { delivery } = tx ? tablesIn(tx) : database.tables
    const rows = await delivery.findMany({
      where: { id: { in: [...ids] }, webhookEndpoint: { clientId } },
      select: deliveryFields,
    })
    return rows.map((row) => ({ ...row, status: row.status as DeliveryStatus }))
  },

  /**
   * Queues a client's ended deliveries once more, each with a new schedule: those of `ids`, or up to `limit` of a time, at
   * active endpoints only. Returns those that were queued.
   */
  async requeue(
    tx: Transaction,
    at: Date,
    { clientId, webhookEndpointId }: { clientId: string; webhookEndpointId: string | undefined },
    wanted:
      | { readonly ids: readonly string[] }
      | { readonly since: Date | undefined; readonly until: Date | undefined; readonly limit: number },
  ): Promise<{ id: string; createdAt: Date }[]> {
    const common = [at, clientId, webhookEndpointId ?? null]
    const tables = tablesIn(tx)
    const rows =
      'ids' in wanted
        ? await tables.$queryRawUnsafe<RequeuedRow[]>(REQUEUE_BY_ID_SQL, ...common, [...wanted.ids])
        : await tables.$queryRawUnsafe<RequeuedRow[]>(
            REQUEUE_BY_TIME_SQL,
            ...common,
            wanted.since ?? null,
            wanted.until ?? null,
            wanted.limit,
          )
    return rows.map((row) => ({ id: row.id, createdAt: row.created_at }))
  },

  async setEndpointStatus(tx: Transaction, id: string, status: WebhookEndpoint['status']): Promise<void> {
    await tablesIn(tx).webhookEndpoint.update({ where: { id }, data: { status } })
  },

  /** The newest 50 attempts of each delivery, by number. */
  async listAttempts(deliveryIds: readonly string[]): Promise<(DeliveryAttempt & { deliveryId: string })[]> {
    return database.query('delivery-attempts', ATTEMPTS_SQL, [deliveryIds, MAX_SHOWN_ATTEMPTS])
  },
})

/** The store as `attempts.ts` takes it. */
export type DeliveryStore = ReturnType<typeof deliveryStore>
