import { SECOND_MS } from '../../kernel/clock.ts'
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
/** How long a source that had nothing left rests while those before it have something, so that it costs no transaction each time. */
const REST_MS = SECOND_MS

/**
 * Creates the function that plans the deliveries of events: one to each active endpoint of each client. Plans up to 100 subjects of
 * one source in one transaction, which also publishes their signals. A source waits until those before it have no full batch left, and
 * is read once a second while they have something. Returns whether more may be due.
 */
export function createPlanning(
  dependencies: PlanningDependencies,
  sources: readonly EventSource[],
): () => Promise<boolean> {
  const { database, outbox, world } = dependencies

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

  /** Returns how many messages it has handled. As many as a batch means that more may be due. */
  async function planSource(source: EventSource): Promise<number> {
    try {
      return (await planBatch(source, BATCH_SIZE)).length
    } catch (error) {
      if (isDatabaseError(error)) throw error
      await planSingly(source)
      return BATCH_SIZE
    }
  }

  const restsUntilMs = new Map<EventSource, number>()
  return async () => {
    let hasPlanned = false
    for (const source of sources) {
      const nowMs = world.timers.monotonicMs()
      if (hasPlanned && nowMs < (restsUntilMs.get(source) ?? 0)) continue
      const count = await planSource(source)
      if (count === BATCH_SIZE) return true
      hasPlanned ||= count > 0
      restsUntilMs.set(source, nowMs + REST_MS)
    }
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
