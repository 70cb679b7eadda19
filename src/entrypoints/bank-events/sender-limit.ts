import { networkOf } from '../../kernel/addresses.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { randomFraction } from '../../kernel/ids.ts'
import { createRateLimiter, type RateLimit } from '../../kernel/rate-limiter.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'
import type { World } from '../../kernel/world.ts'

/**
 * Limits how many events one sender may send, and how many of them may fail, by connector and address: who sends is not known until
 * the signature is verified.
 */
export interface SenderLimit {
  /** Counts an event. Throws `OVERLOADED` if the sender has exceeded a limit; then it has waited before. */
  count(connectorId: string, address: string): Promise<void>
  /** Counts the failure of an event that `count` has counted. */
  recordFailure(connectorId: string, address: string): void
}

/** Events of one connector from one address: 50 a second, which is four million a day, and 600 at once. */
const EVENTS: RateLimit = { burst: 600, perMinute: 3_000 }
/** Those of them that fail, such as forged ones. */
const FAILURES: RateLimit = { burst: 600, perMinute: 60 }
/**
 * How long a refusal waits: a connection cannot be used for more events meanwhile, so that refusals do not use up the process. Each
 * waits for a random time, because connections that were refused together would otherwise send again together.
 */
const HOLD_MS = { min: 1_000, max: 3_000 }
/** Refusals that wait. Further ones do not. */
const MAX_HELD = 1_000

/** Creates the limit of one process. */
export function createSenderLimit({
  clock,
  timers,
  randomness,
}: Pick<World, 'clock' | 'timers' | 'randomness'>): SenderLimit {
  const events = createRateLimiter(EVENTS, clock)
  const failures = createRateLimiter(FAILURES, clock)
  let heldCount = 0

  async function hold(): Promise<void> {
    if (heldCount >= MAX_HELD) return
    heldCount++
    await timers
      .sleep(HOLD_MS.min + randomFraction(randomness) * (HOLD_MS.max - HOLD_MS.min))
      .finally(() => heldCount--)
  }

  return {
    async count(connectorId, address) {
      try {
        const key = keyOf(connectorId, address)
        failures.check(key)
        events.take(key)
      } catch (error) {
        await hold()
        const { retryAfterSeconds = RETRY_AFTER_SECONDS.eventQueueFull } = toGatewayError(error)
        throw new GatewayError('OVERLOADED', { internalMessage: 'the sender exceeds its limit', retryAfterSeconds })
      }
    },
    recordFailure: (connectorId, address) => failures.charge(keyOf(connectorId, address)),
  }
}

const keyOf = (connectorId: string, address: string): string => `${connectorId} ${networkOf(address)}`
