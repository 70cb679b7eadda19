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

/** What to do for each topic. A handler may be called more than once for the same subject and must not mind. */
export type OutboxHandlers = Readonly<Record<OutboxTopic, (subjectId: string) => Promise<void>>>

/** The wall between a request and what follows from it: written with the change, worked off by whoever comes. */
export type Outbox = ReturnType<typeof createOutbox>

const BATCH_SIZE = 20
/** Messages of the SLOW queue in flight in one process: in total, and of one group. */
const CONCURRENCY = { total: 40, perGroup: 4 }
const RETENTION_MS = 7 * DAY_MS
/** Of open messages: whoever watches them wants to know whether they are many. */
const MAX_COUNTED = 10_000
/** Longer than any handler takes, a bank's answer included; what a killed process held is free again after it. */
const LEASE_MS = 30_000

/** Takes promises with a change and works them off after it, each until it is kept. */
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
     * Promises `topic` for `subjectId`, together with everything else that `tx` commits. `groupId` names whom the work waits
     * for, such as a bank: one group never takes all places.
     */
    enqueue: (tx: Transaction, topic: OutboxTopic, subjectId: string, groupId?: string): Promise<void> =>
      store.add(
        tx,
        { id: newId('msg', world.randomness), topic, subjectId, groupId: groupId ?? null },
        world.clock.now(),
      ),

    /** Works off one batch of one pace; returns how many messages there were. One that fails is tried again later. */
    async processBatch(queue: OutboxQueue, handlers: OutboxHandlers): Promise<number> {
      const messages = await store.claim(topicsOf(queue), BATCH_SIZE, world.clock.now(), LEASE_MS)
      await Promise.all(messages.map((message) => handle(message, handlers)))
      return messages.length
    },

    /**
     * Begins each due message of one pace that there is a place for and returns how many there were. Groups take turns. Calls
     * `over` at the end of each: then there is a place again.
     */
    async startDue(queue: OutboxQueue, handlers: OutboxHandlers, onEnd: () => void): Promise<number> {
      const freeSlots = CONCURRENCY.total - inFlight.count
      if (freeSlots <= 0) return 0
      const limits = { freeSlots, perGroup: CONCURRENCY.perGroup, inFlightByGroup: inFlight.countByGroup() }
      const messages = await store.claimFairly(topicsOf(queue), limits, world.clock.now(), LEASE_MS)
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

    /** Calls `wake` when a commit brought new messages. */
    async onEnqueued(wake: () => void): Promise<() => Promise<void>> {
      const { stop } = await database.listen(OUTBOX_CHANNEL, wake)
      return stop
    },
    /** Deletes promises that were kept a week ago; returns how many. */
    sweep: (): Promise<number> => store.sweep(subtractMs(world.clock.now(), RETENTION_MS)),
    /** How many promises are still open: exactly up to 10,000, which also stands for more. */
    countPending: (): Promise<number> => store.countPending(MAX_COUNTED),
  }
}
