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

/** Whether the circuit breaker is open. */
const isOpen = ({ failureCount }: EndpointState): boolean => failureCount >= MAX_FAILURES

/** The limits of each endpoint in one process. */
export interface EndpointLimits {
  /** The attempts that may be in flight: 0 while the circuit breaker is open, and 1 for its probe. */
  limitOf(webhookEndpointId: string): number
  /**
   * Records that an attempt starts. Returns the function that records its outcome: whether the endpoint responded in time and
   * accepted the message.
   */
  start(webhookEndpointId: string): (isAccepted: boolean) => void
  /** Forgets the endpoint: its next attempts are made like the first. */
  reset(webhookEndpointId: string): void
  /** The endpoints whose limit differs from that of a new one. */
  readonly endpointIds: Iterable<string>
}

/**
 * Creates the limits. Each accepted message raises the limit of its endpoint by one, each failure halves it. After five failures
 * in a row, the circuit breaker opens: deliveries stay due, and one probe is made after each pause until one is accepted. While it is
 * open, a failure counts only if it is that of the probe: many attempts that fail at the same time are one outage.
 */
export function createEndpointLimits(clock: Clock, randomness: Randomness): EndpointLimits {
  const states = new Map<string, EndpointState>()

  // The absolute difference, so that a clock that was set back does not prolong the pause.
  const isPaused = ({ lastUsedMs, pauseMs }: EndpointState): boolean =>
    Math.abs(clock.now().getTime() - lastUsedMs) < pauseMs

  function limitOf(webhookEndpointId: string): number {
    const state = states.get(webhookEndpointId)
    if (!state) return ENDPOINT_LIMIT.initial
    if (!isOpen(state)) return state.limit
    return isPaused(state) ? 0 : 1
  }

  function record(webhookEndpointId: string, isAccepted: boolean): void {
    const { limit = ENDPOINT_LIMIT.initial, failureCount = 0 } = states.get(webhookEndpointId) ?? {}
    const nowMs = clock.now().getTime()
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
  }

  function forgetIdle(nowMs: number): void {
    for (const [id, { lastUsedMs }] of states) {
      if (nowMs - lastUsedMs < FORGET_AFTER_MS) return
      states.delete(id)
    }
  }

  return {
    limitOf,
    start(webhookEndpointId) {
      const before = states.get(webhookEndpointId)
      const probed = before && isOpen(before) && !isPaused(before) ? before : undefined
      return (isAccepted) => {
        const state = states.get(webhookEndpointId)
        // Every recorded outcome replaces the state, so the state is the same one only for the first probe after its pause.
        if (isAccepted || !state || !isOpen(state) || state === probed) record(webhookEndpointId, isAccepted)
      }
    },
    reset: (webhookEndpointId) => void states.delete(webhookEndpointId),
    get endpointIds() {
      return states.keys()
    },
  }
}
