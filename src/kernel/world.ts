import { systemClock, type Clock } from './clock.ts'
import { systemRandomness, type Randomness } from './ids.ts'
import type { Log } from './log.ts'
import type { OutboundHttp } from './outbound-http.ts'

/** Everything outside the process that the product depends on, in one place, so that a test can hold it still. */
export interface World {
  readonly clock: Clock
  readonly randomness: Randomness
  readonly http: OutboundHttp
  readonly log: Log
}

/** The real world around the given log and outbound HTTP. */
export const createWorld = (log: Log, http: OutboundHttp): World => ({
  clock: systemClock,
  randomness: systemRandomness,
  http,
  log,
})
