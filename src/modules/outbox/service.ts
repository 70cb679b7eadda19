import { subtractMs, DAY_MS } from '../../kernel/clock.ts'
import { newId } from '../../kernel/ids.ts'
import { createInFlight } from '../../kernel/in-flight.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import { RETRIES, retryAt } from '../../kernel/retry.ts'
import type { Database } from '../../storage/database.ts'
import { topicsOf, type OutboxMessage, type OutboxQueue, type OutboxTopic } from './model.ts'
import { OUTBOX_CHANNEL, outboxStore } from './store.ts'

/** The handler of each topic. It can be called several times for one message, so it must be idempotent. */
export type OutboxHandlers = Readonly<Record<OutboxTopic, (subjectId: string) => Promise<void>>>

/** Messages about committed changes (transactional outbox). Any process can handle them; each is handled at least once. */
export type Outbox = ReturnType<typeof createOutbox>

/** Messages of one `processBatch`. */
const BATCH_SIZE = 20
/** Messages that `startDue` keeps in flight in one process: in total, and of one group. */
const CONCURRENCY = { total: 40, perGroup: 4 }
const RETENTION_MS = 7 * DAY_MS
/** The limit of `countPending`, which bounds the cost of counting. */
const MAX_COUNTED = 10_000
/** Longer than any handler takes, calls to a bank included. After it, messages of a process that was killed are due again. */
const LEASE_MS = 30_000

/** Creates the outbox of one process. */
export function createOutbox({ database, world }: { database: Database; world: World }) {
  const store = outboxStore(database)
  const inFlight = createInFlight()

  async function handle(message: OutboxMessage, handlers: OutboxHandlers): Promise<void> {
    try {
      await handlers[message.topic](message.subjectId)
      await store.markProcessed(message.id, world.clock.now())
    } catch (error) {
      const { id: messageId, topic, attemptCount } = message
      world.log.warn('outbox.retry_scheduled', {
        messageId,
        topic,
        attempt: attemptCount + 1,
        trace: errorTrace(error),
      })
      await store.reschedule(message, retryAt(RETRIES.outbox, attemptCount + 1, world.randomness, world.clock.now()))
    }
  }

  return {
    /**
     * Adds a message in `tx`; it is handled after the commit. Messages of one `groupId`, such as a bank, share a concurrency
     * limit, so that a slow group leaves room for the others. Without one, the subject is the group.
     */
    enqueue: (tx: Transaction, topic: OutboxTopic, subjectId: string, groupId?: string): Promise<void> =>
      store.add(
        tx,
        { id: newId('msg', world.randomness), topic, subjectId, groupId: groupId ?? null },
        world.clock.now(),
      ),

    /** Handles up to 20 due messages and waits for them. Returns their number. A message that fails is retried later. */
    async processBatch(queue: OutboxQueue, handlers: OutboxHandlers): Promise<number> {
      const messages = await store.claim(topicsOf(queue), BATCH_SIZE, world.clock.now(), LEASE_MS)
      await Promise.all(messages.map((message) => handle(message, handlers)))
      return messages.length
    },

    /**
     * Starts to handle due messages, as many as `CONCURRENCY` allows, and does not wait for them. Returns their number. Calls
     * `onEnd` when a message has ended, because another one may start then.
     */
    async startDue(queue: OutboxQueue, handlers: OutboxHandlers, onEnd: () => void): Promise<number> {
      const freeSlots = CONCURRENCY.total - inFlight.count
      if (freeSlots <= 0) return 0
      const limits = { freeSlots, perGroup: CONCURRENCY.perGroup, inFlightByGroup: inFlight.countByGroup() }
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
    waitUntilIdle: (): Promise<void> => inFlight.waitUntilIdle(),

    /** Calls `wake` when any process has committed new messages. Returns a function that stops this. */
    async onEnqueued(wake: () => void): Promise<() => Promise<void>> {
      const { stop } = await database.listen(OUTBOX_CHANNEL, wake)
      return stop
    },

    /** Deletes messages that were processed more than a week ago. Returns their number. */
    deleteProcessed: (): Promise<number> => store.deleteProcessedBefore(subtractMs(world.clock.now(), RETENTION_MS)),
    /** The number of pending messages; 10,000 stands for that or more. */
    countPending: (): Promise<number> => store.countPending(MAX_COUNTED),
  }
}
