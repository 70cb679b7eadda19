import { randomUUID } from 'node:crypto'
import type { Signal } from '../kernel/signal.ts'
import type { Transaction } from '../kernel/transaction.ts'
import { onCommit, type Coherence, type Database, type SqlTransaction, type Subscription } from './database.ts'

/** Publishes signals to all processes, by NOTIFY, and calls the listeners of this process. */
export interface Signals {
  /**
   * Publishes when `tx` commits. The listeners of this process have been called once `Database.transaction` returns, so that
   * the code after it reads what was written. If `tx` rolls back, nothing is published anywhere.
   */
  publish(tx: Transaction, signal: Signal): Promise<void>
  /** Like `publish`, for several signals of a transaction without Prisma. */
  publishAll(tx: SqlTransaction, signals: readonly Signal[]): Promise<void>
  /** Publishes a change that was committed before. */
  publishNow(signal: Signal): Promise<void>
  /** Calls `listener` for every signal of every process. Returns a function that removes it. */
  onSignal(listener: (signal: Signal) => void): () => void
  /**
   * `false` while signals may be missed: then nothing that signals invalidate may be cached. Otherwise a number: what was cached
   * under another number must not be used.
   */
  coherence(): Coherence
  /** Starts to listen. Throws if signals do not arrive: `DATABASE_DIRECT_URL` may be missing. */
  start(): Promise<void>
  stop(): Promise<void>
}

/** The channel of all signals. */
export const SIGNAL_CHANNEL = 'guichet_signal'
/** Own publications that have arrived in one of their two ways. Beyond this, the oldest may arrive twice. */
const MAX_DISPATCHED_PUBLICATIONS = 10_000

/** The payload of a notification. */
interface Publication {
  readonly publicationId: string
  readonly signal: Signal
}

/** Creates the signals of one process. Before `start`, it receives its own only. */
export function createSignals(database: Pick<Database, 'notify' | 'listen'>): Signals {
  const listeners = new Set<(signal: Signal) => void>()
  /** Own publications after their first arrival: after the commit, or from PostgreSQL if that was faster. */
  const dispatchedPublicationIds = new Set<string>()
  let subscription: Subscription | undefined
  let listenerFailureCount = 0

  function dispatch(signal: Signal): void {
    for (const listener of listeners)
      try {
        listener(signal)
      } catch {
        // Its cache may be stale from now on, as if the signal had been missed.
        listenerFailureCount++
      }
  }

  /** Dispatches a publication of this process at the first of its two arrivals. */
  function arrive({ publicationId, signal }: Publication): void {
    if (dispatchedPublicationIds.delete(publicationId)) return
    if (subscription) dispatchedPublicationIds.add(publicationId)
    if (dispatchedPublicationIds.size > MAX_DISPATCHED_PUBLICATIONS)
      dispatchedPublicationIds.delete(dispatchedPublicationIds.values().next().value!)
    dispatch(signal)
  }

  /** Every publication of this process has an ID with this prefix. */
  const processId = randomUUID()
  let publicationCount = 0
  const createPublication = (signal: Signal): Publication => ({
    publicationId: `${processId}/${++publicationCount}`,
    signal,
  })

  function receive(payload: string): void {
    const publication = JSON.parse(payload) as Publication
    if (publication.publicationId.startsWith(processId)) arrive(publication)
    else dispatch(publication.signal)
  }

  return {
    async publish(tx, signal) {
      const publication = createPublication(signal)
      await database.notify(SIGNAL_CHANNEL, JSON.stringify(publication), tx)
      onCommit(tx, () => arrive(publication))
    },
    async publishAll(tx, all) {
      const publications = all.map(createPublication)
      const payloads = publications.map((publication) => JSON.stringify(publication))
      await tx.query('publish-signals', 'select pg_notify($1, payload) from unnest($2::text[]) as payload', [
        SIGNAL_CHANNEL,
        payloads,
      ])
      tx.onCommit(() => publications.forEach(arrive))
    },
    async publishNow(signal) {
      const publication = createPublication(signal)
      await database.notify(SIGNAL_CHANNEL, JSON.stringify(publication))
      arrive(publication)
    },
    onSignal(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },
    coherence() {
      const current = subscription?.coherence() ?? false
      return current === false ? false : current + listenerFailureCount
    },
    async start() {
      subscription = await database.listen(SIGNAL_CHANNEL, receive)
    },
    async stop() {
      const stopping = subscription?.stop()
      subscription = undefined
      dispatchedPublicationIds.clear()
      await stopping
    },
  }
}
