import { randomUUID } from 'node:crypto'
import pg from 'pg'
import { cut, DATABASE_TIMEOUTS, openSession } from './session.ts'

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

const RECONNECT_MS = 500
/** How often a notification of our own is sent. */
const PROBE_MS = 1_000
/** A probe that was sent and is not back after so long is lost, and so may be others. */
const PROBE_LOST_MS = 2_500
/** For so long a probe proves that nothing is missed. Below the 5 s that are promised. */
const PROVEN_MS = 4_500
const FIRST_PROBE_MS = 5_000

/**
 * Listens on a channel until stopped, reconnecting by itself. That nothing is missed is not believed but proven: each
 * second a notification of our own must come back. Behind a pooler that shares sessions it does not. Throws if the first
 * does not come back within 5 s.
 */
export async function listen({ directUrl, channel, onPayload, notify }: ListenOptions): Promise<Subscription> {
  // Of this listener alone, on the same session: whoever hears one channel hears the other.
  const probeChannel = `${channel}_${randomUUID().replaceAll('-', '')}`
  const state: { stopped: boolean; session?: pg.Client; connections: number; provenMs: number } = {
    stopped: false,
    connections: 0,
    provenMs: -Infinity,
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
  async function live(onProven: () => void): Promise<never> {
    const own = await openSession(directUrl, {
      connectMs: DATABASE_TIMEOUTS.health,
      responseMs: DATABASE_TIMEOUTS.health,
    })
    state.session = own
    // Stopped while it was connecting: nobody would cut this one any more.
    if (state.stopped) {
      cut(own)
      throw new Error('the subscription was stopped')
    }
    let heard: (probe: string) => void = () => undefined
    let isOver = false
    const ended = new Promise<never>((_, reject) =>
      own.once('end', () => {
        state.provenMs = -Infinity
        reject(new Error('the connection for LISTEN ended'))
        // A connection that was cut here must not end the pause before the next one.
        if (!isOver) wake()
      }),
    )
    ended.catch(() => undefined)
    own.on('notification', ({ channel: from, payload = '' }) => (from === channel ? receive(payload) : heard(payload)))
    try {
      await own.query(`listen ${pg.escapeIdentifier(channel)}; listen ${pg.escapeIdentifier(probeChannel)}`)
      for (let isFirst = true; ;) {
        const probe = randomUUID()
        const back = new Promise<void>((resolve) => (heard = (payload) => void (payload === probe && resolve())))
        const sentMs = performance.now()
        const sending = notify(probeChannel, probe).then(
          () => true,
          () => false,
        )
        // A sender that fails proves nothing about this connection, which may be hard to get again.
        await own.query('select 1')
        if (await Promise.race([sending, after(DATABASE_TIMEOUTS.health, false)])) {
          if (!(await Promise.race([back.then(() => true), ended, after(PROBE_LOST_MS, false)])))
            throw new Error(NOT_HEARD)
          // Notifications arrive in the order of their commits, so what was sent before the probe is here too.
          state.provenMs = sentMs
          if (isFirst) state.connections++
          isFirst = false
          onProven()
        }
        await Promise.race([pause(PROBE_MS), ended])
      }
    } finally {
      state.provenMs = -Infinity
      isOver = true
      cut(own)
    }
  }

  /** Anybody with a login can send anything: what cannot be used counts as a signal that was missed. */
  function receive(payload: string): void {
    try {
      onPayload(payload)
    } catch {
      state.connections++
    }
  }

  async function run(onProven: () => void, onFailed: (error: unknown) => void): Promise<void> {
    const isStopped = (): boolean => state.stopped
    while (!isStopped()) {
      await live(onProven).catch(onFailed)
      if (!isStopped()) await pause(RECONNECT_MS)
    }
  }

  const stop = async (): Promise<void> => {
    state.stopped = true
    wake()
    if (state.session) cut(state.session)
    await running
  }
  let running: Promise<void> = Promise.resolve()
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(NOT_HEARD)), FIRST_PROBE_MS)
    const settled = (): void => clearTimeout(timer)
    // Only the first of these calls counts.
    running = run(
      () => {
        settled()
        resolve()
      },
      (error) => {
        settled()
        reject(error instanceof Error ? error : new Error(NOT_HEARD))
      },
    )
  }).catch(async (error: unknown) => {
    await stop()
    throw error
  })
  return {
    coherence: () => performance.now() - state.provenMs < PROVEN_MS && state.connections,
    stop,
  }
}

const NOT_HEARD =
  'a NOTIFY sent to DATABASE_URL does not arrive at a LISTEN on DATABASE_DIRECT_URL (or DATABASE_URL, if that is not set): both must lead to the same database, and the direct address to PostgreSQL itself and not to a pooler'

const after = <T>(ms: number, value: T): Promise<T> =>
  new Promise((resolve) => {
    setTimeout(() => resolve(value), ms).unref()
  })
