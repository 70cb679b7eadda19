import { createInFlight } from '../../kernel/in-flight.ts'
import type { Clock } from '../../kernel/clock.ts'
import type { Attempts } from './attempts.ts'
import type { ClaimStore } from './claim-store.ts'
import { CLAIM_LEASE_MS, CONCURRENCY } from './model.ts'

/** The deliveries that are due, as one process works on them. */
export interface DeliveryQueue {
  /**
   * Claims due deliveries, as many as `CONCURRENCY` allows, and starts one attempt of each. Returns their number. Calls `onEnd`
   * when an attempt has ended, because another one may start then.
   */
  startDue(onEnd: () => void): Promise<number>
  /** The number of deliveries whose next attempt is due. 10,000 means 10,000 or more. */
  countDue(): Promise<number>
  /** Resolves once every attempt in flight has ended. */
  waitUntilIdle(): Promise<void>
}

const MAX_COUNTED = 10_000

/** Creates the queue; it does nothing until `startDue`. */
export function createDeliveryQueue(claims: ClaimStore, attempts: Attempts, clock: Clock): DeliveryQueue {
  const inFlight = createInFlight()
  return {
    async startDue(onEnd) {
      const freeSlots = CONCURRENCY.total - inFlight.count
      if (freeSlots <= 0) return 0
      const limits = { ...CONCURRENCY, freeSlots, inFlightByEndpoint: inFlight.countByGroup() }
      const claimed = await claims.claim(limits, clock.now(), CLAIM_LEASE_MS)
      for (const delivery of claimed) inFlight.start(delivery.webhookEndpointId, () => attempts.run(delivery), onEnd)
      return claimed.length
    },
    countDue: () => claims.countDue(clock.now(), MAX_COUNTED),
    waitUntilIdle: () => inFlight.waitUntilIdle(),
  }
}
