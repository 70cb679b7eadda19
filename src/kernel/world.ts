import { systemClock, type Clock } from './clock.ts'
import { systemRandomness, type Randomness } from './ids.ts'
import type { Log } from './log.ts'
import type { OutboundHttp } from './outbound-http.ts'

/** The outside dependencies of the product in one place, so that tests can replace them. */
export interface World {
  readonly clock: Clock
  readonly randomness: Randomness
  readonly http: OutboundHttp
  readonly log: Log
}

/** Creates a world with the system's clock and randomness. */
export const createWorld = (log: Log, http: OutboundHttp): World => ({
  clock: systemClock,
  randomness: systemRandomness,
  http,
  log,
})
