import type { Timers, Timer } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'

/** Rejects requests while the process is overloaded, before they cost more than the rejection. */
export interface LoadShedder {
  /** Counts a running request until the returned function is called. Throws `OVERLOADED` if the process is overloaded. */
  acquire(): () => void
  start(): void
  stop(): void
}

const SAMPLE_MS = 100
/** The largest delay of a timer at which the process is not overloaded. */
const MAX_EVENT_LOOP_DELAY_MS = 250
/** Consecutive delays that mean an overload. A single one, such as a garbage collection, is over when it is noticed. */
const MAX_CONSECUTIVE_DELAYS = 2

/**
 * Creates a load shedder. It rejects requests beyond `maxConcurrentRequests`, and all requests while the event loop is delayed.
 * Events that banks push have their own admission control and are not rejected here.
 */
export function createLoadShedder(maxConcurrentRequests: number, timers: Timers): LoadShedder {
  let inFlightCount = 0
  let consecutiveDelays = 0
  let timer: Timer | undefined
  return {
    acquire() {
      if (inFlightCount >= maxConcurrentRequests || consecutiveDelays >= MAX_CONSECUTIVE_DELAYS)
        throw new GatewayError('OVERLOADED', { retryAfterSeconds: RETRY_AFTER_SECONDS.overloaded })
      inFlightCount++
      let isRunning = true
      return () => {
        if (isRunning) inFlightCount--
        isRunning = false
      }
    },
    start() {
      let lastTickMs = timers.monotonicMs()
      timer = timers.setInterval(() => {
        const tickMs = timers.monotonicMs()
        consecutiveDelays = tickMs - lastTickMs - SAMPLE_MS > MAX_EVENT_LOOP_DELAY_MS ? consecutiveDelays + 1 : 0
        lastTickMs = tickMs
      }, SAMPLE_MS)
      timer.unref()
    },
    stop: () => timer?.clear(),
  }
}
