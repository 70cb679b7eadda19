import { later, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError } from '../../kernel/errors.ts'
import { shownCause } from '../../kernel/failure-causes.ts'
import { newId } from '../../kernel/ids.ts'
import { traceOf } from '../../kernel/log.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Clients } from '../clients/index.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import {
  GIVE_UP_AFTER_MS,
  LEAST_ATTEMPTS,
  RETRY_DELAYS_MS,
  type Attempt,
  type AttemptOutcome,
  type ClaimedDelivery,
  type Delivery,
  type WebhookEndpoint,
  type WebhookMessage,
} from './model.ts'
import { webhookHeaders } from './signature.ts'
import type { DeliveryStore } from './store.ts'

/** What a webhook says about an alert, and to whom; nothing if the alert does not exist. */
export type MessageOf = (
  alertId: string,
) => Promise<{ accountId: string; tell: (grant: Grant) => WebhookMessage } | undefined>

/** What attempts depend on. */
export interface AttemptsDependencies {
  readonly database: Database
  readonly world: World
  readonly seal: Seal
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
  work(message: MessageOf, over: () => void): Promise<number>
  /** Resolves once every attempt under way has ended. */
  settled(): Promise<void>
  /** From now on a request that is cut off counts as none: it is the gateway that ends. */
  abandon(): void
}

/**
 * Attempts under way in one process. `client` bounds what one client's endpoints take together and `endpoint` what one
 * takes alone. Of `all`, `reserved` places are only for clients that have fewer than `reservedEach` attempts under way, so
 * that many slow clients leave room for the others.
 */
const PLACES = { all: 200, client: 20, endpoint: 5, reserved: 40, reservedEach: 2 }
/** Longer than an attempt and storing its outcome. What a killed process had claimed is due again after it. */
const LEASE_MS = 20 * SECOND_MS
/** When to store an outcome again that could not be stored: the request was made, and must not be made again for that. */
const SETTLE_AGAIN_MS = [200, 800, 3_200]
const ATTEMPT_TIMEOUT_MS = 10 * SECOND_MS
const MAX_ANSWER_BYTES = 65_536

/** Attempts ask for a live consent first, and count once they have an outcome. */
export function createAttempts(dependencies: AttemptsDependencies, store: DeliveryStore): Attempts {
  const { database, world, seal, clients, consents, ledger } = dependencies
  // Connections of their own, one for each place, so that no attempt waits for a connection while its time runs.
  const http = world.http.pool({ connections: PLACES.all })
  const underWay = new Map<string, Set<Promise<void>>>()
  let isEnding = false
  const all = (): Promise<void>[] => [...underWay.values()].flatMap((own) => [...own])

  /** Makes the request; nothing comes of one that was cut off because this process ends. */
  async function send(
    endpoint: WebhookEndpoint,
    secret: string,
    deliveryId: string,
    message: WebhookMessage,
  ): Promise<Omit<Attempt, 'number'> | undefined> {
    const body = JSON.stringify(message)
    const at = world.clock.now()
    try {
      const { status } = await http.send({
        method: 'POST',
        url: endpoint.url,
        headers: { 'content-type': 'application/json', ...webhookHeaders(secret, deliveryId, at, body) },
        body,
        timeoutMs: ATTEMPT_TIMEOUT_MS,
        maxBytes: MAX_ANSWER_BYTES,
      })
      return { at, status, outcome: status < 300 ? 'ACCEPTED' : 'REFUSED', failureCause: null }
    } catch (error) {
      const outcome = failureOf(error)
      // Our own stop has cut it off.
      if (isEnding && outcome === 'UNREACHABLE') return undefined
      const { failureCause } = asGatewayError(error)
      if (failureCause) world.log.info('delivery.unreachable', { deliveryId, failureCause })
      return { at, status: null, outcome, failureCause: failureCause ? shownCause(failureCause) : null }
    }
  }

  /** Stores an outcome with what follows from it, while the claim is ours; otherwise only that there was an attempt. */
  async function settle(
    claimed: ClaimedDelivery,
    attempt: Omit<Attempt, 'number'>,
    sent?: { readonly grant: Grant; readonly accountId: string },
  ): Promise<void> {
    const { id, alertId } = claimed
    const now = world.clock.now()
    const counted = await database.transaction(async (tx) => {
      const schedule = await store.count(tx, claimed, sent?.grant.consentId ?? claimed.consentId)
      const number = await store.addAttempt(tx, id, { ...attempt, id: newId('atpt', world.randomness) })
      if (!schedule) return number
      if (attempt.outcome !== 'ACCEPTED') {
        const next = nextAttemptAt(schedule, now)
        if (next) await store.putOff(tx, claimed, next)
        else await store.settle(tx, claimed, 'FAILED', now)
        return number
      }
      await store.settle(tx, claimed, 'DELIVERED', now)
      if (sent) {
        const { clientId, customerId, consentId, purposes } = sent.grant
        const about = { accountIds: [sent.accountId], subjectId: alertId, purposes }
        await ledger.record(tx, { kind: 'ALERT_DELIVERED', clientId, customerId, consentId, ...about })
      }
      return number
    })
    world.log.info('delivery.attempted', { deliveryId: id, attempt: counted, code: attempt.outcome })
  }

  /** The same, again where it fails: an endpoint that has accepted a message must not get it again for that. */
  async function settleSurely(...given: Parameters<typeof settle>): Promise<void> {
    for (const waitMs of SETTLE_AGAIN_MS)
      try {
        await settle(...given)
        return
      } catch (error) {
        world.log.warn('delivery.not_settled', { deliveryId: given[0].id, trace: traceOf(error) })
        await new Promise((resolve) => setTimeout(resolve, waitMs))
      }
    return settle(...given)
  }

  /** When to try again after a failed attempt; nothing once the delivery is given up. */
  function nextAttemptAt({ attemptCount, startedAt }: { attemptCount: number; startedAt: Date }, now: Date) {
    const delayMs = RETRY_DELAYS_MS[Math.min(attemptCount, RETRY_DELAYS_MS.length) - 1]!
    const next = later(now, delayMs * (0.8 + 0.4 * (world.randomness.bytes(1)[0]! / 255)))
    const giveUpAt = later(startedAt, GIVE_UP_AFTER_MS)
    if (attemptCount < LEAST_ATTEMPTS) return next
    if (now >= giveUpAt) return undefined
    // However the delays fall, the last attempt is made when the time is over, and not up to a day earlier.
    return next < giveUpAt ? next : giveUpAt
  }

  /** Prepares and makes one request and stores what came of it. Throws where there was none. */
  async function attempt(claimed: ClaimedDelivery, message: MessageOf): Promise<void> {
    const alert = await message(claimed.alertId)
    const endpoint = await store.endpoint(claimed.endpointId)
    const client = endpoint && (await clients.find(endpoint.clientId))
    const grants = alert ? await consents.holdersOf([alert.accountId], 'alerts:read') : []
    const grant = endpoint && grantFor(claimed, endpoint.clientId, grants)
    if (!alert || !grant || endpoint.status !== 'ACTIVE' || client?.status !== 'ACTIVE') {
      await database.transaction((tx) => store.settle(tx, claimed, 'DROPPED', world.clock.now()))
      return
    }
    const secret = String(await seal.open(`webhook-secret:${endpoint.id}`, endpoint.sealedSecret))
    const body = alert.tell(grant)
    // What came before may have taken longer than the lease: then it is another's by now.
    const renewed = await store.renewClaim(claimed, LEASE_MS)
    if (!renewed) return
    const outcome = await send(endpoint, secret, claimed.id, body)
    const stored = outcome
      ? settleSurely(renewed, outcome, { grant, accountId: alert.accountId })
      : store.releaseClaim(renewed)
    // There was a request, or one was begun: whatever happens to its outcome, it is due again when the lease ends.
    await stored.catch((error: unknown) => {
      failed(claimed, error)
    })
  }

  function failed({ id }: Delivery, error: unknown): void {
    world.log.error('delivery.failed', { deliveryId: id, trace: traceOf(error) })
  }

  /** Counts an attempt that came to no request, so that it is put off and at last given up like any other. */
  async function noteNotSent(claimed: ClaimedDelivery, error: unknown): Promise<void> {
    failed(claimed, error)
    if (isEnding) await store.releaseClaim(claimed)
    else await settle(claimed, { at: world.clock.now(), status: null, outcome: 'NOT_SENT', failureCause: null })
  }

  function begin(claimed: ClaimedDelivery, message: MessageOf, over: () => void): void {
    const own = underWay.get(claimed.endpointId) ?? new Set()
    underWay.set(claimed.endpointId, own)
    const made: Promise<void> = attempt(claimed, message)
      .catch((error: unknown) => noteNotSent(claimed, error))
      .catch((error: unknown) => {
        failed(claimed, error)
      })
      .finally(() => {
        own.delete(made)
        if (own.size === 0) underWay.delete(claimed.endpointId)
        over()
      })
    own.add(made)
  }

  return {
    async work(message, over) {
      const room = PLACES.all - all().length
      if (room <= 0) return 0
      const busy = new Map([...underWay].map(([id, own]) => [id, own.size]))
      const due = await store.claim({ ...PLACES, room, busy }, world.clock.now(), LEASE_MS)
      for (const delivery of due) begin(delivery, message, over)
      return due.length
    },
    async settled() {
      await Promise.all(all())
    },
    abandon() {
      isEnding = true
    },
  }
}

/**
 * The live consent that a delivery goes out under: the one it was planned under, or another of the same client that the
 * customer had given by then. A consent given later does not cover an earlier alert.
 */
function grantFor({ consentId, createdAt }: Delivery, clientId: string, grants: readonly Grant[]): Grant | undefined {
  return (
    grants.find((grant) => grant.consentId === consentId) ??
    grants.find((grant) => grant.clientId === clientId && grant.since <= createdAt)
  )
}

function failureOf(error: unknown): AttemptOutcome {
  const { code } = asGatewayError(error)
  if (code === 'BANK_TIMEOUT') return 'TIMED_OUT'
  return code === 'ADDRESS_NOT_ALLOWED' ? 'ADDRESS_NOT_ALLOWED' : 'UNREACHABLE'
}
