import type { Sql } from '../../storage/database.ts'
import type { DeliveryAttemptOutcome, DeliveryStatus, SetError } from './model.ts'

/** The outcome of one attempt of a claimed delivery, as it is stored. */
export interface StoredOutcome {
  readonly deliveryId: string
  /** Identifies the claim. */
  readonly claimedUntil: Date
  readonly attemptId: string
  readonly attemptedAt: Date
  readonly httpStatus: number | null
  readonly outcome: DeliveryAttemptOutcome
  readonly failureCause: string | null
  readonly setError: SetError | null
  /** The consent that it was sent under; null for a test event. */
  readonly consentId: string | null
  /** The status from now on. */
  readonly status: DeliveryStatus
  /** When the next attempt is due, if PENDING. */
  readonly nextAttemptAt: Date | null
}

/** What became of an outcome. */
export interface SettledOutcome {
  readonly deliveryId: string
  readonly attemptId: string
  /** The number of the attempt. */
  readonly number: number
  /** Whether the claim was still held: otherwise the attempt was stored and the delivery left as it is. */
  readonly isHeld: boolean
  /** Whether the attempt was not stored before. */
  readonly isNew: boolean
}

/**
 * An attempt that is stored already stays as it is: its transaction may have committed although the response was lost. Rows are
 * locked in the order of their IDs, and numbered by their locked state: an attempt after a lost claim gets a number of its own. A delivery can be in one batch twice, if it was claimed again after its lease: then the batch fails and is split.
 */
const SETTLE_SQL = `
  with outcome as (
    select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::timestamptz[], $5::int[], $6::text[], $7::text[], $8::text[],
      $9::text[], $10::timestamptz[], $11::text[]) as outcome (delivery_id, claimed_until, attempt_id, attempted_at, http_status,
      outcome, failure_cause, consent_id, status, next_attempt_at, set_error)
    where not exists (select from delivery_attempt where id = attempt_id)
  ), locked as (
    select delivery.id, delivery.status = 'PENDING' and delivery.claimed_until is not distinct from outcome.claimed_until as held
    from delivery join outcome on delivery.id = outcome.delivery_id order by delivery.id for update of delivery
  ), settled as (
    update delivery set last_attempt_number = last_attempt_number + 1,
      attempt_count = attempt_count + case when held then 1 else 0 end,
      consent_id = case when held then outcome.consent_id else delivery.consent_id end,
      status = case when held then outcome.status else delivery.status end,
      next_attempt_at = case when held then coalesce(outcome.next_attempt_at, delivery.next_attempt_at) else delivery.next_attempt_at end,
      ended_at = case when held and outcome.status <> 'PENDING' then $12 else delivery.ended_at end,
      claimed_until = case when held then null else delivery.claimed_until end
    from outcome join locked on locked.id = outcome.delivery_id where delivery.id = outcome.delivery_id
    returning delivery.id, attempt_id, last_attempt_number as number, held
  ), added as (
    insert into delivery_attempt (id, delivery_id, number, attempted_at, http_status, outcome, failure_cause, set_error)
    select settled.attempt_id, settled.id, number, attempted_at, http_status, outcome, failure_cause, set_error
    from settled join outcome on outcome.attempt_id = settled.attempt_id
  )
  select id as "deliveryId", attempt_id as "attemptId", number, held as "isHeld", true as "isNew" from settled
  union all select delivery_id, id, number, false, false from delivery_attempt where id = any($3::text[])`

// `is true` hides the condition from the indexes of pending deliveries: they are many, and these are found by their IDs.
const DROP_SQL = `
  with locked as (
    select delivery.id from delivery join unnest($1::text[], $2::timestamptz[]) as dropped (id, claimed_until)
      on delivery.id = dropped.id
    where delivery.id = any($1) and (delivery.status = 'PENDING') is true and delivery.claimed_until = dropped.claimed_until
    order by delivery.id for update of delivery)
  update delivery set status = 'DROPPED', ended_at = $3, claimed_until = null from locked where delivery.id = locked.id`

// Rows that are locked are being ended, and waiting for them could be a deadlock.
const POSTPONE_SQL = `
  update delivery set next_attempt_at = later.at from (
    select delivery.id, failed.at
    from unnest($1::text[], $2::text[], $3::int[], $4::timestamptz[]) as failed (webhook_endpoint_id, customer_id, sequence, at)
    join delivery on delivery.webhook_endpoint_id = failed.webhook_endpoint_id and delivery.customer_id = failed.customer_id
      and delivery.sequence > failed.sequence and delivery.status = 'PENDING' and delivery.in_order
      and delivery.next_attempt_at < failed.at
    for update of delivery skip locked) as later
  where delivery.id = later.id`

/** A delivery in order that is attempted again. */
export interface PostponedOrder {
  readonly webhookEndpointId: string
  readonly customerId: string
  readonly sequence: number
  readonly nextAttemptAt: Date
}

/** Stores what became of claimed deliveries, for many in one statement. */
export const settlementStore = {
  /** Stores attempts and, where the claim is still held, ends or reschedules the delivery. */
  settle: (sql: Sql, outcomes: readonly StoredOutcome[], now: Date): Promise<SettledOutcome[]> =>
    sql.query('settle-deliveries', SETTLE_SQL, [
      outcomes.map(({ deliveryId }) => deliveryId),
      outcomes.map(({ claimedUntil }) => claimedUntil),
      outcomes.map(({ attemptId }) => attemptId),
      outcomes.map(({ attemptedAt }) => attemptedAt),
      outcomes.map(({ httpStatus }) => httpStatus),
      outcomes.map(({ outcome }) => outcome),
      outcomes.map(({ failureCause }) => failureCause),
      outcomes.map(({ consentId }) => consentId),
      outcomes.map(({ status }) => status),
      outcomes.map(({ nextAttemptAt }) => nextAttemptAt),
      outcomes.map(({ setError }) => setError),
      now,
    ]),

  /** Postpones the deliveries that wait for these until they are attempted again. */
  async postponeFollowing(sql: Sql, failed: readonly PostponedOrder[]): Promise<void> {
    await sql.query('postpone-following', POSTPONE_SQL, [
      failed.map(({ webhookEndpointId }) => webhookEndpointId),
      failed.map(({ customerId }) => customerId),
      failed.map(({ sequence }) => sequence),
      failed.map(({ nextAttemptAt }) => nextAttemptAt),
    ])
  },

  /** Ends claimed deliveries as DROPPED without an attempt. */
  async drop(
    sql: Sql,
    claimed: readonly { readonly id: string; readonly claimedUntil: Date }[],
    now: Date,
  ): Promise<void> {
    await sql.query('drop-deliveries', DROP_SQL, [
      claimed.map(({ id }) => id),
      claimed.map(({ claimedUntil }) => claimedUntil),
      now,
    ])
  },
}
