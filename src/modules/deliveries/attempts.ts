import { SECOND_MS } from '../../kernel/clock.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import type { World } from '../../kernel/world.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Grant } from '../consents/index.ts'
import type { ClaimStore } from './claim-store.ts'
import type { EndpointLimits } from './endpoint-limits.ts'
import { CONCURRENCY, type ClaimedDelivery, type Delivery } from './model.ts'
import type { Settlement } from './settlement.ts'
import { createSigningKeyCache } from './signing-keys.ts'
import { CONNECT_TIMEOUT_MS, pushEventToken, sendWebhook, type WebhookResult } from './webhook-request.ts'

/** The dependencies of attempts. */
export interface AttemptsDependencies {
  readonly world: World
  readonly seal: Seal
  readonly metrics: Pick<Metrics, 'deliveryAttemptDuration'>
}

/** Attempts to deliver. */
export interface Attempts {
  /**
   * Makes one attempt of a claimed delivery under a grant that is active now, and stores its outcome. A test event needs no grant. Does
   * not reject: what fails is logged, and the delivery is due again at the latest when its lease ends.
   */
  run(claimed: ClaimedDelivery, grant: Grant | undefined): Promise<void>
  /** From now on, an interrupted request is not counted: the gateway itself interrupts it by stopping. */
  markStopping(): void
}

/** Creates the attempts of one process. */
export function createAttempts(
  { world, seal, metrics }: AttemptsDependencies,
  claims: ClaimStore,
  settlement: Settlement,
  limits: EndpointLimits,
): Attempts {
  // Its own connections, one for each slot, so that no attempt spends its time waiting for a connection.
  const http = world.http.pool({ connections: CONCURRENCY.total, connectTimeoutMs: CONNECT_TIMEOUT_MS })
  const keyCache = createSigningKeyCache(seal, world.clock)
  let isStopping = false

  /** Throws if no request was made. */
  async function send({ id: deliveryId, body, format, endpoint }: ClaimedDelivery): Promise<WebhookResult> {
    if (format === 'SECURITY_EVENT_TOKEN') return pushEventToken(http, world.clock, { url: endpoint.url, body })
    const signingKeys = await keyCache.keysOf(endpoint.id, endpoint.sealedKeys)
    return sendWebhook(http, world.clock, { url: endpoint.url, signingKeys, deliveryId, body })
  }

  async function attempt(claimed: ClaimedDelivery, grant: Grant | undefined): Promise<void> {
    const startedAtMs = world.timers.monotonicMs()
    const record = limits.start(claimed.webhookEndpointId)
    const result = await send(claimed)
    const { outcome, failureCause } = result
    if (isStopping && outcome === 'UNREACHABLE')
      return claims.release([claimed]).catch((error: unknown) => logFailure(claimed, error))
    // A test that fails says nothing that the breaker does not know, and must not prolong its pause.
    if (claimed.subject || outcome === 'ACCEPTED') record(outcome === 'ACCEPTED')
    metrics.deliveryAttemptDuration.observe({ outcome }, (world.timers.monotonicMs() - startedAtMs) / SECOND_MS)
    if (failureCause) world.log.info('delivery.unreachable', { deliveryId: claimed.id, failureCause })
    // Not `NOT_SENT`: a request was made, so the delivery stays claimed until its lease ends.
    await settlement.settle({ claimed, grant, result }).catch((error: unknown) => logFailure(claimed, error))
  }

  function logFailure({ id }: Delivery, error: unknown): void {
    world.log.error('delivery.failed', { deliveryId: id, trace: errorTrace(error) })
  }

  /** Counts an attempt without a request, so that it is rescheduled and finally given up like any other. */
  async function recordNotSent(claimed: ClaimedDelivery, error: unknown): Promise<void> {
    logFailure(claimed, error)
    if (isStopping) return claims.release([claimed])
    const result = {
      attemptedAt: world.clock.now(),
      httpStatus: null,
      outcome: 'NOT_SENT',
      failureCause: null,
    } as const
    return settlement.settle({ claimed, grant: undefined, result })
  }

  return {
    run: (claimed, grant) =>
      attempt(claimed, grant)
        .catch((error: unknown) => recordNotSent(claimed, error))
        .catch((error: unknown) => logFailure(claimed, error)),
    markStopping() {
      isStopping = true
    },
  }
}
