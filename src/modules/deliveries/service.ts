import { later, SECOND_MS } from '../../kernel/clock.ts'
import { headOf, rowsFor, type Connection, type PageArguments } from '../../kernel/connection.ts'
import { asGatewayError, GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { traceOf } from '../../kernel/log.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Once } from '../../storage/once.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Clients } from '../clients/index.ts'
import type { Grant } from '../consents/index.ts'
import type { Consents } from '../consents/index.ts'
import type { Ledger } from '../ledger/index.ts'
import {
  RETRY_DELAYS_MS,
  type Attempt,
  type AttemptOutcome,
  type Delivery,
  type DeliveryFilter,
  type WebhookEndpoint,
} from './model.ts'
import { webhookHeaders, webhookSecret } from './signature.ts'
import { deliveryStore } from './store.ts'

/** Telling clients' machines what happened. */
export type Deliveries = ReturnType<typeof createDeliveries>

/** What a client's machine is told; made at each attempt from rows, for the grant that opens them. */
export type WebhookMessage = Readonly<Record<string, unknown>>

/** What is told of an alert, and to whom; nothing where there is no such alert any more. */
type MessageOf = (alertId: string) => Promise<{ accountId: string; tell: (grant: Grant) => WebhookMessage } | undefined>

/** What deliveries stand on. */
export interface DeliveriesDependencies {
  database: Database
  world: World
  seal: Seal
  clients: Clients
  consents: Consents
  ledger: Ledger
  once: Once
}

/** Attempts under way, in this process: at any one endpoint no more than so many, or one that hangs would hold up all. */
const AT_ONCE = { all: 50, each: 5 }
/** Longer than an attempt; what a killed process held is tried again after it. */
const LEASE_MS = 15 * SECOND_MS
const ATTEMPT_TIMEOUT_MS = 10 * SECOND_MS
const MAX_ANSWER_BYTES = 65_536
const MAX_ENDPOINTS = 10

/** Plans deliveries and makes attempts; each asks for the live consent first. */
export function createDeliveries({ database, world, seal, clients, consents, ledger, once }: DeliveriesDependencies) {
  const store = deliveryStore(database)
  /** The attempts under way at each endpoint. */
  const underWay = new Map<string, Set<Promise<void>>>()
  const all = (): Promise<void>[] => [...underWay.values()].flatMap((own) => [...own])

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
          accountIds: [accountId],
          subjectId: delivery.alertId,
          purposes,
        })
      } else if (delay === undefined) await store.settle(delivery.id, 'FAILED', now, tx)
      else await store.putOff(delivery.id, later(now, delay * (0.8 + 0.4 * (world.randomness.bytes(1)[0]! / 255))), tx)
    })
    world.log.info('delivery.attempted', { deliveryId: delivery.id, attempt: attempt.number, code: attempt.outcome })
  }

  async function attempt(delivery: Delivery, message: MessageOf): Promise<void> {
    const alert = await message(delivery.alertId)
    const endpoint = await store.endpoint(delivery.endpointId)
    const grant = alert && (await grantOf(delivery, alert.accountId))
    const client = endpoint && (await clients.find(endpoint.clientId))
    if (!alert || !grant || endpoint?.state !== 'ACTIVE' || client?.state !== 'ACTIVE') return dropOne(delivery)
    await settle(delivery, await send(endpoint, delivery, alert.tell(grant)), grant, alert.accountId)
  }

  async function dropOne(delivery: Delivery): Promise<void> {
    await database.transaction((tx) => store.settle(delivery.id, 'DROPPED', world.clock.now(), tx))
  }

  return {
    /** Every endpoint that is told of alerts now. */
    activeEndpoints: (): Promise<WebhookEndpoint[]> => store.endpoints({ state: 'ACTIVE' }),
    endpointsOf: (clientId: string): Promise<WebhookEndpoint[]> => store.endpoints({ clientId }),
    /** The client's own endpoint, or nothing. */
    async endpoint(clientId: string, id: string): Promise<WebhookEndpoint | null> {
      return (await store.endpoints({ clientId })).find((endpoint) => endpoint.id === id) ?? null
    },
    /** The client's own delivery, or nothing. */
    delivery: (clientId: string, id: string): Promise<Delivery | null> => store.find(clientId, id),
    /** A client's deliveries, the newest first. Throws `INVALID_INPUT` for a cursor that is none. */
    async ofClient(clientId: string, filter: DeliveryFilter, page: PageArguments): Promise<Connection<Delivery>> {
      const after = page.after ? await store.find(clientId, page.after) : null
      if (page.after && !after) throw new GatewayError('INVALID_INPUT', { path: ['after'] })
      return headOf(await store.ofClient(clientId, filter, after, rowsFor(page)), page, ({ id }) => id)
    },
    attemptsOf: (deliveryIds: readonly string[]) => store.attempts(deliveryIds),

    /**
     * Registers an address to be told at. The secret is returned this once. Throws `ADDRESS_NOT_ALLOWED`, or
     * `STATE_CONFLICT` where the client has it already.
     */
    async registerEndpoint(
      clientId: string,
      url: string,
      idempotencyKey?: string | null,
    ): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
      if (!world.http.accepts(url)) throw new GatewayError('ADDRESS_NOT_ALLOWED', { path: ['url'] })
      const endpoint: WebhookEndpoint = { id: newId('whep', world.randomness), clientId, url, state: 'ACTIVE' }
      const sealedSecret = await seal.seal(`webhook-secret:${endpoint.id}`, webhookSecret(world.randomness.bytes(32)))
      const attempted = { clientId, mutation: 'registerWebhookEndpoint', key: idempotencyKey, input: { url } }
      const made = await database.transaction((tx) =>
        once.make(tx, attempted, async () => {
          if ((await store.endpoints({ clientId }, tx)).length >= MAX_ENDPOINTS)
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          if (!(await store.addEndpoint(tx, { ...endpoint, sealedSecret })))
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          await ledger.record(tx, { kind: 'WEBHOOK_REGISTERED', clientId, subjectId: endpoint.id })
          return endpoint.id
        }),
      )
      const { sealedSecret: sealed, ...kept } = (await store.endpoint(made))!
      return { endpoint: kept, secret: String(await seal.open(`webhook-secret:${made}`, sealed)) }
    },

    /** Stops telling the client's endpoint, or begins again. Throws `NOT_FOUND` for one that is not the client's. */
    async updateEndpoint(clientId: string, id: string, state: WebhookEndpoint['state']): Promise<WebhookEndpoint> {
      const endpoint = (await store.endpoints({ clientId })).find((one) => one.id === id)
      if (!endpoint) throw new GatewayError('NOT_FOUND', { path: ['id'] })
      await database.transaction(async (tx) => {
        await store.moveEndpoint(tx, id, state)
        await ledger.record(tx, { kind: 'WEBHOOK_CHANGED', clientId, subjectId: id, detail: state })
      })
      return { ...endpoint, state }
    },

    /**
     * Queues a delivery that has ended once more, under its own message id; the live consent is asked for again before
     * it goes out. Throws `NOT_FOUND`, or `STATE_CONFLICT` where it is still on its way or was dropped.
     */
    async replay(clientId: string, id: string, idempotencyKey?: string | null): Promise<Delivery> {
      if (!(await store.find(clientId, id))) throw new GatewayError('NOT_FOUND', { path: ['id'] })
      const attempted = { clientId, mutation: 'replayDelivery', key: idempotencyKey, input: { id } }
      await database.transaction((tx) =>
        once.make(tx, attempted, async () => {
          if (!(await store.again(tx, id, world.clock.now())))
            throw new GatewayError('STATE_CONFLICT', { path: ['id'] })
          await ledger.record(tx, { kind: 'DELIVERY_REPLAYED', clientId, subjectId: id })
          return id
        }),
      )
      return (await store.find(clientId, id))!
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

    /**
     * Begins one attempt at each due delivery that there is room for; returns how many there were. Each calls `over` when
     * it is made, whatever came of it: then there is room again.
     */
    async work(message: MessageOf, over: () => void): Promise<number> {
      const busy = new Map([...underWay].map(([id, own]) => [id, own.size]))
      const room = AT_ONCE.all - all().length
      const due =
        room > 0 ? await store.claim({ most: room, each: AT_ONCE.each, busy }, world.clock.now(), LEASE_MS) : []
      for (const delivery of due) {
        const own = underWay.get(delivery.endpointId) ?? new Set()
        underWay.set(delivery.endpointId, own)
        const made: Promise<void> = attempt(delivery, message)
          .catch((error: unknown) => {
            world.log.error('delivery.failed', { deliveryId: delivery.id, trace: traceOf(error) })
          })
          .finally(() => {
            own.delete(made)
            if (own.size === 0) underWay.delete(delivery.endpointId)
            over()
          })
        own.add(made)
      }
      return due.length
    },

    /** Resolves once all attempts under way are made. */
    async settled(): Promise<void> {
      await Promise.all(all())
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
