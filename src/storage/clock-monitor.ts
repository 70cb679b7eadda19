import { MINUTE_MS, SECOND_MS, type Timer } from '../kernel/clock.ts'
import { errorTrace } from '../kernel/log.ts'
import type { World } from '../kernel/world.ts'
import type { Database } from './database.ts'

/** Compares this process's clock with the database's, which all processes share. */
export interface ClockMonitor {
  /**
   * How far this process is ahead of the database, in milliseconds; negative if it is behind. The error is at most half of
   * the fastest of three round trips.
   */
  offsetMs(): Promise<number>
  /** Starts to log one line a minute while the clocks are further apart than the tolerance. */
  start(): void
  stop(): void
}

/** The dependencies of a clock monitor. */
export interface ClockMonitorDependencies {
  readonly database: Pick<Database, 'query'>
  readonly world: Pick<World, 'clock' | 'timers' | 'log'>
  /** How far the clocks may be apart, in milliseconds. */
  readonly toleranceMs: number
}

const SAMPLE_COUNT = 3

/** Creates a clock monitor; it does not log until `start`. */
export function createClockMonitor({ database, world, toleranceMs }: ClockMonitorDependencies): ClockMonitor {
  const { clock, timers, log } = world
  let timer: Timer | undefined

  async function offsetMs(): Promise<number> {
    let best = { roundTripMs: Infinity, offsetMs: 0 }
    for (let sample = 0; sample < SAMPLE_COUNT; sample++) {
      const sentMs = clock.now().getTime()
      const [row] = await database.query<{ atMs: number }>(
        'clock',
        'select (extract(epoch from clock_timestamp()) * 1000)::float8 as "atMs"',
        [],
      )
      const receivedMs = clock.now().getTime()
      // If the clock is set meanwhile, the difference is long or negative.
      const roundTripMs = Math.abs(receivedMs - sentMs)
      if (roundTripMs < best.roundTripMs)
        best = { roundTripMs, offsetMs: Math.round((sentMs + receivedMs) / 2 - row!.atMs) }
    }
    return best.offsetMs
  }

  async function check(): Promise<void> {
    const measured = await offsetMs()
    if (Math.abs(measured) > toleranceMs) log.warn('clock.skewed', { offsetMs: measured })
  }

  return {
    offsetMs,
    start() {
      // Only `debug`: other code reports a database that is unavailable.
      timer ??= timers
        .setInterval(() => {
          check().catch((error: unknown) => log.debug('clock.check_failed', { trace: errorTrace(error) }))
        }, MINUTE_MS)
        .unref()
    },
    stop() {
      timer?.clear()
      timer = undefined
    },
  }
}

/** The message for a process that does not start because its clock is `offsetMs` ahead of the database's. */
export function clockSkewMessage(offsetMs: number): string {
  const seconds = Math.abs(offsetMs / SECOND_MS).toFixed(1)
  const side = offsetMs > 0 ? 'ahead of' : 'behind'
  return `DATABASE_URL: the clock of this machine is ${seconds} s ${side} the database's, so tokens and proofs would be refused or live too long; synchronize both clocks by NTP`
}
