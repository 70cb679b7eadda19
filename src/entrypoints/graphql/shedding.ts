import { GatewayError } from '../../kernel/errors.ts'

/** Says no early, while saying no is all that there is time for. */
export interface Shedding {
  /** Counts a request in; the returned function counts it out. Throws `OVERLOADED` where there is too much to do. */
  enter(): () => void
  start(): void
  stop(): void
}

const SAMPLE_MS = 100
/** How late this process may wake up: everything that it does is late by as much. */
const MAX_LATE_MS = 250
/** One stall is over when it is noticed, such as a long collection of garbage; so many in a row are a process that runs late. */
const LATE_IN_A_ROW = 2
const RETRY_AFTER_S = 1

/**
 * Refuses requests beyond `maxUnderWay`, and all while the process runs late. Events that banks push do not come this
 * way: they are taken as long as anything is.
 */
export function createShedding(maxUnderWay: number, now: () => number = () => performance.now()): Shedding {
  let underWay = 0
  let late = 0
  let timer: NodeJS.Timeout | undefined
  return {
    enter() {
      if (underWay >= maxUnderWay || late >= LATE_IN_A_ROW)
        throw new GatewayError('OVERLOADED', { retryAfterS: RETRY_AFTER_S })
      underWay++
      let inside = true
      return () => {
        if (inside) underWay--
        inside = false
      }
    },
    start() {
      let last = now()
      timer = setInterval(() => {
        const at = now()
        late = at - last - SAMPLE_MS > MAX_LATE_MS ? late + 1 : 0
        last = at
      }, SAMPLE_MS)
      timer.unref()
    },
    stop: () => clearInterval(timer),
  }
}
