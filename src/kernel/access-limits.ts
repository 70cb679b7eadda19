import { networkOf } from './addresses.ts'
import type { Clock } from './clock.ts'
import { createRateLimiter, type RateLimit } from './rate-limiter.ts'
import type { EventCounter } from './event-counter.ts'

/** What somebody may do at one entrypoint, in each process. Until they have proven who they are the address pays, then the client. */
export interface AccessLimits {
  /** Throws `RATE_LIMITED` if this address failed too often. */
  checkAddress(address: string): void
  /** The same, and takes one of the address's requests. */
  admit(address: string): void
  /** Counts a request that proved nothing and was refused. */
  recordFailure(address: string): void
  /** Throws `RATE_LIMITED` if this client, which has proven who it is, has no more requests. */
  checkClient(clientId: string): void
  /** Counts a request against the client that it turned out to be from, and no longer against the address. */
  attributeToClient(address: string, clientId: string): void
}

/** The limits of one entrypoint: by address (IPv4) or network of 64 bits (IPv6), and by client. */
interface Limits {
  /** Refused requests of an address; beyond, all that it sends without proof is refused unread. */
  readonly failures: RateLimit
  /** Requests of an address without proof. */
  readonly requests: RateLimit
  /** Requests of a client with proof. */
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
  // A platform learns by a refusal that a token is over, so many of them are nothing unusual.
  tokens: { ...DEFAULT_LIMITS, failures: perMinute(3_000) },
} as const satisfies Record<string, Limits>

/** The entrypoints that have such limits. */
export type LimitedEntrypoint = keyof typeof LIMITS

/** The limits of an entrypoint. What is refused by them is counted in `refused`. */
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
