import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { OutboxMessage, OutboxTopic } from './model.ts'

/** The channel on which a commit with new messages wakes the workers. */
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
  readonly groupId: string | null
}

const toMessage = (row: ClaimedRow): OutboxMessage => ({
  id: row.id,
  topic: row.topic as OutboxTopic,
  subjectId: row.subject_id,
  groupId: row.group_id ?? row.subject_id,
  attemptCount: row.attempt_count,
  claimedUntil: row.claimed_until,
})

/** Messages: added with a change, claimed with a lease, then processed or rescheduled. */
export const outboxStore = (database: Database) => ({
  /** Adds a message that is due at `at`. The commit wakes the workers of all processes. */
  async add(tx: Transaction, message: NewMessage, at: Date): Promise<void> {
    await tablesIn(tx).outboxMessage.create({ data: { ...message, nextAttemptAt: at } })
    await database.notify(OUTBOX_CHANNEL, '', tx)
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
    const rows = await database.tables.$queryRaw<ClaimedRow[]>`
      with due as (
        select id, next_attempt_at, coalesce(group_id, subject_id) as group_id from outbox_message
        where processed_at is null and next_attempt_at <= ${now} and topic = any(${[...topics]})
          and coalesce(claimed_until <= statement_timestamp(), true)
      ), ranked as (
        select due.id, next_attempt_at,
          coalesce(value::int, 0) + row_number() over (partition by group_id order by next_attempt_at) as place
        from due left join jsonb_each_text(${JSON.stringify(Object.fromEntries(inFlightByGroup))}::jsonb) on key = group_id
      )
      update outbox_message set claimed_until = statement_timestamp() + ${leaseMs}::int * interval '1 millisecond'
      where id in (
        select id from outbox_message where processed_at is null and next_attempt_at <= ${now}
          and coalesce(claimed_until <= statement_timestamp(), true) and id in (
          select id from ranked where place <= ${perGroup}::int order by place, next_attempt_at limit ${freeSlots}::int)
        for update skip locked)
      returning id, topic, subject_id, group_id, attempt_count, claimed_until`
    return rows.map(toMessage)
  },

  /** Marks the message as processed, even if another process has claimed it since. */
  async markProcessed(id: string, at: Date): Promise<void> {
    await database.tables.outboxMessage.updateMany({ where: { id, processedAt: null }, data: { processedAt: at } })
  },

  /** Counts a failed attempt and schedules the next one, unless somebody else has claimed the message since. */
  async reschedule({ id, claimedUntil }: OutboxMessage, nextAttemptAt: Date): Promise<void> {
    await database.tables.outboxMessage.updateMany({
      where: { id, processedAt: null, claimedUntil },
      data: { nextAttemptAt, claimedUntil: null, attemptCount: { increment: 1 } },
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

  /** The number of messages that are not processed; counts at most `limit`. */
  async countPending(limit: number): Promise<number> {
    const [row] = await database.tables.$queryRaw<{ count: number }[]>`
      select count(*)::int as count from (
        select from outbox_message where processed_at is null order by next_attempt_at limit ${limit}) as open`
    return row!.count
  },
})
