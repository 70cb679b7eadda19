import { randomUUID } from 'node:crypto'
import pg from 'pg'
import type { Timers } from '../kernel/clock.ts'
import { RETRIES } from '../kernel/retry.ts'
import { destroyConnection, DATABASE_TIMEOUTS, openSession } from './session.ts'

/**
 * `false` while notifications may be missed. Otherwise a number that changes whenever some may have been missed: values that
 * were cached under another number must not be used.
 */
export type Coherence = number | false

/** A subscription to a channel. */
export interface Subscription {
  coherence(): Coherence
  stop(): Promise<void>
}

/** The options of a subscription. */
export interface ListenOptions {
  /** The address of PostgreSQL itself, without a pooler. */
  readonly directUrl: string
  readonly channel: string
  readonly onPayload: (payload: string) => void
  readonly timers: Timers
  /** Sends a notification through the same address as all others, not on the listening connection. */
  readonly notify: (channel: string, payload: string) => Promise<unknown>
}

/** A probe that does not return within this time counts as lost, and other notifications may be lost too. */
const PROBE_TIMEOUT_MS = 2_500
/** How long a received probe proves that nothing is missed. Below the 5 s that are guaranteed. */
const PROBE_VALIDITY_MS = 4_500
const FIRST_PROBE_TIMEOUT_MS = 5_000

/**
 * Listens on a channel until stopped; reconnects automatically. To prove that no notification is missed, it sends a probe
 * notification each second, which must return. Behind a pooler that shares sessions it does not. Throws if the first probe
 * does not return within 5 s.
 */
export async function listen({ directUrl, channel, onPayload, timers, notify }: ListenOptions): Promise<Subscription> {
  // Unique to this listener, on the same session: if the probe arrives, so do notifications on `channel`.
  const probeChannel = `${channel}_${randomUUID().replaceAll('-', '')}`
  const state: { stopped: boolean; session?: pg.Client; connectionCount: number; confirmedAtMs: number } = {
    stopped: false,
    connectionCount: 0,
    confirmedAtMs: -Infinity,
  }
  let wake: () => void = () => undefined

  const pause = (ms: number): Promise<void> =>
    new Promise((resolve) => {
      const timer = timers.setTimeout(resolve, ms)
      wake = () => {
        timer.clear()
        resolve()
      }
    })

  /** Runs one connection until it ends or a probe is lost; then throws. */
  async function runConnection(onConfirmed: () => void): Promise<never> {
    const session = await openSession(directUrl, {
      connectTimeoutMs: DATABASE_TIMEOUTS.health,
      responseTimeoutMs: DATABASE_TIMEOUTS.health,
    })
    state.session = session
    // Stopped while connecting: `stop` did not see this session.
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
        // A connection that was closed here must not shorten the pause before the next one.
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
        const sentMs = timers.monotonicMs()
        const sending = notify(probeChannel, probe).then(
          () => true,
          () => false,
        )
        // If sending fails, this connection may still be good, so it is kept.
        await session.query('select 1')
        if (await Promise.race([sending, resolveAfter(DATABASE_TIMEOUTS.health, false, timers)])) {
          if (!(await Promise.race([received.then(() => true), ended, resolveAfter(PROBE_TIMEOUT_MS, false, timers)])))
            throw new Error(NOTIFICATION_NOT_RECEIVED)
          // Notifications arrive in commit order, so those sent before the probe have arrived too.
          state.confirmedAtMs = sentMs
          if (isFirst) state.connectionCount++
          isFirst = false
          onConfirmed()
        }
        await Promise.race([pause(RETRIES.databaseProbe.delaysMs[0]), ended])
      }
    } finally {
      state.confirmedAtMs = -Infinity
      isClosed = true
      destroyConnection(session)
    }
  }

  /** Any role can send any payload, so one that cannot be processed counts as a missed notification. */
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
      if (!isStopped()) await pause(RETRIES.databaseListen.delaysMs[0])
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
    const timer = timers.setTimeout(() => reject(new Error(NOTIFICATION_NOT_RECEIVED)), FIRST_PROBE_TIMEOUT_MS)
    const clearTimer = (): void => timer.clear()
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
    coherence: () => timers.monotonicMs() - state.confirmedAtMs < PROBE_VALIDITY_MS && state.connectionCount,
    stop,
  }
}

const NOTIFICATION_NOT_RECEIVED =
  'a NOTIFY sent to DATABASE_URL does not arrive at a LISTEN on DATABASE_DIRECT_URL (or DATABASE_URL, if that is not set): both must lead to the same database, and the direct address to PostgreSQL itself and not to a pooler'

const resolveAfter = <T>(ms: number, value: T, timers: Timers): Promise<T> =>
  new Promise((resolve) => {
    timers.setTimeout(() => resolve(value), ms).unref()
  })
