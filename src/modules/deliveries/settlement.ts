import { createBatchQueue, TRANSACTION_SPACING } from '../../kernel/batch-queue.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { toPublicFailureCause } from '../../kernel/failure-causes.ts'
import { newId } from '../../kernel/ids.ts'
import { errorTrace } from '../../kernel/log.ts'
import { RETRIES, retryDelayMs } from '../../kernel/retry.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, SqlTransaction } from '../../storage/database.ts'
import type { Grant } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import type { EndpointHealth } from './endpoint-health.ts'
import type { ClaimedDelivery } from './model.ts'
import { computeNextAttemptAt } from './next-attempt.ts'
import { settlementStore, type SettledOutcome, type StoredOutcome } from './settlement-store.ts'
import type { WebhookResult } from './webhook-request.ts'

/** The outcome of one attempt. */
export interface AttemptOutcome {
  readonly claimed: ClaimedDelivery
  /** The grant that it was sent under; undefined for a test event, and if the request could not be made. */
  readonly grant: Grant | undefined
  readonly result: Omit<WebhookResult, 'outcome'> & { readonly outcome: WebhookResult['outcome'] | 'NOT_SENT' }
}

/** An outcome with the ID of its attempt, which stays the same when a write is repeated. */
interface IdentifiedOutcome extends AttemptOutcome {
  readonly attemptId: string
}

/** Stores outcomes of attempts. */
export interface Settlement {
  /**
   * Stores the attempt. If the claim was not lost, also ends or reschedules the delivery. Records an accepted alert in the ledger in
   * both cases. Shares a transaction with outcomes that come at the same time; a failed write is repeated, so that an endpoint does
   * not receive an accepted message again.
   */
  settle(outcome: AttemptOutcome): Promise<void>
}

const BATCH = { maxSize: 100, concurrency: 1 }

/** The dependencies of the settlement. */
export interface SettlementDependencies {
  readonly database: Database
  readonly world: World
  readonly ledger: Ledger
}

/** Creates the settlement of one process. */
export function createSettlement(
  { database, world, ledger }: SettlementDependencies,
  endpointHealth: EndpointHealth,
): Settlement {
  const queue = createBatchQueue<IdentifiedOutcome, number>({
    ...BATCH,
    spacing: { ...TRANSACTION_SPACING, timers: world.timers },
    groupOf: ({ claimed }) => claimed.webhookEndpointId,
    run: (batch) => database.delivery.transaction((tx) => storeOutcomes(tx, batch)),
    isolates: (error) => !(error instanceof GatewayError),
  })

  /** Returns the number of each attempt. */
  async function storeOutcomes(tx: SqlTransaction, batch: readonly IdentifiedOutcome[]): Promise<number[]> {
    const now = world.clock.now()
    const outcomes = batch.map((outcome) => toStoredOutcome(outcome, now, world))
    const settled = new Map<string, SettledOutcome>(
      (await settlementStore.settle(tx, outcomes, now)).map((one) => [one.attemptId, one]),
    )
    // A row that was not updated is one that is in the batch twice.
    if (settled.size < batch.length) throw new Error('a delivery is settled twice in one batch')
    // Also those of a claim that was lost, because the consent ended or the lease was over: the client has the message.
    await ledger.recordEntries(
      tx,
      batch.flatMap(({ claimed, grant, result }, index) =>
        grant && result.outcome === 'ACCEPTED' && settled.get(outcomes[index]!.attemptId)?.isNew
          ? deliveredEntries(claimed, grant)
          : [],
      ),
    )
    const failedInOrder = batch.flatMap(({ claimed: { webhookEndpointId, subject, sequence, isInOrder } }, index) => {
      const { nextAttemptAt, attemptId } = outcomes[index]!
      // If the claim was lost, the delivery may have ended, and then nothing waits for it.
      return isInOrder && subject && nextAttemptAt && settled.get(attemptId)?.isHeld
        ? [{ webhookEndpointId, customerId: subject.customerId, sequence, nextAttemptAt }]
        : []
    })
    if (failedInOrder.length > 0) await settlementStore.postponeFollowing(tx, failedInOrder)
    await endpointHealth.record(
      tx,
      batch.flatMap(({ claimed: { endpoint, subject }, result: { attemptedAt, httpStatus, outcome } }) =>
        outcome === 'NOT_SENT'
          ? []
          : [{ endpoint, attemptedAt, isAccepted: outcome === 'ACCEPTED', httpStatus, isTest: subject === null }],
      ),
    )
    return outcomes.map(({ attemptId }) => settled.get(attemptId)!.number)
  }

  return {
    async settle(outcome) {
      const { id: deliveryId } = outcome.claimed
      const identified = { ...outcome, attemptId: newId('atpt', world.randomness) }
      const endsAtMs = world.timers.monotonicMs() + RETRIES.webhookOutcome.timeoutMs
      for (let failureCount = 1; ; failureCount++)
        try {
          const attempt = await queue.add(identified)
          world.log.info('delivery.attempted', { deliveryId, attempt, code: outcome.result.outcome })
          return
        } catch (error) {
          const delayMs = retryDelayMs(RETRIES.webhookOutcome, failureCount, world.randomness)
          if (world.timers.monotonicMs() + delayMs > endsAtMs) throw error
          world.log.warn('delivery.write_failed', { deliveryId, trace: errorTrace(error) })
          await world.timers.sleep(delayMs)
        }
    },
  }
}

function toStoredOutcome(
  { claimed, grant, result, attemptId }: IdentifiedOutcome,
  now: Date,
  { randomness }: Pick<World, 'randomness'>,
): StoredOutcome {
  const { id: deliveryId, claimedUntil, attemptCount, scheduleStartedAt: startedAt, priority } = claimed
  const { attemptedAt, httpStatus, outcome, failureCause, retryAfterSeconds, setError = null } = result
  const next =
    outcome === 'ACCEPTED'
      ? undefined
      : computeNextAttemptAt(
          { attemptCount: attemptCount + 1, startedAt, priority, retryAfterSeconds },
          now,
          randomness,
        )
  return {
    deliveryId,
    claimedUntil,
    attemptId,
    attemptedAt,
    httpStatus,
    outcome,
    failureCause: failureCause && toPublicFailureCause(failureCause),
    setError,
    consentId: grant?.consentId ?? claimed.consentId,
    status: outcome === 'ACCEPTED' ? 'DELIVERED' : next ? 'PENDING' : 'FAILED',
    nextAttemptAt: next ?? null,
  }
}

/** What the ledger records of an accepted message: an alert. Of a consent, a message has nothing that its client does not know. */
const deliveredEntries = (
  { alertId, subject }: ClaimedDelivery,
  { clientId, customerId, consentId, purposes }: Grant,
) =>
  subject?.kind === 'ALERT'
    ? [
        {
          action: 'ALERT_DELIVERED' as const,
          clientId,
          customerId,
          consentId,
          accountIds: subject.accountId === null ? [] : [subject.accountId],
          ...(alertId !== null && { subjectId: alertId }),
          purposes,
        },
      ]
    : []
