import { SECOND_MS } from '../../kernel/clock.ts'
import { toPublicFailureCause } from '../../kernel/failure-causes.ts'
import { newId } from '../../kernel/ids.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Alerts } from '../alerts/index.ts'
import type { Clients } from '../clients/index.ts'
import type { AccountAccess, Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { AttemptStore } from './attempt-store.ts'
import type { ClaimStore } from './claim-store.ts'
import { buildMessage } from './message.ts'
import { CLAIM_LEASE_MS, CONCURRENCY, type ClaimedDelivery, type Delivery } from './model.ts'
import { computeNextAttemptAt } from './next-attempt.ts'
import { sendWebhook, type WebhookRequest, type WebhookResult } from './webhook-request.ts'
import type { WebhookEndpointStore } from './webhook-endpoint-store.ts'

/** The dependencies of attempts. */
export interface AttemptsDependencies {
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly alerts: Alerts
  readonly clients: Clients
  readonly consents: Consents
  readonly ledger: Ledger
  readonly metrics: Pick<Metrics, 'deliveryAttemptDuration'>
}

/** The stores that attempts write to. */
export interface AttemptsStores {
  readonly claims: ClaimStore
  readonly attempts: AttemptStore
  readonly endpoints: WebhookEndpointStore
}

/** Attempts to deliver. Each requires an active consent at that moment. */
export interface Attempts {
  /**
   * Makes one attempt of a claimed delivery and stores its outcome. Drops the delivery if its consent, endpoint or client is
   * no longer active. Does not reject: what fails is logged, and the delivery is due again at the latest when its lease ends.
   */
  run(claimed: ClaimedDelivery): Promise<void>
  /** From now on, an interrupted request is not counted: the gateway itself interrupts it by stopping. */
  markStopping(): void
}

/** Creates the attempts of one process. */
export function createAttempts(
  { database, world, seal, alerts, clients, consents, ledger, metrics }: AttemptsDependencies,
  { claims, attempts, endpoints }: AttemptsStores,
): Attempts {
  // Its own connections, one for each slot, so that no attempt spends its time waiting for a connection.
  const http = world.http.pool({ connections: CONCURRENCY.total })
  let isStopping = false

  /** The request to make, or `undefined` if the delivery must be dropped. */
  async function prepare(
    claimed: ClaimedDelivery,
  ): Promise<{ request: WebhookRequest; access: AccountAccess } | undefined> {
    const alert = await alerts.find(claimed.alertId)
    const endpoint = await endpoints.find(claimed.webhookEndpointId)
    const client = endpoint && (await clients.find(endpoint.clientId))
    const accesses = alert?.accountId ? await consents.findAccess([alert.accountId], 'alerts:read') : []
    const access = endpoint && selectAccess(claimed, endpoint.clientId, accesses)
    if (!alert || !access || endpoint.status !== 'ACTIVE' || client?.status !== 'ACTIVE') return undefined
    const { clientId, customerId } = access.grant
    return {
      access,
      request: {
        url: endpoint.url,
        signingSecret: String(await seal.unseal(`webhook-secret:${endpoint.id}`, endpoint.sealedSigningSecret)),
        deliveryId: claimed.id,
        message: buildMessage(alerts.viewUnder(alert, access), consents.subjectOf(clientId, customerId)),
      },
    }
  }

  /** Stores the attempt. If the claim was not lost, also ends or reschedules the delivery. */
  async function storeOutcome(
    claimed: ClaimedDelivery,
    { failureCause, ...result }: WebhookResult,
    access?: AccountAccess,
  ): Promise<void> {
    const { id, alertId } = claimed
    const now = world.clock.now()
    const attemptNumber = await database.transaction(async (tx) => {
      const progress = await claims.countAttempt(tx, claimed, access?.grant.consentId ?? claimed.consentId)
      const number = await attempts.add(tx, id, {
        ...result,
        id: newId('atpt', world.randomness),
        failureCause: failureCause && toPublicFailureCause(failureCause),
      })
      if (!progress) return number
      if (result.outcome !== 'ACCEPTED') {
        const next = computeNextAttemptAt(progress, now, world.randomness)
        if (next) await claims.reschedule(tx, claimed, next)
        else await claims.finish(tx, claimed, 'FAILED', now)
        return number
      }
      await claims.finish(tx, claimed, 'DELIVERED', now)
      if (access) {
        const { clientId, customerId, consentId, purposes } = access.grant
        const ledgerSubject = { accountIds: [access.accountId], subjectId: alertId, purposes }
        await ledger.record(tx, { action: 'ALERT_DELIVERED', clientId, customerId, consentId, ...ledgerSubject })
      }
      return number
    })
    world.log.info('delivery.attempted', { deliveryId: id, attempt: attemptNumber, code: result.outcome })
  }

  /** Repeats a failed write, so that an endpoint does not receive an accepted message again. */
  async function storeOutcomeWithRetry(...args: Parameters<typeof storeOutcome>): Promise<void> {
    for (const delayMs of RETRIES.webhookOutcome.delaysMs)
      try {
        await storeOutcome(...args)
        return
      } catch (error) {
        world.log.warn('delivery.write_failed', { deliveryId: args[0].id, trace: errorTrace(error) })
        await world.timers.sleep(delayMs)
      }
    return storeOutcome(...args)
  }

  /** Throws if no request was made. */
  async function attempt(claimed: ClaimedDelivery): Promise<void> {
    const prepared = await prepare(claimed)
    if (!prepared) {
      await database.transaction((tx) => claims.finish(tx, claimed, 'DROPPED', world.clock.now()))
      return
    }
    // Preparing may have taken longer than the lease.
    const renewed = await claims.renew(claimed, CLAIM_LEASE_MS)
    if (!renewed) return
    const startedAtMs = world.timers.monotonicMs()
    const result = await sendWebhook(http, world.clock, prepared.request)
    const isInterrupted = isStopping && result.outcome === 'UNREACHABLE'
    const { outcome } = result
    if (!isInterrupted)
      metrics.deliveryAttemptDuration.observe({ outcome }, (world.timers.monotonicMs() - startedAtMs) / SECOND_MS)
    if (result.failureCause && !isInterrupted)
      world.log.info('delivery.unreachable', { deliveryId: claimed.id, failureCause: result.failureCause })
    const storing = isInterrupted ? claims.release(renewed) : storeOutcomeWithRetry(renewed, result, prepared.access)
    // Not `NOT_SENT`: a request was made, so the delivery stays claimed until its lease ends.
    await storing.catch((error: unknown) => logFailure(claimed, error))
  }

  function logFailure({ id }: Delivery, error: unknown): void {
    world.log.error('delivery.failed', { deliveryId: id, trace: errorTrace(error) })
  }

  /** Counts an attempt without a request, so that it is rescheduled and finally given up like any other. */
  async function recordNotSent(claimed: ClaimedDelivery, error: unknown): Promise<void> {
    logFailure(claimed, error)
    if (isStopping) return claims.release(claimed)
    const attemptedAt = world.clock.now()
    return storeOutcome(claimed, { attemptedAt, httpStatus: null, outcome: 'NOT_SENT', failureCause: null })
  }

  return {
    run: (claimed) =>
      attempt(claimed)
        .catch((error: unknown) => recordNotSent(claimed, error))
        .catch((error: unknown) => logFailure(claimed, error)),
    markStopping() {
      isStopping = true
    },
  }
}

/**
 * The access that a delivery is sent under: by the consent that it was scheduled for, or by another of the same client that
 * the customer had given by then. A consent does not cover alerts from before it was given.
 */
function selectAccess(
  { consentId, createdAt }: Delivery,
  clientId: string,
  accesses: readonly AccountAccess[],
): AccountAccess | undefined {
  return (
    accesses.find(({ grant }) => grant.consentId === consentId) ??
    accesses.find(({ grant }) => grant.clientId === clientId && grant.grantedAt <= createdAt)
  )
}
