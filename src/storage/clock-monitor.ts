import { MINUTE_MS, SECOND_MS } from '../kernel/clock.ts'
import { errorTrace } from '../kernel/log.ts'
import type { World } from '../kernel/world.ts'
import type { Database } from './database.ts'

/** Compares this process's clock with the one that all processes share. */
export interface ClockMonitor {
  /**
   * How far this process is ahead of the database, in milliseconds; negative if it is behind. Off by at most half of the
   * fastest of three round trips.
   */
  offsetMs(): Promise<number>
  /** From now on, writes a line a minute while the clocks are further apart than the tolerance. */
  start(): void
  stop(): void
}

/** What a clock watch depends on. */
export interface ClockMonitorDependencies {
  readonly database: Pick<Database, 'query'>
  readonly world: Pick<World, 'clock' | 'log'>
  /** How far clocks may be apart, in milliseconds. */
  readonly toleranceMs: number
}

const SAMPLE_COUNT = 3

/** A watch that is not started yet. */
export function createClockMonitor({ database, world, toleranceMs }: ClockMonitorDependencies): ClockMonitor {
  const { clock, log } = world
  let timer: NodeJS.Timeout | undefined

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
      // Where the clock is set meanwhile the difference is long, or negative.
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
      // A database that cannot be asked is told of by whoever needs it.
      timer ??= setInterval(() => {
        check().catch((error: unknown) => log.debug('clock.check_failed', { trace: errorTrace(error) }))
      }, MINUTE_MS).unref()
    },
    stop() {
      clearInterval(timer)
      timer = undefined
    },
  }
}

/** Why a process whose clock is so far from the database's does not start, and what to do. */
export function clockSkewMessage(offsetMs: number): string {
  const seconds = Math.abs(offsetMs / SECOND_MS).toFixed(1)
  const side = offsetMs > 0 ? 'ahead of' : 'behind'
  return `DATABASE_URL: the clock of this machine is ${seconds} s ${side} the database's, so that tokens and proofs would be refused or live too long; set both clocks by NTP`
}
