import type { ErrorCode } from '../../kernel/errors.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database, type Sql } from '../../storage/database.ts'
import {
  OUTBOX_TOPICS,
  topicsOf,
  type FailingMessages,
  type HandledTopic,
  type LockedMessage,
  type OutboxMessage,
  type OutboxTopic,
} from './model.ts'

/** The channel on which a commit with new messages names their queues, to wake the workers. */
export const OUTBOX_CHANNEL = 'guichet_outbox'

interface ClaimedRow {
  id: string
  topic: string
  subject_id: string
  group_id: string | null
  attempt_count: number
  claimed_until: Date
}

/** A message to add. */
interface NewMessage {
  readonly id: string
  readonly topic: OutboxTopic
  readonly subjectId: string
  /** Null for the topics that are planned. */
  readonly groupId: string | null
}

const ADD_ALL_SQL = `
  with added as (
    insert into outbox_message (id, topic, subject_id, group_id, next_attempt_at)
    select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::timestamptz[]))
  select pg_notify('${OUTBOX_CHANNEL}', queue) from unnest($6::text[]) as queue`
const LOCK_DUE_SQL = `
  select id, subject_id as "subjectId", attempt_count as "attemptCount" from outbox_message
  where topic = $1 and processed_at is null and next_attempt_at <= $2
  order by next_attempt_at limit $3 for update skip locked`
const POSTPONE_SQL = `
  update outbox_message set next_attempt_at = $2, attempt_count = attempt_count + 1, last_error_code = $3
  where id = $1 and processed_at is null`
const FAILING_SQL = `
  select topic, count(*)::int as count, min(created_at) as since, max(attempt_count) as "maxAttemptCount",
    (array_agg(last_error_code order by created_at))[1] as "lastErrorCode"
  from (
    select topic, created_at, attempt_count, last_error_code from outbox_message
    where processed_at is null and attempt_count >= 10 order by created_at limit 10000) as failing
  group by topic`

/** The topics whose messages are claimed in turn of their groups, as the partial index names them. Constants of this module. */
const GROUPED_TOPICS = [...topicsOf('SLOW'), ...topicsOf('URGENT')].map((topic) => `'${topic}'`).join(', ')
const OPEN = `processed_at is null and topic in (${GROUPED_TOPICS})`
const DUE = `${OPEN} and next_attempt_at <= $2 and coalesce(claimed_until <= statement_timestamp(), true)`

/**
 * Claims due messages in turn: the first of every group, then the second of every group. It steps from group to group in the index and
 * reads at most `$3` of each topic and group, however many wait. A message without a group is one by itself; of these, it reads the
 * oldest.
 *
 * Parameters: the topics, now, the messages of one group including those in flight, those in flight by group (JSON), the messages to
 * claim, and the lease in milliseconds.
 */
export const CLAIM_ROUND_ROBIN_SQL = `
  with recursive groups as (
    select wanted.topic, (
      select min(group_id) from outbox_message where ${OPEN} and topic = wanted.topic) as group_id
    from unnest($1::text[]) as wanted (topic)
    union all
    select topic, (
      select min(group_id) from outbox_message
      where ${OPEN} and topic = groups.topic and group_id > groups.group_id)
    from groups where group_id is not null
  ), due as (
    select oldest.id, oldest.next_attempt_at, groups.group_id from groups cross join lateral (
      select id, next_attempt_at from outbox_message
      where ${DUE} and topic = groups.topic and group_id = groups.group_id
      order by next_attempt_at limit $3::int) as oldest
    union all
    select id, next_attempt_at, subject_id from unnest($1::text[]) as wanted (topic) cross join lateral (
      select id, next_attempt_at, subject_id from outbox_message
      where ${DUE} and outbox_message.topic = wanted.topic and group_id is null
      order by group_id, next_attempt_at limit $5::int) as ungrouped
  ), ranked as (
    select due.id, next_attempt_at,
      coalesce(value::int, 0) + row_number() over (partition by group_id order by next_attempt_at) as place
    from due left join jsonb_each_text($4::jsonb) on key = group_id
  )
  update outbox_message set claimed_until = statement_timestamp() + $6::int * interval '1 millisecond'
  where id in (
    select id from outbox_message where processed_at is null and next_attempt_at <= $2
      and coalesce(claimed_until <= statement_timestamp(), true) and id in (
      select id from ranked where place <= $3 order by place, next_attempt_at limit $5)
    for update skip locked)
  returning id, topic, subject_id, group_id, attempt_count, claimed_until`

const toMessage = (row: ClaimedRow): OutboxMessage => ({
  id: row.id,
  topic: row.topic as HandledTopic,
  subjectId: row.subject_id,
  groupId: row.group_id ?? row.subject_id,
  attemptCount: row.attempt_count,
  claimedUntil: row.claimed_until,
})

/** Messages: added with a change, claimed with a lease, then processed or rescheduled. */
export const outboxStore = (database: Database) => ({
  /** Adds a message that is due at `at`. The commit wakes the workers of its queue in all processes. */
  async add(tx: Transaction, message: NewMessage, at: Date): Promise<void> {
    await tablesIn(tx).outboxMessage.create({ data: { ...message, nextAttemptAt: at } })
    await database.notify(OUTBOX_CHANNEL, OUTBOX_TOPICS[message.topic], tx)
  },

  /** Adds messages, each due at its time. The commit wakes the workers of their queues in all processes. */
  async addAll(sql: Sql, messages: readonly (NewMessage & { readonly dueAt: Date })[]): Promise<void> {
    await sql.query('add-messages', ADD_ALL_SQL, [
      messages.map(({ id }) => id),
      messages.map(({ topic }) => topic),
      messages.map(({ subjectId }) => subjectId),
      messages.map(({ groupId }) => groupId),
      messages.map(({ dueAt }) => dueAt),
      [...new Set(messages.map(({ topic }) => OUTBOX_TOPICS[topic]))],
    ])
  },

  /** Locks up to `limit` due messages of a topic that no other transaction has locked, oldest first. */
  lockDue: (sql: Sql, topic: OutboxTopic, limit: number, now: Date): Promise<LockedMessage[]> =>
    sql.query('lock-due-messages', LOCK_DUE_SQL, [topic, now, limit]),

  /** Deletes messages that the transaction has locked. */
  async deleteAll(sql: Sql, ids: readonly string[]): Promise<void> {
    await sql.query('delete-messages', 'delete from outbox_message where id = any($1)', [ids])
  },

  /** Counts a failed attempt of a message that nobody has claimed, and schedules the next one. */
  async postpone(id: string, nextAttemptAt: Date, errorCode: ErrorCode): Promise<void> {
    await database.delivery.query('postpone-message', POSTPONE_SQL, [id, nextAttemptAt, errorCode])
  },

  /** Claims up to `limit` due messages of these topics that no other process has claimed, each for `leaseMs`. */
  async claim(topics: readonly OutboxTopic[], limit: number, now: Date, leaseMs: number): Promise<OutboxMessage[]> {
    const rows = await database.tables.$queryRaw<ClaimedRow[]>`
      update outbox_message set claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id in (
        select id from outbox_message where processed_at is null and next_attempt_at <= ${now} and topic = any(${[...topics]})
          and coalesce(claimed_until <= statement_timestamp(), true)
        order by next_attempt_at limit ${limit} for update skip locked)
      returning id, topic, subject_id, group_id, attempt_count, claimed_until`
    return rows.map(toMessage)
  },

  /**
   * Claims like `claim`, but round-robin: the first message of every group, then the second of every group. A group gets at most
   * `perGroup` messages, including those that this process has in flight.
   */
  async claimRoundRobin(
    topics: readonly OutboxTopic[],
    {
      freeSlots,
      perGroup,
      inFlightByGroup,
    }: { freeSlots: number; perGroup: number; inFlightByGroup: ReadonlyMap<string, number> },
    now: Date,
    leaseMs: number,
  ): Promise<OutboxMessage[]> {
    const rows = await database.query<ClaimedRow>('claim-round-robin', CLAIM_ROUND_ROBIN_SQL, [
      topics,
      now,
      perGroup,
      JSON.stringify(Object.fromEntries(inFlightByGroup)),
      freeSlots,
      leaseMs,
    ])
    return rows.map(toMessage)
  },

  /** Marks the message as processed, even if another process has claimed it since. */
  async markProcessed(id: string, at: Date): Promise<void> {
    await database.tables.outboxMessage.updateMany({ where: { id, processedAt: null }, data: { processedAt: at } })
  },

  /** Counts a failed attempt and schedules the next one, unless somebody else has claimed the message since. */
  async reschedule({ id, claimedUntil }: OutboxMessage, nextAttemptAt: Date, lastErrorCode: ErrorCode): Promise<void> {
    await database.tables.outboxMessage.updateMany({
      where: { id, processedAt: null, claimedUntil },
      data: { nextAttemptAt, claimedUntil: null, attemptCount: { increment: 1 }, lastErrorCode },
    })
  },

  /** Deletes messages that were processed before this time. Returns their number. */
  async deleteProcessedBefore(before: Date): Promise<number> {
    return deleteInBatches(database, {
      table: 'outbox_message',
      where: 'processed_at < $1',
      orderBy: 'processed_at',
      values: [before],
    })
  },

  /** The pending messages of which ten attempts failed, by topic; the oldest 10,000. */
  findFailing: (): Promise<FailingMessages[]> => database.query('find-failing-messages', FAILING_SQL, []),

  /** The number of messages that are not processed; counts at most `limit`. */
  async countPending(limit: number): Promise<number> {
    const [row] = await database.tables.$queryRaw<{ count: number }[]>`
      select count(*)::int as count from (
        select from outbox_message where processed_at is null order by next_attempt_at limit ${limit}) as open`
    return row!.count
  },
})
