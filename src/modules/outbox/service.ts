import { toGatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { createInFlight } from '../../kernel/in-flight.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import { RETRIES, retryAt } from '../../kernel/retry.ts'
import type { Database, Sql } from '../../storage/database.ts'
import {
  OUTBOX_QUEUES,
  OUTBOX_TOPICS,
  topicsOf,
  type FailingMessages,
  type HandledTopic,
  type LockedMessage,
  type OutboxMessage,
  type OutboxQueue,
  type OutboxTopic,
  type PlannedTopic,
} from './model.ts'
import { OUTBOX_CHANNEL, outboxStore } from './store.ts'

/**
 * The handler of each topic whose messages are handled one by one. It can be called several times for one message, so it must be
 * idempotent.
 */
export type OutboxHandlers = Readonly<Record<HandledTopic, (subjectId: string) => Promise<void>>>

/** Messages about committed changes (transactional outbox). Any process can handle them; each is handled at least once. */
export type Outbox = ReturnType<typeof createOutbox>

type HandledQueue = Exclude<OutboxQueue, 'PLANNING'>

/** A message to add. */
export interface NewMessage {
  readonly topic: OutboxTopic
  readonly subjectId: string
  /** As for `enqueue`. */
  readonly groupId?: string
  /** When it is handled at the earliest; at once by default. */
  readonly dueAt?: Date
}

/** Messages of one `processBatch`. */
const BATCH_SIZE = 20
/**
 * Messages of one queue that `startDue` keeps in flight in one process: in total, and of one group. URGENT has more: a fraud concerns
 * many customers of a bank, and when connections to many banks hang, a message to another one must still find a slot.
 */
const CONCURRENCY: Readonly<Record<HandledQueue, { readonly total: number; readonly perGroup: number }>> = {
  FAST: { total: 40, perGroup: 4 },
  SLOW: { total: 40, perGroup: 4 },
  URGENT: { total: 256, perGroup: 16 },
}
/** The limit of `countPending`, which bounds the cost of counting. */
const MAX_COUNTED = 10_000
/** Longer than any handler takes, calls to a bank included. After it, messages of a process that was killed are due again. */
const LEASE_MS = 30_000

/** Dependencies of the outbox. */
interface OutboxDependencies {
  readonly database: Database
  readonly world: World
  readonly metrics: Pick<Metrics, 'jobFailures'>
}

/** Creates the outbox of one process. */
export function createOutbox({ database, world, metrics }: OutboxDependencies) {
  const store = outboxStore(database)
  const inFlightByQueue = { FAST: createInFlight(), SLOW: createInFlight(), URGENT: createInFlight() }

  async function handle(message: OutboxMessage, handlers: OutboxHandlers): Promise<void> {
    try {
      await handlers[message.topic](message.subjectId)
      await store.markProcessed(message.id, world.clock.now())
    } catch (error) {
      reportFailure(message.topic, message, error)
      await store.reschedule(message, nextAttemptAt(message.topic, message), toGatewayError(error).code)
    }
  }

  function reportFailure(topic: OutboxTopic, { id: messageId, attemptCount }: LockedMessage, error: unknown): void {
    world.log.warn('outbox.retry_scheduled', { messageId, topic, attempt: attemptCount + 1, trace: errorTrace(error) })
    metrics.jobFailures.inc({ job: topic })
  }

  function nextAttemptAt(topic: OutboxTopic, { attemptCount }: LockedMessage): Date {
    const schedule = OUTBOX_TOPICS[topic] === 'URGENT' ? RETRIES.alertResponse : RETRIES.outbox
    return retryAt(schedule, attemptCount + 1, world.randomness, world.clock.now())
  }

  return {
    /**
     * Adds a message in `tx`; it is handled after the commit. Messages of one `groupId`, such as a bank, share a concurrency
     * limit, so that a slow group leaves room for the others. Without one, the subject is the group.
     */
    enqueue: (tx: Transaction, topic: OutboxTopic, subjectId: string, groupId?: string): Promise<void> =>
      store.add(
        tx,
        { id: newId('msg', world.randomness), topic, subjectId, groupId: groupId ?? subjectId },
        world.clock.now(),
      ),

    /** Adds several messages in a transaction without Prisma. */
    async enqueueAll(sql: Sql, messages: readonly NewMessage[]): Promise<void> {
      const now = world.clock.now()
      const rows = messages.map(({ topic, subjectId, groupId = null, dueAt = now }) => ({
        id: newId('msg', world.randomness),
        topic,
        subjectId,
        groupId,
        dueAt,
      }))
      if (rows.length > 0) await store.addAll(sql, rows)
    },

    /**
     * Locks up to `limit` due messages of a topic until the transaction ends, oldest first. Other transactions skip them.
     */
    lockDue: (sql: Sql, topic: PlannedTopic, limit: number): Promise<LockedMessage[]> =>
      store.lockDue(sql, topic, limit, world.clock.now()),

    /** Removes locked messages, because the transaction has handled them. */
    deleteAll: (sql: Sql, ids: readonly string[]): Promise<void> => store.deleteAll(sql, ids),

    /** Logs and counts a failed attempt to handle a message that was locked, and schedules the next one. */
    postpone(topic: PlannedTopic, message: LockedMessage, error: unknown): Promise<void> {
      reportFailure(topic, message, error)
      return store.postpone(message.id, nextAttemptAt(topic, message), toGatewayError(error).code)
    },

    /** Handles up to 20 due messages and waits for them. Returns their number. A message that fails is retried later. */
    async processBatch(queue: HandledQueue, handlers: OutboxHandlers): Promise<number> {
      const messages = await store.claim(topicsOf(queue), BATCH_SIZE, world.clock.now(), LEASE_MS)
      await Promise.all(messages.map((message) => handle(message, handlers)))
      return messages.length
    },

    /**
     * Starts to handle due messages, as many as `CONCURRENCY` allows, and does not wait for them. Returns their number. Calls
     * `onEnd` when a message has ended, because another one may start then.
     */
    async startDue(queue: HandledQueue, handlers: OutboxHandlers, onEnd: () => void): Promise<number> {
      const inFlight = inFlightByQueue[queue]
      const { total, perGroup } = CONCURRENCY[queue]
      const freeSlots = total - inFlight.count
      if (freeSlots <= 0) return 0
      const limits = { freeSlots, perGroup, inFlightByGroup: inFlight.countByGroup() }
      const messages = await store.claimRoundRobin(topicsOf(queue), limits, world.clock.now(), LEASE_MS)
      for (const message of messages)
        inFlight.start(
          message.groupId,
          () =>
            handle(message, handlers).catch((error: unknown) =>
              world.log.error('outbox.reschedule_failed', { messageId: message.id, trace: errorTrace(error) }),
            ),
          onEnd,
        )
      return messages.length
    },

    /** Resolves once every message that `startDue` started has ended. */
    async waitUntilIdle(): Promise<void> {
      await Promise.all(Object.values(inFlightByQueue).map((inFlight) => inFlight.waitUntilIdle()))
    },

    /** Calls `wake` with each queue to which any process has committed new messages. Returns a function that stops this. */
    async onEnqueued(wake: (queue: OutboxQueue) => void): Promise<() => Promise<void>> {
      // A process of another version may name no queue, or one that is unknown here: that can be any.
      const { stop } = await database.listen(OUTBOX_CHANNEL, (payload) => {
        const named = OUTBOX_QUEUES.filter((queue) => queue === payload)
        for (const queue of named.length > 0 ? named : OUTBOX_QUEUES) wake(queue)
      })
      return stop
    },

    /** Deletes messages that were processed more than a week ago. Returns their number. */
    deleteProcessed: (): Promise<number> =>
      store.deleteProcessedBefore(expiredBefore('outbox_message', world.clock.now())),

    /** The pending messages of which ten attempts failed, by topic: an hour of failures. Each is retried. */
    findFailing: (): Promise<readonly FailingMessages[]> => store.findFailing(),

    /** The number of pending messages; 10,000 stands for that or more. */
    countPending: (): Promise<number> => store.countPending(MAX_COUNTED),
  }
}
