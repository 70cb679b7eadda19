import { GatewayError } from '../../kernel/errors.ts'
import type { Deadline } from './deadline.ts'

/** Limits how many calls run at once. The limit adapts to the capacity of the bank. */
export interface Semaphore {
  /** Waits for a slot, at most until the deadline. Throws `BANK_TIMEOUT`, or `BANK_UNAVAILABLE` if too many calls wait. */
  acquire(deadline: Deadline): Promise<void>
  /** Returns the slot. */
  release(): void
  /** Raises the limit by one for each full round of calls that succeeded. */
  increaseLimit(): void
  /** Halves the limit, because a timeout indicates that the bank is overloaded. */
  decreaseLimit(): void
}

/** Calls at once, per bank, process and kind of call. */
export const CONCURRENCY_LIMIT = { initial: 24, min: 2, max: 64 }
/** Calls that may wait for a slot. */
export const MAX_QUEUED_CALLS = 500

/**
 * Creates a semaphore with the initial limit. Slots are given in the order of the calls. `waiting` counts the calls that wait
 * for a slot.
 */
export function createSemaphore(waiting: { inc(): void; dec(): void }): Semaphore {
  const queue: (() => void)[] = []
  let limit = CONCURRENCY_LIMIT.initial
  let activeCount = 0

  const hasFreeSlot = (): boolean => activeCount < Math.floor(limit)

  /** Assigns the slot here and not when the waiting call continues, because a new call could otherwise take it before. */
  function admitQueued(): void {
    while (queue.length > 0 && hasFreeSlot()) {
      activeCount++
      queue.shift()!()
    }
  }

  function release(): void {
    activeCount--
    admitQueued()
  }

  async function waitInQueue(deadline: Deadline): Promise<void> {
    let admit: () => void = () => undefined
    const admitted = new Promise<void>((resolve) => queue.push((admit = resolve)))
    waiting.inc()
    try {
      await deadline.race(admitted)
    } catch (error) {
      const index = queue.indexOf(admit)
      if (index >= 0) queue.splice(index, 1)
      // The slot was assigned at the same moment as the timeout.
      else release()
      throw error
    } finally {
      waiting.dec()
    }
  }

  return {
    release,
    async acquire(deadline) {
      if (hasFreeSlot()) activeCount++
      else if (queue.length < MAX_QUEUED_CALLS) await waitInQueue(deadline)
      else throw new GatewayError('BANK_UNAVAILABLE', { internalMessage: 'too many queued calls for this bank' })
    },
    increaseLimit() {
      limit = Math.min(CONCURRENCY_LIMIT.max, limit + 1 / limit)
    },
    decreaseLimit() {
      limit = Math.max(CONCURRENCY_LIMIT.min, limit / 2)
    },
  }
}
