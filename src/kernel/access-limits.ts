import { networkOf } from './addresses.ts'
import type { Clock } from './clock.ts'
import { createRateLimiter, type RateLimit } from './rate-limiter.ts'
import type { EventCounter } from './event-counter.ts'

/** Rate limits of one entrypoint, counted per process: by address until the sender has authenticated, then by client. */
export interface AccessLimits {
  /** Throws `RATE_LIMITED` if this address has too many failed requests. */
  checkAddress(address: string): void
  /** Checks the failures as `checkAddress` does and counts one unauthenticated request. Throws `RATE_LIMITED` beyond either limit. */
  admit(address: string): void
  /** Counts a refused request that did not authenticate. */
  recordFailure(address: string): void
  /** Throws `RATE_LIMITED` if this authenticated client has used up its requests. */
  checkClient(clientId: string): void
  /** Moves the count of a request from its address to the client that authenticated. */
  attributeToClient(address: string, clientId: string): void
}

/** The limits of one entrypoint, by IPv4 address or IPv6 /64 network, and by client. */
interface Limits {
  /** Failed requests of an address. Beyond the limit, its unauthenticated requests are refused unread. */
  readonly failures: RateLimit
  /** Unauthenticated requests of an address. */
  readonly requests: RateLimit
  /** Requests of an authenticated client. */
  readonly client: RateLimit
}
const perMinute = (count: number): RateLimit => ({ burst: count, perMinute: count })
const DEFAULT_LIMITS: Limits = {
  failures: { burst: 600, perMinute: 60 },
  requests: perMinute(3_000),
  client: perMinute(6_000),
}
const LIMITS = {
  oauth: DEFAULT_LIMITS,
  events: DEFAULT_LIMITS,
  keys: DEFAULT_LIMITS,
  // A platform notices an expired token by the refusal, so many refusals are normal.
  tokens: { ...DEFAULT_LIMITS, failures: perMinute(3_000) },
} as const satisfies Record<string, Limits>

/** An entrypoint that has access limits. */
export type LimitedEntrypoint = keyof typeof LIMITS

/** Creates the limits of an entrypoint. Each refusal is counted in `refusedRequests`, by route. */
export function createAccessLimits(
  entrypoint: LimitedEntrypoint,
  clock: Clock,
  refusedRequests: EventCounter,
): AccessLimits {
  const limits = LIMITS[entrypoint]
  const failures = createRateLimiter(limits.failures, clock)
  const requests = createRateLimiter(limits.requests, clock)
  const clients = createRateLimiter(limits.client, clock)

  function countRefusals(enforce: () => void): void {
    try {
      enforce()
    } catch (error) {
      refusedRequests.increment({ route: entrypoint })
      throw error
    }
  }

  return {
    checkAddress: (address) => countRefusals(() => failures.check(networkOf(address))),
    admit: (address) =>
      countRefusals(() => {
        failures.check(networkOf(address))
        requests.take(networkOf(address))
      }),
    recordFailure: (address) => failures.charge(networkOf(address)),
    checkClient: (clientId) => countRefusals(() => clients.check(clientId)),
    attributeToClient(address, clientId) {
      requests.refund(networkOf(address))
      clients.charge(clientId)
    },
  }
}
