import type { Slice } from '../../kernel/pagination.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Grant } from '../consents/index.ts'
import { toDelivery, type DeliveryRow } from './delivery-row.ts'
import { DELIVERY_STATUSES, type Delivery, type DeliveryFilter, type DeliveryStatus } from './model.ts'

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

/** Reads one index range for each endpoint and status; each returns at most one page. */
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

/** Deliveries, except their claims (claim-store.ts) and their replay (replay-store.ts). */
export const deliveryStore = (database: Database) => ({
  /** Adds the deliveries, except those whose alert and endpoint have one already. */
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

  /** The client and the accounts of the consent's PENDING deliveries, or null if there are none. */
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

  /** Moves the PENDING deliveries of an account to another consent, if it was given before they were scheduled. */
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

  /** Ends the consent's PENDING deliveries as DROPPED. Returns their number. */
  async dropForConsent(consentId: string, at: Date): Promise<number> {
    return (
      await database.tables.delivery.updateMany({
        where: { consentId, status: 'PENDING' },
        data: { status: 'DROPPED', endedAt: at },
      })
    ).count
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

  /** The client's delivery with this ID. */
  async find(clientId: string, id: string): Promise<Delivery | null> {
    const row = await database.tables.delivery.findFirst({
      where: { id, webhookEndpoint: { clientId } },
      select: deliveryFields,
    })
    return row && { ...row, status: row.status as DeliveryStatus }
  },

  /** The client's deliveries among these IDs. */
  async findMany(clientId: string, ids: readonly string[], tx?: Transaction): Promise<Delivery[]> {
    const { delivery } = tx ? tablesIn(tx) : database.tables
    const rows = await delivery.findMany({
      where: { id: { in: [...ids] }, webhookEndpoint: { clientId } },
      select: deliveryFields,
    })
    return rows.map((row) => ({ ...row, status: row.status as DeliveryStatus }))
  },
})

/** The store of deliveries. */
export type DeliveryStore = ReturnType<typeof deliveryStore>
