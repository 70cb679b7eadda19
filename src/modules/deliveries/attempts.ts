import { addMs, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import { toPublicFailureCause } from '../../kernel/failure-causes.ts'
import { newId } from '../../kernel/ids.ts'
import { errorTrace } from '../../kernel/log.ts'
import { OutboundError } from '../../kernel/outbound-error.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Alerts } from '../alerts/index.ts'
import type { Clients } from '../clients/index.ts'
import type { AccountAccess, Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import { buildMessage, type WebhookMessage } from './message.ts'
import {
  GIVE_UP_AFTER_MS,
  MIN_ATTEMPTS,
  RETRY_DELAYS_MS,
  type ClaimedDelivery,
  type Delivery,
  type DeliveryAttempt,
  type DeliveryAttemptOutcome,
  type WebhookEndpoint,
} from './model.ts'
import { webhookHeaders } from './signature.ts'
import type { DeliveryStore } from './store.ts'

/** What attempts depend on. */
export interface AttemptsDependencies {
  readonly database: Database
  readonly world: World
  readonly seal: Seal
  readonly alerts: Alerts
  readonly clients: Clients
  readonly consents: Consents
  readonly ledger: Ledger
}

/** Makes the attempts of one process. */
export interface Attempts {
  /**
   * Begins one attempt at each due delivery that there is a place for and returns how many there were. Calls `over` at
   * the end of each, whatever its outcome: then there is a place again.
   */
  startDue(onEnd: () => void): Promise<number>
  /** Resolves once every attempt under way has ended. */
  whenIdle(): Promise<void>
  /** From now on a request that is cut off counts as none: it is the gateway that ends. */
  markStopping(): void
}

/**
 * Attempts under way in one process. `client` bounds what one client's endpoints take together and `endpoint` what one
 * takes alone. Of `all`, `reserved` places are only for clients that have fewer than `reservedEach` attempts under way, so
 * that many slow clients leave room for the others.
 */
const CONCURRENCY = { total: 200, perClient: 20, perEndpoint: 5, reserved: 40, reservedPerClient: 2 }
/** Longer than an attempt and storing its outcome. What a killed process had claimed is due again after it. */
const LEASE_MS = 20 * SECOND_MS
/** When to store an outcome again that could not be stored: the request was made, and must not be made again for that. */
const STORE_RETRY_DELAYS_MS = [200, 800, 3_200]
const ATTEMPT_TIMEOUT_MS = 10 * SECOND_MS
const MAX_RESPONSE_BYTES = 65_536

/** Attempts ask for a live consent first, and count once they have an outcome. */
export function createAttempts(dependencies: AttemptsDependencies, store: DeliveryStore): Attempts {
  const { database, world, seal, alerts, clients, consents, ledger } = dependencies
  // Connections of their own, one for each place, so that no attempt waits for a connection while its time runs.
  const http = world.http.pool({ connections: CONCURRENCY.total })
  const inFlight = new Map<string, Set<Promise<void>>>()
  let isStopping = false
  const allInFlight = (): Promise<void>[] => [...inFlight.values()].flatMap((own) => [...own])

  /** Makes the request; nothing comes of one that was cut off because this process ends. */
  async function send(
    endpoint: WebhookEndpoint,
    secret: string,
    deliveryId: string,
    message: WebhookMessage,
  ): Promise<Omit<DeliveryAttempt, 'number'> | undefined> {
    const body = JSON.stringify(message)
    const attemptedAt = world.clock.now()
    try {
      const { status } = await http.send({
        method: 'POST',
        url: endpoint.url,
        headers: { 'content-type': 'application/json', ...webhookHeaders(secret, deliveryId, attemptedAt, body) },
        body,
        timeoutMs: ATTEMPT_TIMEOUT_MS,
        maxBytes: MAX_RESPONSE_BYTES,
      })
      return { attemptedAt, httpStatus: status, outcome: status < 300 ? 'ACCEPTED' : 'REFUSED', failureCause: null }
    } catch (error) {
      const outcome = outcomeOfError(error)
      // Our own stop has cut it off.
      if (isStopping && outcome === 'UNREACHABLE') return undefined
      const failureCause = error instanceof OutboundError ? error.failureCause : undefined
      if (failureCause) world.log.info('delivery.unreachable', { deliveryId, failureCause })
      return {
        attemptedAt,
        httpStatus: null,
        outcome,
        failureCause: failureCause ? toPublicFailureCause(failureCause) : null,
      }
    }
  }

  /** Stores an outcome with what follows from it, while the claim is ours; otherwise only that there was an attempt. */
  async function storeOutcome(
    claimed: ClaimedDelivery,
    attempt: Omit<DeliveryAttempt, 'number'>,
    access?: AccountAccess,
  ): Promise<void> {
    const { id, alertId } = claimed
    const now = world.clock.now()
    const attemptNumber = await database.transaction(async (tx) => {
      const schedule = await store.countAttempt(tx, claimed, access?.grant.consentId ?? claimed.consentId)
      const number = await store.addAttempt(tx, id, { ...attempt, id: newId('atpt', world.randomness) })
      if (!schedule) return number
      if (attempt.outcome !== 'ACCEPTED') {
        const next = computeNextAttemptAt(schedule, now)
        if (next) await store.reschedule(tx, claimed, next)
        else await store.finish(tx, claimed, 'FAILED', now)
        return number
      }
      await store.finish(tx, claimed, 'DELIVERED', now)
      if (access) {
        const { clientId, customerId, consentId, purposes } = access.grant
        const ledgerSubject = { accountIds: [access.accountId], subjectId: alertId, purposes }
        await ledger.record(tx, { action: 'ALERT_DELIVERED', clientId, customerId, consentId, ...ledgerSubject })
      }
      return number
    })
    world.log.info('delivery.attempted', { deliveryId: id, attempt: attemptNumber, code: attempt.outcome })
  }

  /** The same, again where it fails: an endpoint that has accepted a message must not get it again for that. */
  async function storeOutcomeWithRetry(...args: Parameters<typeof storeOutcome>): Promise<void> {
    for (const waitMs of STORE_RETRY_DELAYS_MS)
      try {
        await storeOutcome(...args)
        return
      } catch (error) {
        world.log.warn('delivery.write_failed', { deliveryId: args[0].id, trace: errorTrace(error) })
        await world.timers.sleep(waitMs)
      }
    return storeOutcome(...args)
  }

  /** When to try again after a failed attempt; nothing once the delivery is given up. */
  function computeNextAttemptAt({ attemptCount, startedAt }: { attemptCount: number; startedAt: Date }, now: Date) {
    const delayMs = RETRY_DELAYS_MS[Math.min(attemptCount, RETRY_DELAYS_MS.length) - 1]!
    const next = addMs(now, delayMs * (0.8 + 0.4 * (world.randomness.bytes(1)[0]! / 255)))
    const giveUpAt = addMs(startedAt, GIVE_UP_AFTER_MS)
    if (attemptCount < MIN_ATTEMPTS) return next
    if (now >= giveUpAt) return undefined
    // However the delays fall, the last attempt is made when the time is over, and not up to a day earlier.
    return next < giveUpAt ? next : giveUpAt
  }

  /** Prepares and makes one request and stores what came of it. Throws where there was none. */
  async function runAttempt(claimed: ClaimedDelivery): Promise<void> {
    const alert = await alerts.find(claimed.alertId)
    const endpoint = await store.findEndpoint(claimed.webhookEndpointId)
    const client = endpoint && (await clients.find(endpoint.clientId))
    const accesses = alert?.accountId ? await consents.findAccess([alert.accountId], 'alerts:read') : []
    const access = endpoint && selectAccess(claimed, endpoint.clientId, accesses)
    if (!alert || !access || endpoint.status !== 'ACTIVE' || client?.status !== 'ACTIVE') {
      await database.transaction((tx) => store.finish(tx, claimed, 'DROPPED', world.clock.now()))
      return
    }
    const secret = String(await seal.unseal(`webhook-secret:${endpoint.id}`, endpoint.sealedSigningSecret))
    const { clientId, customerId } = access.grant
    const message = buildMessage(alerts.viewUnder(alert, access), consents.subjectOf(clientId, customerId))
    // What came before may have taken longer than the lease: then it is another's by now.
    const renewed = await store.renewClaim(claimed, LEASE_MS)
    if (!renewed) return
    const result = await send(endpoint, secret, claimed.id, message)
    const storing = result ? storeOutcomeWithRetry(renewed, result, access) : store.releaseClaim(renewed)
    // There was a request, or one was begun: whatever happens to its outcome, it is due again when the lease ends.
    await storing.catch((error: unknown) => {
      logFailure(claimed, error)
    })
  }

  function logFailure({ id }: Delivery, error: unknown): void {
    world.log.error('delivery.failed', { deliveryId: id, trace: errorTrace(error) })
  }

  /** Counts an attempt that came to no request, so that it is put off and at last given up like any other. */
  async function recordNotSent(claimed: ClaimedDelivery, error: unknown): Promise<void> {
    logFailure(claimed, error)
    if (isStopping) await store.releaseClaim(claimed)
    else {
      const attempt = { attemptedAt: world.clock.now(), httpStatus: null, failureCause: null }
      await storeOutcome(claimed, { ...attempt, outcome: 'NOT_SENT' })
    }
  }

  function startAttempt(claimed: ClaimedDelivery, onEnd: () => void): void {
    const endpointAttempts = inFlight.get(claimed.webhookEndpointId) ?? new Set()
    inFlight.set(claimed.webhookEndpointId, endpointAttempts)
    const running: Promise<void> = runAttempt(claimed)
      .catch((error: unknown) => recordNotSent(claimed, error))
      .catch((error: unknown) => {
        logFailure(claimed, error)
      })
      .finally(() => {
        endpointAttempts.delete(running)
        if (endpointAttempts.size === 0) inFlight.delete(claimed.webhookEndpointId)
        onEnd()
      })
    endpointAttempts.add(running)
  }

  return {
    async startDue(onEnd) {
      const freeSlots = CONCURRENCY.total - allInFlight().length
      if (freeSlots <= 0) return 0
      const inFlightByEndpoint = new Map([...inFlight].map(([id, own]) => [id, own.size]))
      const due = await store.claim({ ...CONCURRENCY, freeSlots, inFlightByEndpoint }, world.clock.now(), LEASE_MS)
      for (const delivery of due) startAttempt(delivery, onEnd)
      return due.length
    },
    async whenIdle() {
      await Promise.all(allInFlight())
    },
    markStopping() {
      isStopping = true
    },
  }
}

/**
 * The live consent that a delivery goes out under: the one it was planned under, or another of the same client that the
 * customer had given by then. A consent given later does not cover an earlier alert.
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

function outcomeOfError(error: unknown): DeliveryAttemptOutcome {
  if (error instanceof OutboundError) return error.code === 'OUTBOUND_TIMEOUT' ? 'TIMED_OUT' : 'UNREACHABLE'
  return toGatewayError(error).code === 'ADDRESS_NOT_ALLOWED' ? 'ADDRESS_NOT_ALLOWED' : 'UNREACHABLE'
}
