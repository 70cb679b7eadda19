import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { PublicFailureCause } from '../../kernel/failure-causes.ts'
import {
  DELIVERY_STATES,
  type Attempt,
  type AttemptOutcome,
  type ClaimedDelivery,
  type Delivery,
  type DeliveryFilter,
  type DeliveryState,
  type WebhookEndpoint,
} from './model.ts'

interface ClaimedRow {
  id: string
  alert_id: string
  endpoint_id: string
  consent_id: string
  attempt_count: number
  created_at: Date
  next_attempt_at: Date
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
  endpointId: true,
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

const toDelivery = (row: ClaimedRow, status: DeliveryState): Delivery => ({
  id: row.id,
  alertId: row.alert_id,
  endpointId: row.endpoint_id,
  consentId: row.consent_id,
  status,
  attemptCount: row.attempt_count,
  createdAt: row.created_at,
  nextAttemptAt: row.next_attempt_at,
})

const CLIENT_DELIVERIES_SQL = `
  select page.* from webhook_endpoint endpoint cross join unnest($3::text[]) as wanted (status) cross join lateral (
    select id, alert_id, endpoint_id, consent_id, status, attempt_count, created_at, next_attempt_at from delivery
    where endpoint_id = endpoint.id and status = wanted.status
      and (created_at, id) < (coalesce($4::timestamptz, 'infinity'), coalesce($5::text, ''))
    order by created_at desc, id desc limit $6::int) as page
  where client_id = $1 and ($2::text is null or endpoint.id = $2)
  order by page.created_at desc, page.id desc limit $6::int`

/** Endpoints, deliveries and attempts; deliveries are claimed with a lease. */
export const deliveryStore = (database: Database) => ({
  /** False where the client has an endpoint at this address already. */
  async addEndpoint(tx: Transaction, endpoint: WebhookEndpoint & { sealedSecret: string }): Promise<boolean> {
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

  async findEndpoint(id: string): Promise<(WebhookEndpoint & { sealedSecret: string }) | null> {
    const row = await database.tables.webhookEndpoint.findUnique({
      where: { id },
      select: { ...endpointFields, sealedSecret: true },
    })
    return row && { ...toEndpoint(row), sealedSecret: row.sealedSecret }
  },

  /** Adds those of which there is none yet for the alert and the endpoint. */
  async insertMissing(
    deliveries: readonly {
      id: string
      alertId: string
      endpointId: string
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
        select key as endpoint_id, value::int as count
        from jsonb_each_text(${JSON.stringify(Object.fromEntries(inFlightByEndpoint))}::jsonb)
      ), busy_client as (
        select client_id, sum(count) as count from busy join webhook_endpoint on id = endpoint_id group by client_id
      ), due as (
        select due.id, due.next_attempt_at, endpoint.client_id,
          coalesce(busy.count, 0) + row_number() over (partition by endpoint.id order by due.next_attempt_at) as place
        from webhook_endpoint endpoint
        left join busy on busy.endpoint_id = endpoint.id
        cross join lateral (
          select id, next_attempt_at from delivery
          where endpoint_id = endpoint.id and status = 'PENDING' and next_attempt_at <= ${now}
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
      returning id, alert_id, endpoint_id, consent_id, attempt_count, created_at, next_attempt_at, claimed_until`
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
  async addAttempt(tx: Transaction, deliveryId: string, attempt: Omit<Attempt, 'number'> & { id: string }) {
    const { _max } = await tablesIn(tx).attempt.aggregate({ where: { deliveryId }, _max: { number: true } })
    const number = (_max.number ?? 0) + 1
    await tablesIn(tx).attempt.create({ data: { ...attempt, deliveryId, number } })
    return number
  },

  /** Ends a claimed delivery; false where the claim is not ours any more. */
  async finish(
    tx: Transaction,
    { id, claimedUntil }: ClaimedDelivery,
    status: DeliveryState,
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
      select: { endpoint: { select: { clientId: true } } },
    })
    const alerts = await database.tables.alert.findMany({
      where: { deliveries: { some: pending } },
      distinct: ['accountId'],
      select: { accountId: true },
    })
    const accountIds = alerts.flatMap(({ accountId }) => accountId ?? [])
    return delivery && { clientId: delivery.endpoint.clientId, accountIds }
  },

  /** Moves a consent's PENDING deliveries to another that covers their account and was given before they were planned. */
  async moveToConsent(
    from: string,
    to: { readonly consentId: string; readonly accountIds: readonly string[]; readonly grantedAt: Date },
  ): Promise<void> {
    await database.tables.delivery.updateMany({
      where: {
        consentId: from,
        status: 'PENDING',
        createdAt: { gte: to.grantedAt },
        alert: { accountId: { in: [...to.accountIds] } },
      },
      data: { consentId: to.consentId },
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

  /** A client's deliveries, the newest first, after the given one. */
  async listForClient(
    clientId: string,
    { statuses, endpointId }: DeliveryFilter,
    after: Delivery | null,
    limit: number,
  ): Promise<Delivery[]> {
    // One ordered walk for each endpoint and status, of which each reads no more than the page.
    const rows = await database.query<ClaimedRow & { status: DeliveryState }>(
      'deliveries-of-client',
      CLIENT_DELIVERIES_SQL,
      [
        clientId,
        endpointId ?? null,
        [...new Set(statuses ?? DELIVERY_STATES)],
        after?.createdAt ?? null,
        after?.id ?? null,
        limit,
      ],
    )
    return rows.map((row) => toDelivery(row, row.status))
  },

  /** The delivery, where it is this client's. */
  async find(clientId: string, id: string): Promise<Delivery | null> {
    const row = await database.tables.delivery.findFirst({
      where: { id, endpoint: { clientId } },
      select: deliveryFields,
    })
    return row && { ...row, status: row.status as DeliveryState }
  },

  /** Queues what was delivered or failed once more, with a new schedule; false where it is still on its way or was dropped. */
  async requeue(tx: Transaction, id: string, at: Date): Promise<boolean> {
    const { count: countAttempt } = await tablesIn(tx).delivery.updateMany({
      where: { id, status: { in: ['DELIVERED', 'FAILED'] } },
      data: {
        status: 'PENDING',
        nextAttemptAt: at,
        claimedUntil: null,
        endedAt: null,
        attemptCount: 0,
        scheduleStartedAt: at,
      },
    })
    return countAttempt === 1
  },

  async setEndpointStatus(tx: Transaction, id: string, status: WebhookEndpoint['status']): Promise<void> {
    await tablesIn(tx).webhookEndpoint.update({ where: { id }, data: { status } })
  },

  async listAttempts(deliveryIds: readonly string[]): Promise<(Attempt & { deliveryId: string })[]> {
    const rows = await database.tables.attempt.findMany({
      where: { deliveryId: { in: [...deliveryIds] } },
      orderBy: { number: 'asc' },
      select: { deliveryId: true, number: true, at: true, status: true, outcome: true, failureCause: true },
    })
    return rows.map(({ outcome, failureCause, ...row }) => ({
      ...row,
      outcome: outcome as AttemptOutcome,
      failureCause: failureCause as PublicFailureCause | null,
    }))
  },
})

/** The store as `attempts.ts` takes it. */
export type DeliveryStore = ReturnType<typeof deliveryStore>
