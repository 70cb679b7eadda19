import { isConnectionError } from '../../kernel/database-errors.ts'
import { GatewayError } from '../../kernel/errors.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, SqlTransaction } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { LockedMessage, Outbox, PlannedTopic } from '../outbox/index.ts'
import { planDeliveries, type ClientEvents } from './client-events.ts'
import type { EventSigner } from './security-event.ts'

/** The dependencies of planning. */
export interface PlanningDependencies {
  readonly database: Database
  readonly world: World
  readonly outbox: Outbox
  readonly signals: Signals
  readonly eventSigner: EventSigner
}

/** What the messages of a topic lead to. */
export interface EventSource {
  readonly topic: PlannedTopic
  /** The events about these subjects for each client that may know of them, in the order in which clients receive them. */
  load(tx: SqlTransaction, subjectIds: readonly string[]): Promise<ClientEvents>
}

/** Subjects of one transaction. Each is planned for every client that may know of it. */
const BATCH_SIZE = 100

/**
 * Creates the function that plans the deliveries of events: one to each active endpoint of each client. Plans up to 100 subjects of
 * one source in one transaction, which also publishes their signals. A source waits until those before it have no full batch left.
 * Returns whether more may be due.
 */
export function createPlanning(
  dependencies: PlanningDependencies,
  sources: readonly EventSource[],
): () => Promise<boolean> {
  const { database, outbox } = dependencies

  /** Plans what is due. Returns the messages that it has handled. */
  const planBatch = (source: EventSource, limit: number): Promise<readonly LockedMessage[]> =>
    database.delivery.transaction(async (tx) => {
      const messages = await outbox.lockDue(tx, source.topic, limit)
      if (messages.length > 0) await planMessages(dependencies, source, tx, messages)
      return messages
    })

  /** After a batch has failed: plans subjects one by one, so that one that cannot be planned is postponed by itself. */
  async function planSingly(source: EventSource): Promise<void> {
    for (let count = 0; count < BATCH_SIZE; count++) {
      let current: readonly LockedMessage[] = []
      try {
        await database.delivery.transaction(async (tx) => {
          current = await outbox.lockDue(tx, source.topic, 1)
          if (current.length > 0) await planMessages(dependencies, source, tx, current)
        })
      } catch (error) {
        const [message] = current
        if (!message || isDatabaseError(error)) throw error
        await outbox.postpone(source.topic, message, error)
      }
      if (current.length === 0) return
    }
  }

  async function planSource(source: EventSource): Promise<boolean> {
    try {
      return (await planBatch(source, BATCH_SIZE)).length === BATCH_SIZE
    } catch (error) {
      if (isDatabaseError(error)) throw error
      await planSingly(source)
      return true
    }
  }

  return async () => {
    for (const source of sources) if (await planSource(source)) return true
    return false
  }
}

/** Whether every message would fail, not a certain one. */
const isDatabaseError = (error: unknown): boolean => error instanceof GatewayError || isConnectionError(error)

async function planMessages(
  { world, outbox, signals, eventSigner }: PlanningDependencies,
  source: EventSource,
  tx: SqlTransaction,
  messages: readonly LockedMessage[],
): Promise<void> {
  const loaded = await source.load(
    tx,
    messages.map(({ subjectId }) => subjectId),
  )
  await planDeliveries({ world, eventSigner }, tx, loaded.events)
  await outbox.deleteAll(
    tx,
    messages.map(({ id }) => id),
  )
  if (loaded.signals.length > 0) await signals.publishAll(tx, loaded.signals)
}
