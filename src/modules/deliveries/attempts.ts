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
}

/**
 * Attempts under way in one process. `client` bounds what one client's endpoints take together and `endpoint` what one
 * takes alone. Of `all`, `reserved` places are only for clients that have fewer than `reservedEach` attempts under way, so
 * that many slow clients leave room for the others.
 */
const PLACES = { all: 200, client: 20, endpoint: 5, reserved: 40, reservedEach: 2 }
/** Longer than an attempt. What a killed process had claimed is due again after it. */
const LEASE_MS = 15 * SECOND_MS
const ATTEMPT_TIMEOUT_MS = 10 * SECOND_MS
const MAX_ANSWER_BYTES = 65_536

/** Attempts ask for a live consent first, and count once they have an outcome. */
export function createAttempts(dependencies: AttemptsDependencies, store: DeliveryStore): Attempts {
  const { database, world, seal, clients, consents, ledger } = dependencies
  // Connections of their own, one for each place, so that no attempt waits for a connection while its time runs.
  const http = world.http.pool({ connections: PLACES.all })
  const underWay = new Map<string, Set<Promise<void>>>()
  const all = (): Promise<void>[] => [...underWay.values()].flatMap((own) => [...own])

  async function send(
    endpoint: WebhookEndpoint & { sealedSecret: string },
    deliveryId: string,
    message: WebhookMessage,
  ): Promise<Omit<Attempt, 'number'>> {
    const secret = String(await seal.open(`webhook-secret:${endpoint.id}`, endpoint.sealedSecret))
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
      const { failureCause } = asGatewayError(error)
      if (failureCause) world.log.info('delivery.unreachable', { deliveryId, failureCause })
      return {
        at,
        status: null,
        outcome: failureOf(error),
        failureCause: failureCause ? shownCause(failureCause) : null,
      }
    }
  }

  async function settle(
    { id, alertId }: Delivery,
    attempt: Omit<Attempt, 'number'>,
    grant: Grant,
    accountId: string,
  ): Promise<void> {
    const { clientId, customerId, consentId, purposes } = grant
    const now = world.clock.now()
    const counted = await database.transaction(async (tx) => {
      const schedule = await store.count(tx, id, consentId)
      const number = await store.addAttempt(tx, id, { ...attempt, id: newId('atpt', world.randomness) })
      if (attempt.outcome === 'ACCEPTED') {
        await store.settle(id, 'DELIVERED', now, tx)
        const about = { accountIds: [accountId], subjectId: alertId, purposes }
        await ledger.record(tx, { kind: 'ALERT_DELIVERED', clientId, customerId, consentId, ...about })
        return number
      }
      const next = nextAttemptAt(schedule, now)
      if (next) await store.putOff(id, next, tx)
      else await store.settle(id, 'FAILED', now, tx)
      return number
    })
    world.log.info('delivery.attempted', { deliveryId: id, attempt: counted, code: attempt.outcome })
  }

  /** When to try again after a failed attempt; nothing once the delivery is given up. */
  function nextAttemptAt({ attemptCount, startedAt }: { attemptCount: number; startedAt: Date }, now: Date) {
    const delayMs = RETRY_DELAYS_MS[Math.min(attemptCount, RETRY_DELAYS_MS.length) - 1]!
    const next = later(now, delayMs * (0.8 + 0.4 * (world.randomness.bytes(1)[0]! / 255)))
    return attemptCount >= LEAST_ATTEMPTS && next > later(startedAt, GIVE_UP_AFTER_MS) ? undefined : next
  }

  async function attempt(delivery: Delivery, message: MessageOf): Promise<void> {
    const alert = await message(delivery.alertId)
    const endpoint = await store.endpoint(delivery.endpointId)
    const client = endpoint && (await clients.find(endpoint.clientId))
    const grants = alert ? await consents.holdersOf([alert.accountId], 'alerts:read') : []
    const grant = endpoint && grantFor(delivery, endpoint.clientId, grants)
    if (!alert || !grant || endpoint.state !== 'ACTIVE' || client?.state !== 'ACTIVE')
      return database.transaction((tx) => store.settle(delivery.id, 'DROPPED', world.clock.now(), tx))
    // What came before may have taken longer than the lease: then it is another's by now.
    if (!(await store.renewClaim(delivery, later(world.clock.now(), LEASE_MS)))) return
    await settle(delivery, await send(endpoint, delivery.id, alert.tell(grant)), grant, alert.accountId)
  }

  function begin(delivery: Delivery, message: MessageOf, over: () => void): void {
    const own = underWay.get(delivery.endpointId) ?? new Set()
    underWay.set(delivery.endpointId, own)
    const made: Promise<void> = attempt(delivery, message)
      .catch((error: unknown) => {
        // No outcome, so nothing is counted: it is due again when the lease ends.
        world.log.error('delivery.failed', { deliveryId: delivery.id, trace: traceOf(error) })
      })
      .finally(() => {
        own.delete(made)
        if (own.size === 0) underWay.delete(delivery.endpointId)
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
