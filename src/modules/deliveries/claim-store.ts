import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { toDelivery, type DeliveryRow } from './delivery-row.ts'
import type { ClaimedDelivery, DeliveryStatus } from './model.ts'

/** How many deliveries one call may claim. Attempts in flight count towards the limits of their client and endpoint. */
interface ClaimLimits {
  /** The attempts that this process can start now. */
  readonly freeSlots: number
  readonly perClient: number
  readonly perEndpoint: number
  /** The last `reserved` slots are for clients with at most `reservedPerClient` attempts. */
  readonly reserved: number
  readonly reservedPerClient: number
  readonly inFlightByEndpoint: ReadonlyMap<string, number>
}

/**
 * Claims of deliveries, with a lease by the database's clock. A claimed delivery is changed only if `claimedUntil` is still that
 * of the claim: after the lease, another process may have claimed it.
 */
export const claimStore = (database: Database) => ({
  /**
   * Claims due deliveries that no other process has claimed, each for `leaseMs`. The order is round-robin: the first delivery
   * of every client, then the second of every client; the same among the endpoints of a client. Reads at most `perEndpoint`
   * rows of each endpoint, however many are due.
   */
  async claim(
    { freeSlots, inFlightByEndpoint, ...limits }: ClaimLimits,
    now: Date,
    leaseMs: number,
  ): Promise<ClaimedDelivery[]> {
    const rows = await database.tables.$queryRaw<(DeliveryRow & { claimed_until: Date })[]>`
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

  /** The number of pending deliveries whose next attempt is due, with claimed ones. Counts at most `limit`. */
  async countDue(now: Date, limit: number): Promise<number> {
    const [row] = await database.tables.$queryRaw<{ count: number }[]>`
      select count(*)::int as count from (
        select from webhook_endpoint endpoint cross join lateral (
          select from delivery where webhook_endpoint_id = endpoint.id and status = 'PENDING' and next_attempt_at <= ${now}
          limit ${limit}::int) as due
        limit ${limit}::int) as counted`
    return row!.count
  },

  /** Extends the claim to `leaseMs` from now. Returns `undefined` if another process has claimed the delivery since. */
  async renew(claimed: ClaimedDelivery, leaseMs: number): Promise<ClaimedDelivery | undefined> {
    const [row] = await database.tables.$queryRaw<{ until: Date }[]>`
      update delivery set claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id = ${claimed.id} and status = 'PENDING' and claimed_until = ${claimed.claimedUntil}
      returning claimed_until as until`
    return row && { ...claimed, claimedUntil: row.until }
  },

  /** Releases a claim without an attempt, so that the delivery is due again. */
  async release({ id, claimedUntil }: ClaimedDelivery): Promise<void> {
    await database.tables.delivery.updateMany({ where: { id, claimedUntil }, data: { claimedUntil: null } })
  },

  /**
   * Counts an attempt that has an outcome, and stores the consent that it was sent under. Returns `undefined` and changes
   * nothing if the claim was lost. In both cases, locks the row until `tx` ends.
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

  /** Ends a claimed delivery. Returns false if the claim was lost. */
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

  /** Schedules the next attempt of a claimed delivery and releases the claim. Returns false if the claim was lost. */
  async reschedule(tx: Transaction, { id, claimedUntil }: ClaimedDelivery, nextAttemptAt: Date): Promise<boolean> {
    const where = { id, status: 'PENDING', claimedUntil }
    return (await tablesIn(tx).delivery.updateMany({ where, data: { nextAttemptAt, claimedUntil: null } })).count === 1
  },
})

/** The store of claims. */
export type ClaimStore = ReturnType<typeof claimStore>
