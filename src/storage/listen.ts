import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { destroyConnection, DATABASE_TIMEOUTS, openSession } from './session.ts'

/**
 * `false` while notifications may be missed. Otherwise a number that changes whenever some may have been missed since:
 * what was cached under another number is not to be used any more.
 */
export type Coherence = number | false

/** A channel that is being listened on. */
export interface Subscription {
  coherence(): Coherence
  stop(): Promise<void>
}

/** What a subscription needs. */
export interface ListenOptions {
  /** The address at which a session stays the same: PostgreSQL itself. */
  readonly directUrl: string
  readonly channel: string
  readonly onPayload: (payload: string) => void
  /** Sends a notification the way all others are sent, and not on the listening connection. */
  readonly notify: (channel: string, payload: string) => Promise<unknown>
}

const RECONNECT_DELAY_MS = 500
/** How often a notification of our own is sent. */
const PROBE_INTERVAL_MS = 1_000
/** A probe that was sent and is not back after so long is lost, and so may be others. */
const PROBE_TIMEOUT_MS = 2_500
/** For so long a probe proves that nothing is missed. Below the 5 s that are promised. */
const PROBE_VALIDITY_MS = 4_500
const FIRST_PROBE_TIMEOUT_MS = 5_000

/**
 * Listens on a channel until stopped, reconnecting by itself. That nothing is missed is not believed but proven: each
 * second a notification of our own must come back. Behind a pooler that shares sessions it does not. Throws if the first
 * does not come back within 5 s.
 */
export async function listen({ directUrl, channel, onPayload, notify }: ListenOptions): Promise<Subscription> {
  // Of this listener alone, on the same session: whoever hears one channel hears the other.
  const probeChannel = `${channel}_${randomUUID().replaceAll('-', '')}`
  const state: { stopped: boolean; session?: pg.Client; connectionCount: number; confirmedAtMs: number } = {
    stopped: false,
    connectionCount: 0,
    confirmedAtMs: -Infinity,
  }
  let wake: () => void = () => undefined

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = setTimeout(resolve, ms)
      wake = () => {
        clearTimeout(timer)
        resolve()
      }
    })

  /** One connection, from the first probe to the first that is lost. Throws when it ends. */
  async function runConnection(onConfirmed: () => void): Promise<never> {
    const session = await openSession(directUrl, {
      connectTimeoutMs: DATABASE_TIMEOUTS.health,
      responseTimeoutMs: DATABASE_TIMEOUTS.health,
    })
    state.session = session
    // Stopped while it was connecting: nobody would cut this one any more.
    if (state.stopped) {
      destroyConnection(session)
      throw new Error('the subscription was stopped')
    }
    let onProbe: (probe: string) => void = () => undefined
    let isClosed = false
    const ended = new Promise<never>((_, reject) =>
      session.once('end', () => {
        state.confirmedAtMs = -Infinity
        reject(new Error('the connection for LISTEN ended'))
        // A connection that was cut here must not end the pause before the next one.
        if (!isClosed) wake()
      }),
    )
    ended.catch(() => undefined)
    session.on('notification', ({ channel: from, payload = '' }) =>
      from === channel ? handlePayload(payload) : onProbe(payload),
    )
    try {
      await session.query(`listen ${pg.escapeIdentifier(channel)}; listen ${pg.escapeIdentifier(probeChannel)}`)
      for (let isFirst = true; ;) {
        const probe = randomUUID()
        const received = new Promise<void>((resolve) => (onProbe = (payload) => void (payload === probe && resolve())))
        const sentMs = performance.now()
        const sending = notify(probeChannel, probe).then(
          () => true,
          () => false,
        )
        // A sender that fails proves nothing about this connection, which may be hard to get again.
        await session.query('select 1')
        if (await Promise.race([sending, resolveAfter(DATABASE_TIMEOUTS.health, false)])) {
          if (!(await Promise.race([received.then(() => true), ended, resolveAfter(PROBE_TIMEOUT_MS, false)])))
            throw new Error(NOTIFICATION_NOT_RECEIVED)
          // Notifications arrive in the order of their commits, so what was sent before the probe is here too.
          state.confirmedAtMs = sentMs
          if (isFirst) state.connectionCount++
          isFirst = false
          onConfirmed()
        }
        await Promise.race([pause(PROBE_INTERVAL_MS), ended])
      }
    } finally {
      state.confirmedAtMs = -Infinity
      isClosed = true
      destroyConnection(session)
    }
  }

  /** Anybody with a login can send anything: what cannot be used counts as a signal that was missed. */
  function handlePayload(payload: string): void {
    try {
      onPayload(payload)
    } catch {
      state.connectionCount++
    }
  }

  async function run(onConfirmed: () => void, onFailed: (error: unknown) => void): Promise<void> {
    const isStopped = (): boolean => state.stopped
    while (!isStopped()) {
      await runConnection(onConfirmed).catch(onFailed)
      if (!isStopped()) await pause(RECONNECT_DELAY_MS)
    }
  }

  const stop = async (): Promise<void> => {
    state.stopped = true
    wake()
    if (state.session) destroyConnection(state.session)
    await running
  }
  let running: Promise<void> = Promise.resolve()
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(NOTIFICATION_NOT_RECEIVED)), FIRST_PROBE_TIMEOUT_MS)
    const clearTimer = (): void => clearTimeout(timer)
    // Only the first of these calls counts.
    running = run(
      () => {
        clearTimer()
        resolve()
      },
      (error) => {
        clearTimer()
        reject(error instanceof Error ? error : new Error(NOTIFICATION_NOT_RECEIVED))
      },
    )
  }).catch(async (error: unknown) => {
    await stop()
    throw error
  })
  return {
    coherence: () => performance.now() - state.confirmedAtMs < PROBE_VALIDITY_MS && state.connectionCount,
    stop,
  }
}

const NOTIFICATION_NOT_RECEIVED =
  'a NOTIFY sent to DATABASE_URL does not arrive at a LISTEN on DATABASE_DIRECT_URL (or DATABASE_URL, if that is not set): both must lead to the same database, and the direct address to PostgreSQL itself and not to a pooler'

const resolveAfter = <T>(ms: number, value: T): Promise<T> =>
  new Promise((resolve) => {
    setTimeout(() => resolve(value), ms).unref()
  })
