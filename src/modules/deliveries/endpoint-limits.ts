import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import type { Randomness } from '../../kernel/ids.ts'
import { RETRIES, retryDelayMs } from '../../kernel/retry.ts'

/** How many attempts to one endpoint may be in flight: it starts at `initial`, and follows what the endpoint can take. */
export const ENDPOINT_LIMIT = { initial: 5, max: 40 } as const
/** Failures in a row after which the circuit breaker of an endpoint opens. */
const MAX_FAILURES = 5
/** Endpoints without attempts for this long are forgotten. */
const FORGET_AFTER_MS = 10 * MINUTE_MS

interface EndpointState {
  limit: number
  failureCount: number
  /** How long the circuit breaker admits no attempt after the last one. */
  pauseMs: number
  lastUsedMs: number
}

/** The limits of each endpoint in one process. */
export interface EndpointLimits {
  /** The attempts that may be in flight: 0 while the circuit breaker is open, and 1 for its probe. */
  limitOf(webhookEndpointId: string): number
  /** Records the outcome of an attempt: whether the endpoint responded in time and accepted the message. */
  record(webhookEndpointId: string, isAccepted: boolean): void
  /** Forgets the endpoint: its next attempts are made like the first. */
  reset(webhookEndpointId: string): void
  /** The endpoints whose limit differs from that of a new one. */
  readonly endpointIds: Iterable<string>
}

/**
 * Creates the limits. Each accepted message raises the limit of its endpoint by one, each failure halves it. After five failures
 * in a row, the circuit breaker opens: deliveries stay due, and one probe is made after each pause until one is accepted.
 */
export function createEndpointLimits(clock: Clock, randomness: Randomness): EndpointLimits {
  const states = new Map<string, EndpointState>()

  function limitOf(webhookEndpointId: string): number {
    const state = states.get(webhookEndpointId)
    if (!state) return ENDPOINT_LIMIT.initial
    if (state.failureCount < MAX_FAILURES) return state.limit
    // The absolute difference, so that a clock that was set back does not prolong the pause.
    return Math.abs(clock.now().getTime() - state.lastUsedMs) < state.pauseMs ? 0 : 1
  }

  function forgetIdle(nowMs: number): void {
    for (const [id, { lastUsedMs }] of states) {
      if (nowMs - lastUsedMs < FORGET_AFTER_MS) return
      states.delete(id)
    }
  }

  return {
    limitOf,
    record(webhookEndpointId, isAccepted) {
      const nowMs = clock.now().getTime()
      const { limit = ENDPOINT_LIMIT.initial, failureCount = 0 } = states.get(webhookEndpointId) ?? {}
      states.delete(webhookEndpointId)
      const failures = isAccepted ? 0 : failureCount + 1
      states.set(webhookEndpointId, {
        limit: isAccepted ? Math.min(limit + 1, ENDPOINT_LIMIT.max) : Math.max(1, limit >> 1),
        failureCount: failures,
        pauseMs:
          failures < MAX_FAILURES ? 0 : retryDelayMs(RETRIES.webhookEndpoint, failures - MAX_FAILURES + 1, randomness),
        lastUsedMs: nowMs,
      })
      forgetIdle(nowMs)
    },
    reset: (webhookEndpointId) => void states.delete(webhookEndpointId),
    get endpointIds() {
      return states.keys()
    },
  }
}
