import { later, SECOND_MS } from '../../kernel/clock.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Clients } from '../clients/index.ts'
import type { Grant } from '../consents/index.ts'
import type { Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import { RETRY_DELAYS_MS, type Attempt, type AttemptOutcome, type Delivery, type WebhookEndpoint } from './model.ts'
import { webhookHeaders, webhookSecret } from './signature.ts'
import { deliveryStore } from './store.ts'

/** Telling clients' machines what happened. */
export type Deliveries = ReturnType<typeof createDeliveries>

/** What a client's machine is told; made at each attempt from rows, for the grant that opens them. */
export type WebhookMessage = Readonly<Record<string, unknown>>

/** What deliveries stand on. */
export interface DeliveriesDependencies {
  database: Database
  world: World
  seal: Seal
  clients: Clients
  consents: Consents
  ledger: Ledger
}

const BATCH = 20
/** Longer than an attempt; what a killed process held is tried again after it. */
const LEASE_MS = 15 * SECOND_MS
const ATTEMPT_TIMEOUT_MS = 10 * SECOND_MS
const MAX_ANSWER_BYTES = 65_536
const MAX_ENDPOINTS = 10
const PAGE = 100

/** Plans deliveries and makes attempts; each asks for the live consent first. */
export function createDeliveries({ database, world, seal, clients, consents, ledger }: DeliveriesDependencies) {
  const store = deliveryStore(database)

  /** The live consent that a delivery stands on, or nothing: asked again before every attempt. */
  async function grantOf(delivery: Delivery, accountId: string): Promise<Grant | undefined> {
    return (await consents.holdersOf([accountId], 'alerts:read')).find(
      ({ consentId }) => consentId === delivery.consentId,
    )
  }

  async function send(
    endpoint: WebhookEndpoint & { sealedSecret: string },
    delivery: Delivery,
    message: WebhookMessage,
  ): Promise<Attempt> {
    const secret = String(await seal.open(`webhook-secret:${endpoint.id}`, endpoint.sealedSecret))
    const body = JSON.stringify(message)
    const at = world.clock.now()
    try {
      const { status } = await world.http.send({
        method: 'POST',
        url: endpoint.url,
        headers: { 'content-type': 'application/json', ...webhookHeaders(secret, delivery.id, at, body) },
        body,
        timeoutMs: ATTEMPT_TIMEOUT_MS,
        maxBytes: MAX_ANSWER_BYTES,
      })
      return { number: delivery.attemptCount, at, status, outcome: status < 300 ? 'ACCEPTED' : 'REFUSED' }
    } catch (error) {
      return { number: delivery.attemptCount, at, status: null, outcome: failureOf(error) }
    }
  }

  async function settle(delivery: Delivery, attempt: Attempt, grant: Grant, accountId: string): Promise<void> {
    const now = world.clock.now()
    const delay = RETRY_DELAYS_MS[delivery.attemptCount - 1]
    await database.transaction(async (tx) => {
      await store.addAttempt(delivery.id, { ...attempt, id: newId('atpt', world.randomness) }, tx)
      if (attempt.outcome === 'ACCEPTED') {
        await store.settle(delivery.id, 'DELIVERED', now, tx)
        const { clientId, customerId, consentId, purposes } = grant
        await ledger.record(tx, {
          kind: 'ALERT_DELIVERED',
          clientId,
          customerId,
          consentId,
          accountId,
          subjectId: delivery.alertId,
          purposes,
        })
      } else if (delay === undefined) await store.settle(delivery.id, 'FAILED', now, tx)
      else await store.putOff(delivery.id, later(now, delay * (0.8 + 0.4 * (world.randomness.bytes(1)[0]! / 255))), tx)
    })
    world.log.info('delivery.attempted', { deliveryId: delivery.id, attempt: attempt.number, code: attempt.outcome })
  }

  async function dropOne(delivery: Delivery): Promise<void> {
    await database.transaction((tx) => store.settle(delivery.id, 'DROPPED', world.clock.now(), tx))
  }

  return {
    /** Every endpoint that is told of alerts now. */
    activeEndpoints: (): Promise<WebhookEndpoint[]> => store.endpoints({ state: 'ACTIVE' }),
    endpointsOf: (clientId: string): Promise<WebhookEndpoint[]> => store.endpoints({ clientId }),
    ofClient: (clientId: string): Promise<Delivery[]> => store.ofClient(clientId, PAGE),
    attemptsOf: (deliveryIds: readonly string[]) => store.attempts(deliveryIds),

    /**
     * Registers an address to be told at. The secret is returned this once. Throws `ADDRESS_NOT_ALLOWED`, or
     * `STATE_CONFLICT` where the client has it already.
     */
    async registerEndpoint(clientId: string, url: string): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
      if (!world.http.accepts(url)) throw new GatewayError('ADDRESS_NOT_ALLOWED', { path: ['url'] })
      if ((await store.endpoints({ clientId })).length >= MAX_ENDPOINTS)
        throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
      const endpoint: WebhookEndpoint = { id: newId('whep', world.randomness), clientId, url, state: 'ACTIVE' }
      const secret = webhookSecret(world.randomness.bytes(32))
      const sealedSecret = await seal.seal(`webhook-secret:${endpoint.id}`, secret)
      await database.transaction(async (tx) => {
        if (!(await store.addEndpoint(tx, { ...endpoint, sealedSecret })))
          throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
        await ledger.record(tx, { kind: 'WEBHOOK_REGISTERED', clientId, subjectId: endpoint.id })
      })
      return { endpoint, secret }
    },

    /** Plans one delivery per endpoint of every client whose customer shares this account's alerts. */
    async plan(alertId: string, accountId: string): Promise<void> {
      const now = world.clock.now()
      for (const grant of await consents.holdersOf([accountId], 'alerts:read')) {
        const endpoints = await store.endpoints({ clientId: grant.clientId, state: 'ACTIVE' })
        await store.plan(
          endpoints.map((endpoint) => ({
            id: newId('dlvr', world.randomness),
            alertId,
            endpointId: endpoint.id,
            consentId: grant.consentId,
            nextAttemptAt: now,
          })),
        )
      }
    },

    /** Makes one attempt at each due delivery of a batch; returns how many there were. */
    async work(
      message: (alertId: string) => Promise<{ accountId: string; tell: (grant: Grant) => WebhookMessage } | undefined>,
    ): Promise<number> {
      const due = await store.claim(BATCH, world.clock.now(), LEASE_MS)
      await Promise.all(
        due.map(async (delivery) => {
          const alert = await message(delivery.alertId)
          const endpoint = await store.endpoint(delivery.endpointId)
          const grant = alert && (await grantOf(delivery, alert.accountId))
          const client = endpoint && (await clients.find(endpoint.clientId))
          if (!alert || !grant || endpoint?.state !== 'ACTIVE' || client?.state !== 'ACTIVE') return dropOne(delivery)
          await settle(delivery, await send(endpoint, delivery, alert.tell(grant)), grant, alert.accountId)
        }),
      )
      return due.length
    },

    /** Drops what is still queued for a consent that ended; returns how many deliveries that were. */
    drop: (consentId: string): Promise<number> => store.drop(consentId, world.clock.now()),
  }
}

function failureOf(error: unknown): AttemptOutcome {
  const { code } = asGatewayError(error)
  if (code === 'BANK_TIMEOUT') return 'TIMED_OUT'
  return code === 'ADDRESS_NOT_ALLOWED' ? 'ADDRESS_NOT_ALLOWED' : 'UNREACHABLE'
}
