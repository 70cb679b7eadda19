import { systemClock, systemTimers, type Clock, type Timers } from './clock.ts'
import { systemRandomness, type Randomness } from './ids.ts'
import type { Log } from './log.ts'
import type { OutboundHttp } from './outbound-http.ts'

/** The outside dependencies of the product in one place, so that tests can replace them. */
export interface World {
  readonly clock: Clock
  readonly timers: Timers
  readonly randomness: Randomness
  readonly http: OutboundHttp
  readonly log: Log
}

/** Creates a world with the system's clock, timers and randomness. */
export const createWorld = (log: Log, http: OutboundHttp): World => ({
  clock: systemClock,
  timers: systemTimers,
  randomness: systemRandomness,
  http,
  log,
})
