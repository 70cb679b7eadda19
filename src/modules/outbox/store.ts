import { later } from '../../kernel/clock.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { within, type Database } from '../../storage/database.ts'
import { retryDelayMs, type OutboxMessage, type OutboxTopic } from './model.ts'

/** The channel on which a commit with new messages wakes the workers. */
export const OUTBOX_CHANNEL = 'guichet_outbox'

interface ClaimedRow {
  id: string
  topic: string
  subject_id: string
  attempt_count: number
}

/** Messages in the table: added with a change, claimed with a lease, then done or put off. */
export const outboxStore = (database: Database) => ({
  async add(tx: Transaction, id: string, topic: OutboxTopic, subjectId: string, at: Date): Promise<void> {
    await within(tx).outboxMessage.create({ data: { id, topic, subjectId, nextAttemptAt: at } })
    await database.notify(OUTBOX_CHANNEL, '', tx)
  },

  /** Takes up to `limit` due messages of these topics that nobody else holds; each is ours until its lease ends. */
  async claim(topics: readonly OutboxTopic[], limit: number, now: Date, leaseMs: number): Promise<OutboxMessage[]> {
    const rows = await database.tables.$queryRaw<ClaimedRow[]>`
      update outbox_message set next_attempt_at = ${later(now, leaseMs)}, attempt_count = attempt_count + 1
      where id in (
        select id from outbox_message where done_at is null and next_attempt_at <= ${now} and topic = any(${[...topics]})
        order by next_attempt_at limit ${limit} for update skip locked)
      returning id, topic, subject_id, attempt_count`
    return rows.map((row) => ({
      id: row.id,
      topic: row.topic as OutboxTopic,
      subjectId: row.subject_id,
      attemptCount: row.attempt_count,
    }))
  },

  async done(id: string, at: Date): Promise<void> {
    await database.tables.outboxMessage.update({ where: { id }, data: { doneAt: at } })
  },

  async putOff({ id, attemptCount }: OutboxMessage, now: Date): Promise<void> {
    await database.tables.outboxMessage.update({
      where: { id },
      data: { nextAttemptAt: later(now, retryDelayMs(attemptCount)) },
    })
  },

  async sweep(before: Date): Promise<number> {
    return (await database.tables.outboxMessage.deleteMany({ where: { doneAt: { lt: before } } })).count
  },

  open: (): Promise<number> => database.tables.outboxMessage.count({ where: { doneAt: null } }),
})
