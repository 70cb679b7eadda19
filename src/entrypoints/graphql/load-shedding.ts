import type { Timers, Timer } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'

/** Says no early, while saying no is all that there is time for. */
export interface LoadShedder {
  /** Counts a request in; the returned function counts it out. Throws `OVERLOADED` where there is too much to do. */
  acquire(): () => void
  start(): void
  stop(): void
}

const SAMPLE_MS = 100
/** How late this process may wake up: everything that it does is late by as much. */
const MAX_EVENT_LOOP_DELAY_MS = 250
/** One stall is over when it is noticed, such as a long collection of garbage; so many in a row are a process that runs late. */
const MAX_CONSECUTIVE_DELAYS = 2
const RETRY_AFTER_SECONDS = 1

/**
 * Refuses requests beyond `maxUnderWay`, and all while the process runs late. Events that banks push do not come this
 * way: they are taken as long as anything is.
 */
export function createLoadShedder(maxConcurrentRequests: number, timers: Timers): LoadShedder {
  let inFlightCount = 0
  let consecutiveDelays = 0
  let timer: Timer | undefined
  return {
    acquire() {
      if (inFlightCount >= maxConcurrentRequests || consecutiveDelays >= MAX_CONSECUTIVE_DELAYS)
        throw new GatewayError('OVERLOADED', { retryAfterSeconds: RETRY_AFTER_SECONDS })
      inFlightCount++
      let isHeld = true
      return () => {
        if (isHeld) inFlightCount--
        isHeld = false
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
