import { GatewayError } from '../../kernel/errors.ts'
import { RETRIES, retryDelayMs } from '../../kernel/retry.ts'
import { toRetryAfterSeconds } from '../../kernel/retry-after.ts'
import type { World } from '../../kernel/world.ts'

/**
 * Stops one kind of call to a bank that keeps failing. CLOSED: calls pass. OPEN: no call passes until its time is over.
 * HALF-OPEN: one call, the probe, passes and decides for all.
 */
export interface CircuitBreaker {
  /** Throws `BANK_UNAVAILABLE` with the seconds to wait if the call must not be made. */
  assertClosed(): void
  /** The bank responded, also if with an error that is not its failure: closes the circuit. */
  recordSuccess(): void
  /** The bank failed in a call about this account or consent. */
  recordFailure(error: GatewayError, subjectId: string): void
  /** The call says nothing about the bank's health. Another call may be the probe. */
  recordNeutral(): void
}

/** Failures in a row that open the circuit, if they concern the bank as a whole. */
export const FAILURE_THRESHOLD = 5
/**
 * Failures concern the bank as a whole if the bank did not respond, or if they are about so many accounts or consents. One
 * account that fails again and again opens nothing.
 */
export const DISTINCT_SUBJECT_THRESHOLD = 3

/** Creates a closed circuit. `RETRIES.circuitBreaker` has its times. */
export function createCircuitBreaker({ clock, randomness }: Pick<World, 'clock' | 'randomness'>): CircuitBreaker {
  let failureCount = 0
  let unansweredCount = 0
  const failedSubjectIds = new Set<string>()
  /** How often the circuit opened without a success in between; 0 if it is closed. */
  let openCount = 0
  let openUntilMs = 0
  let isProbing = false

  const nowMs = (): number => clock.now().getTime()

  return {
    assertClosed() {
      if (openCount === 0) return
      const waitMs = openUntilMs - nowMs()
      if (waitMs > 0 || isProbing)
        throw new GatewayError('BANK_UNAVAILABLE', {
          internalMessage: 'circuit open',
          retryAfterSeconds: toRetryAfterSeconds(waitMs),
        })
      isProbing = true
    },

    recordSuccess() {
      failureCount = unansweredCount = openCount = 0
      failedSubjectIds.clear()
      isProbing = false
    },

    recordFailure(error, subjectId) {
      // A call that began before the circuit opened is no probe and must not prolong the wait.
      if (openCount > 0 && !isProbing) return
      isProbing = false
      failureCount++
      if (isUnanswered(error)) unansweredCount++
      if (failedSubjectIds.size < DISTINCT_SUBJECT_THRESHOLD) failedSubjectIds.add(subjectId)
      const isBankWide = unansweredCount >= FAILURE_THRESHOLD || failedSubjectIds.size >= DISTINCT_SUBJECT_THRESHOLD
      if (openCount === 0 && (failureCount < FAILURE_THRESHOLD || !isBankWide)) return
      openUntilMs = nowMs() + retryDelayMs(RETRIES.circuitBreaker, ++openCount, randomness)
    },

    recordNeutral() {
      isProbing = false
    },
  }
}

/** Whether the bank sent no response at all. */
const isUnanswered = ({ code, failureCause }: GatewayError): boolean =>
  code === 'BANK_TIMEOUT' || (code === 'BANK_UNAVAILABLE' && failureCause !== undefined)
