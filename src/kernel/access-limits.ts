import { networkOf } from './addresses.ts'
import type { Clock } from './clock.ts'
import { createRateLimiter, type RateLimit } from './rate-limiter.ts'
import type { Tally } from './tally.ts'

/** What somebody may do at one entrypoint, in each process. Until they have proven who they are the address pays, then the client. */
export interface AccessLimits {
  /** Throws `RATE_LIMITED` if this address failed too often. */
  check(address: string): void
  /** The same, and takes one of the address's requests. */
  enter(address: string): void
  /** Counts a request that proved nothing and was refused. */
  fail(address: string): void
  /** Throws `RATE_LIMITED` if this client, which has proven who it is, has no more requests. */
  checkClient(clientId: string): void
  /** Counts a request against the client that it turned out to be from, and no longer against the address. */
  prove(address: string, clientId: string): void
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
const perMinute = (count: number): RateLimit => ({ atOnce: count, perMinute: count })
const USUAL: Limits = {
  failures: { atOnce: 600, perMinute: 60 },
  requests: perMinute(3_000),
  client: perMinute(6_000),
}
const LIMITS = {
  oauth: USUAL,
  events: USUAL,
  // A platform learns by a refusal that a token is over, so many of them are nothing unusual.
  tokens: { ...USUAL, failures: perMinute(3_000) },
} as const satisfies Record<string, Limits>

/** The entrypoints that have such limits. */
export type LimitedEntrypoint = keyof typeof LIMITS

/** The limits of an entrypoint. What is refused by them is counted in `refused`. */
export function createAccessLimits(entrypoint: LimitedEntrypoint, clock: Clock, refused: Tally): AccessLimits {
  const limits = LIMITS[entrypoint]
  const failures = createRateLimiter(limits.failures, clock)
  const requests = createRateLimiter(limits.requests, clock)
  const clients = createRateLimiter(limits.client, clock)

  function counted(refuse: () => void): void {
    try {
      refuse()
    } catch (error) {
      refused.count({ route: entrypoint })
      throw error
    }
  }

  return {
    check: (address) => counted(() => failures.check(networkOf(address))),
    enter: (address) =>
      counted(() => {
        failures.check(networkOf(address))
        requests.take(networkOf(address))
      }),
    fail: (address) => failures.count(networkOf(address)),
    checkClient: (clientId) => counted(() => clients.check(clientId)),
    prove(address, clientId) {
      requests.giveBack(networkOf(address))
      clients.count(clientId)
    },
  }
}
