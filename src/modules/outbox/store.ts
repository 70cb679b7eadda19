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

/** A message that is added with a change. */
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

/** Messages in the table: added with a change, claimed with a lease, then processed or put off. */
export const outboxStore = (database: Database) => ({
  async add(tx: Transaction, message: NewMessage, at: Date): Promise<void> {
    await tablesIn(tx).outboxMessage.create({ data: { ...message, nextAttemptAt: at } })
    await database.notify(OUTBOX_CHANNEL, '', tx)
  },

  /** Claims up to `limit` due messages of these topics that nobody else holds; each is ours until its lease ends. */
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
   * The same where groups take turns: everybody's first comes before anybody's second, and a group gets at most `group` places,
   * those included that `busy` counts as under way in this process.
   */
  async claimFairly(
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

  /** Notes that the message was handled, which is true whoever else has claimed it since. */
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

  async sweep(before: Date): Promise<number> {
    return deleteInBatches(database, {
      table: 'outbox_message',
      where: 'processed_at < $1',
      orderBy: 'processed_at',
      values: [before],
    })
  },

  /** How many messages are open; at most `limit` are counted. */
  async countPending(limit: number): Promise<number> {
    const [row] = await database.tables.$queryRaw<{ count: number }[]>`
      select count(*)::int as count from (
        select from outbox_message where processed_at is null order by next_attempt_at limit ${limit}) as open`
    return row!.count
  },
})
