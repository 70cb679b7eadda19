import { cursorFault, headOf, rowsFor, type Connection, type PageArguments } from '../../kernel/connection.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { faultAt, invalid } from '../../kernel/faults.ts'
import { newId } from '../../kernel/ids.ts'
import type { Once } from '../../storage/once.ts'
import type { Grant } from '../consents/index.ts'
import { createAttempts, type AttemptsDependencies } from './attempts.ts'
import type { Delivery, DeliveryFilter, WebhookEndpoint } from './model.ts'
import { webhookSecret } from './signature.ts'
import { deliveryStore } from './store.ts'

/** Telling clients' machines what happened. */
export type Deliveries = ReturnType<typeof createDeliveries>

/** What deliveries depend on. */
export interface DeliveriesDependencies extends AttemptsDependencies {
  readonly once: Once
}

const MAX_ENDPOINTS = 10

/** Plans deliveries and attempts them; each attempt asks for the live consent first. */
export function createDeliveries(dependencies: DeliveriesDependencies) {
  const { database, world, seal, consents, ledger, once } = dependencies
  const store = deliveryStore(database)
  const attempts = createAttempts(dependencies, store)

  return {
    /** Every endpoint that is told of alerts now. */
    activeEndpoints: (): Promise<WebhookEndpoint[]> => store.endpoints({ status: 'ACTIVE' }),
    endpointsOf: (clientId: string): Promise<WebhookEndpoint[]> => store.endpoints({ clientId }),
    /** The client's own endpoint, or nothing. */
    async endpoint(clientId: string, id: string): Promise<WebhookEndpoint | null> {
      return (await store.endpoints({ clientId })).find((endpoint) => endpoint.id === id) ?? null
    },
    /** The client's own delivery, or nothing. */
    delivery: (clientId: string, id: string): Promise<Delivery | null> => store.find(clientId, id),
    /** A client's deliveries, the newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    async ofClient(clientId: string, filter: DeliveryFilter, page: PageArguments): Promise<Connection<Delivery>> {
      const after = page.after ? await store.find(clientId, page.after) : null
      const limit = rowsFor(page, page.after && !after ? [cursorFault('after')] : [])
      return headOf(await store.ofClient(clientId, filter, after, limit), page, ({ id }) => id)
    },
    attemptsOf: (deliveryIds: readonly string[]) => store.attempts(deliveryIds),

    /**
     * Registers a webhook endpoint. The secret is returned this once. Throws `ADDRESS_NOT_ALLOWED`, or
     * `STATE_CONFLICT` where the client has it already.
     */
    async registerEndpoint(
      clientId: string,
      url: string,
      idempotencyKey?: string | null,
    ): Promise<{ endpoint: WebhookEndpoint; secret: string }> {
      const rule = world.http.addressFault(url)
      if (rule !== undefined) throw invalid([faultAt(['url'], rule, 'ADDRESS_NOT_ALLOWED')])
      const endpoint: WebhookEndpoint = { id: newId('whep', world.randomness), clientId, url, status: 'ACTIVE' }
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
    async updateEndpoint(clientId: string, id: string, status: WebhookEndpoint['status']): Promise<WebhookEndpoint> {
      const endpoint = (await store.endpoints({ clientId })).find((one) => one.id === id)
      if (!endpoint) throw new GatewayError('NOT_FOUND', { path: ['id'] })
      await database.transaction(async (tx) => {
        await store.moveEndpoint(tx, id, status)
        await ledger.record(tx, {
          kind: 'WEBHOOK_CHANGED',
          clientId,
          subjectId: id,
          detail: status,
          changes: [{ field: 'status', before: [endpoint.status], after: [status] }],
        })
      })
      return { ...endpoint, status }
    },

    /**
     * Queues a delivery that has ended once more, under its own message id and with a whole schedule; the live consent is
     * asked for again before it goes out. Throws `NOT_FOUND`, or `STATE_CONFLICT` where it is still on its way or was dropped.
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

    /**
     * Plans one delivery for each active endpoint of every client whose customer shares this account's alerts, however many
     * consents the client has of them. Planning the same alert again adds nothing.
     */
    async plan(alertId: string, accountId: string): Promise<void> {
      const now = world.clock.now()
      const consentOf = longestByClient(await consents.holdersOf([accountId], 'alerts:read'))
      const endpoints = await store.endpoints({ clientId: { in: [...consentOf.keys()] }, status: 'ACTIVE' })
      await store.plan(
        endpoints.map((endpoint) => ({
          id: newId('dlvr', world.randomness),
          alertId,
          endpointId: endpoint.id,
          consentId: consentOf.get(endpoint.clientId)!.consentId,
          createdAt: now,
          scheduleStartedAt: now,
          nextAttemptAt: now,
        })),
      )
    },

    ...attempts,

    /**
     * Drops what is still queued for a consent that ended, except what another live consent of the same client covers:
     * that goes on under the other. Returns how many were dropped.
     */
    async drop(consentId: string): Promise<number> {
      const pending = await store.pendingOf(consentId)
      if (!pending) return 0
      const grants = await consents.holdersOf(pending.accountIds, 'alerts:read')
      for (const grant of grants)
        if (grant.clientId === pending.clientId && grant.consentId !== consentId) await store.rehang(consentId, grant)
      return store.drop(consentId, world.clock.now())
    },
  }
}

/** Of each client's grants the one that lasts longest. */
function longestByClient(grants: readonly Grant[]): ReadonlyMap<string, Grant> {
  const longest = new Map<string, Grant>()
  for (const grant of grants) {
    const other = longest.get(grant.clientId)
    if (!other || other.expiresAt < grant.expiresAt) longest.set(grant.clientId, grant)
  }
  return longest
}
