import { later } from '../../kernel/clock.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { within, type Database } from '../../storage/database.ts'
import type { Attempt, AttemptOutcome, Delivery, DeliveryFilter, DeliveryState, WebhookEndpoint } from './model.ts'

interface ClaimedRow {
  id: string
  alert_id: string
  endpoint_id: string
  consent_id: string
  attempt_count: number
  created_at: Date
  next_attempt_at: Date
}

/** So many of those that are due are looked at when some are taken. */
const LOOKED_AT = 1_000

const deliveryFields = {
  id: true,
  alertId: true,
  endpointId: true,
  consentId: true,
  state: true,
  attemptCount: true,
  createdAt: true,
  nextAttemptAt: true,
} as const

const endpointFields = { id: true, clientId: true, url: true, state: true } as const
const toEndpoint = (row: { id: string; clientId: string; url: string; state: string }): WebhookEndpoint => ({
  ...row,
  state: row.state as WebhookEndpoint['state'],
})

/** Endpoints, deliveries and attempts; deliveries are claimed with a lease. */
export const deliveryStore = (database: Database) => ({
  /** False where the client has an endpoint at this address already. */
  async addEndpoint(tx: Transaction, endpoint: WebhookEndpoint & { sealedSecret: string }): Promise<boolean> {
    return (await within(tx).webhookEndpoint.createMany({ data: [endpoint], skipDuplicates: true })).count === 1
  },

  async endpoints(
    where: { clientId?: string; state?: WebhookEndpoint['state'] },
    tx?: Transaction,
  ): Promise<WebhookEndpoint[]> {
    const { webhookEndpoint } = tx ? within(tx) : database.tables
    return (await webhookEndpoint.findMany({ where, select: endpointFields, orderBy: { createdAt: 'asc' } })).map(
      toEndpoint,
    )
  },

  async endpoint(id: string): Promise<(WebhookEndpoint & { sealedSecret: string }) | null> {
    const row = await database.tables.webhookEndpoint.findUnique({
      where: { id },
      select: { ...endpointFields, sealedSecret: true },
    })
    return row && { ...toEndpoint(row), sealedSecret: row.sealedSecret }
  },

  async plan(
    deliveries: readonly { id: string; alertId: string; endpointId: string; consentId: string; nextAttemptAt: Date }[],
  ): Promise<void> {
    await database.tables.delivery.createMany({
      data: deliveries.map((delivery) => ({ ...delivery, state: 'PENDING' })),
      skipDuplicates: true,
    })
  },

  /**
   * Takes due deliveries that nobody else holds, at most so many in all and of each endpoint, where those count that are
   * under way; each is ours until its lease ends.
   */
  async claim(
    { most, each, busy }: { most: number; each: number; busy: ReadonlyMap<string, number> },
    now: Date,
    leaseMs: number,
  ): Promise<Delivery[]> {
    const full = [...busy].flatMap(([id, count]) => (count < each ? [] : [id]))
    const rows = await database.tables.$queryRaw<ClaimedRow[]>`
      update delivery set next_attempt_at = ${later(now, leaseMs)}, attempt_count = attempt_count + 1
      where id in (
        select id from delivery where state = 'PENDING' and next_attempt_at <= ${now} and id in (
          select id from (
            select id, endpoint_id, row_number() over (partition by endpoint_id order by next_attempt_at) as place from (
              select id, endpoint_id, next_attempt_at from delivery
              where state = 'PENDING' and next_attempt_at <= ${now} and endpoint_id <> all(${full})
              order by next_attempt_at limit ${LOOKED_AT}) as due) as ranked
          left join jsonb_each_text(${JSON.stringify(Object.fromEntries(busy))}::jsonb) as busy (endpoint, count)
            on busy.endpoint = endpoint_id
          where place + coalesce(busy.count::int, 0) <= ${each})
        order by next_attempt_at limit ${most} for update skip locked)
      returning id, alert_id, endpoint_id, consent_id, attempt_count, created_at, next_attempt_at`
    return rows.map((row) => ({
      id: row.id,
      alertId: row.alert_id,
      endpointId: row.endpoint_id,
      consentId: row.consent_id,
      state: 'PENDING',
      attemptCount: row.attempt_count,
      createdAt: row.created_at,
      nextAttemptAt: row.next_attempt_at,
    }))
  },

  async addAttempt(deliveryId: string, attempt: Attempt & { id: string }, tx: Transaction): Promise<void> {
    await within(tx).attempt.createMany({ data: [{ ...attempt, deliveryId }], skipDuplicates: true })
  },

  async settle(id: string, state: DeliveryState, at: Date, tx: Transaction): Promise<void> {
    await within(tx).delivery.updateMany({ where: { id, state: 'PENDING' }, data: { state, endedAt: at } })
  },

  async putOff(id: string, nextAttemptAt: Date, tx: Transaction): Promise<void> {
    await within(tx).delivery.updateMany({ where: { id, state: 'PENDING' }, data: { nextAttemptAt } })
  },

  async drop(consentId: string, at: Date): Promise<number> {
    return (
      await database.tables.delivery.updateMany({
        where: { consentId, state: 'PENDING' },
        data: { state: 'DROPPED', endedAt: at },
      })
    ).count
  },

  /** A client's deliveries, the newest first, after the given one. */
  async ofClient(
    clientId: string,
    { states, endpointId }: DeliveryFilter,
    after: Delivery | null,
    limit: number,
  ): Promise<Delivery[]> {
    const rows = await database.tables.delivery.findMany({
      where: {
        endpoint: { clientId },
        ...(states && { state: { in: [...states] } }),
        ...(endpointId && { endpointId }),
        ...(after && {
          OR: [{ createdAt: { lt: after.createdAt } }, { createdAt: after.createdAt, id: { lt: after.id } }],
        }),
      },
      orderBy: [{ createdAt: 'desc' }, { id: 'desc' }],
      take: limit,
      select: deliveryFields,
    })
    return rows.map((row) => ({ ...row, state: row.state as DeliveryState }))
  },

  /** The delivery, where it is this client's. */
  async find(clientId: string, id: string): Promise<Delivery | null> {
    const row = await database.tables.delivery.findFirst({
      where: { id, endpoint: { clientId } },
      select: deliveryFields,
    })
    return row && { ...row, state: row.state as DeliveryState }
  },

  /** Queues what was delivered or failed once more; false where it is still on its way or was dropped. */
  async again(tx: Transaction, id: string, at: Date): Promise<boolean> {
    const { count } = await within(tx).delivery.updateMany({
      where: { id, state: { in: ['DELIVERED', 'FAILED'] } },
      data: { state: 'PENDING', nextAttemptAt: at, endedAt: null },
    })
    return count === 1
  },

  async moveEndpoint(tx: Transaction, id: string, state: WebhookEndpoint['state']): Promise<void> {
    await within(tx).webhookEndpoint.update({ where: { id }, data: { state } })
  },

  async attempts(deliveryIds: readonly string[]): Promise<(Attempt & { deliveryId: string })[]> {
    const rows = await database.tables.attempt.findMany({
      where: { deliveryId: { in: [...deliveryIds] } },
      orderBy: { number: 'asc' },
      select: { deliveryId: true, number: true, at: true, status: true, outcome: true },
    })
    return rows.map((row) => ({ ...row, outcome: row.outcome as AttemptOutcome }))
  },
})
