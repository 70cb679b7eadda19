import { DAY_MS, later } from '../../kernel/clock.ts'
import { newId } from '../../kernel/ids.ts'
import { traceOf } from '../../kernel/log.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import { topicsOf, type OutboxPace, type OutboxTopic } from './model.ts'
import { OUTBOX_CHANNEL, outboxStore } from './store.ts'

/** What to do for each topic. A handler may be called more than once for the same subject and must not mind. */
export type OutboxHandlers = Readonly<Record<OutboxTopic, (subjectId: string) => Promise<void>>>

/** The wall between a request and what follows from it: written with the change, worked off by whoever comes. */
export type Outbox = ReturnType<typeof createOutbox>

/**
 * A word to everyone who is listening right now; lost on whoever is not. ALERT: there is one to tell live. The others say
 * that something changed, so that nobody goes on with what they remember of it.
 */
export type Signal =
  | { readonly kind: 'ALERT'; readonly id: string }
  | { readonly kind: 'ALERTS_CHANGED'; readonly customerIds: readonly string[] }
  | { readonly kind: 'CONSENT'; readonly id: string; readonly customerId: string | null }
  | { readonly kind: 'CLIENT' | 'ADMIN_ENROLMENT' | 'TOKEN' | 'OAUTH_GRANT' | 'BANK'; readonly id: string }

const SIGNAL_CHANNEL = 'guichet_signal'
const BATCH = 20
const KEPT_MS = 7 * DAY_MS
/** Longer than any handler takes, a bank's answer included; what a killed process held is free again after it. */
const LEASE_MS = 30_000

/** Takes promises with a change and works them off after it, each until it is kept. */
export function createOutbox({ database, world }: { database: Database; world: World }) {
  const store = outboxStore(database)
  const listeners = new Set<(signal: Signal) => void>()
  const dispatch = (signal: Signal): void => {
    for (const heard of listeners) heard(signal)
  }
  let hearing = false
  let unlisten: (() => Promise<void>) | undefined
  return {
    /** Promises `topic` for `subjectId`, together with everything else that `tx` commits. */
    promise: (tx: Transaction, topic: OutboxTopic, subjectId: string): Promise<void> =>
      store.add(tx, newId('msg', world.randomness), topic, subjectId, world.clock.now()),

    /** Works off one batch of one pace; returns how many messages there were. One that fails is tried again later. */
    async work(pace: OutboxPace, handlers: OutboxHandlers): Promise<number> {
      const messages = await store.claim(topicsOf(pace), BATCH, world.clock.now(), LEASE_MS)
      await Promise.all(
        messages.map(async (message) => {
          try {
            await handlers[message.topic](message.subjectId)
            await store.done(message.id, world.clock.now())
          } catch (error) {
            world.log.warn('outbox.put-off', {
              messageId: message.id,
              topic: message.topic,
              attempt: message.attemptCount,
              trace: traceOf(error),
            })
            await store.putOff(message, world.clock.now())
          }
        }),
      )
      return messages.length
    },

    /** Calls `wake` when a commit brought new messages. */
    onNew: (wake: () => void): Promise<() => Promise<void>> => database.listen(OUTBOX_CHANNEL, wake),
    /** Tells all processes; within `tx`, once it has committed. */
    signal: (signal: Signal, tx?: Transaction): Promise<void> =>
      database.notify(SIGNAL_CHANNEL, JSON.stringify(signal), tx),
    /** Tells this process at once, after the commit that told the others: its next request must know. */
    echo: dispatch,
    onSignal(heard: (signal: Signal) => void): () => void {
      listeners.add(heard)
      return () => void listeners.delete(heard)
    },
    /** Whether every signal arrives at the moment. Where not, nothing that signals change may be remembered. */
    hearing: (): boolean => hearing,
    async start(): Promise<void> {
      unlisten = await database.listen(
        SIGNAL_CHANNEL,
        (payload) => dispatch(JSON.parse(payload) as Signal),
        (now) => (hearing = now),
      )
    },
    async stop(): Promise<void> {
      hearing = false
      await unlisten?.()
    },
    /** Deletes promises that were kept a week ago; returns how many. */
    sweep: (): Promise<number> => store.sweep(later(world.clock.now(), -KEPT_MS)),
    /** How many promises are still open. */
    open: (): Promise<number> => store.open(),
  }
}
