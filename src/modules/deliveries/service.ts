import {
  cursorFault,
  connectionFromForwardRows,
  rowLimit,
  type Connection,
  type PageArguments,
} from '../../kernel/pagination.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { newId } from '../../kernel/ids.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Grant } from '../consents/index.ts'
import { createAttempts, type AttemptsDependencies } from './attempts.ts'
import type { Delivery, DeliveryFilter, WebhookEndpoint } from './model.ts'
import { webhookSecret } from './signature.ts'
import { deliveryStore } from './store.ts'

/** Telling clients' machines what happened. */
export type Deliveries = ReturnType<typeof createDeliveries>

/** What deliveries depend on. */
export interface DeliveriesDependencies extends AttemptsDependencies {
  readonly idempotency: Idempotency
}

const MAX_ENDPOINTS = 10

/** Plans deliveries and attempts them; each attempt asks for the live consent first. */
export function createDeliveries(dependencies: DeliveriesDependencies) {
  const { database, world, seal, consents, ledger, idempotency } = dependencies
  const store = deliveryStore(database)
  const attempts = createAttempts(dependencies, store)

  return {
    /** Every endpoint that is told of alerts now. */
    listActiveEndpoints: (): Promise<WebhookEndpoint[]> => store.listEndpoints({ status: 'ACTIVE' }),
    listEndpoints: (clientId: string): Promise<WebhookEndpoint[]> => store.listEndpoints({ clientId }),
    /** The client's own endpoint, or nothing. */
    async findEndpoint(clientId: string, id: string): Promise<WebhookEndpoint | null> {
      return (await store.listEndpoints({ clientId })).find((findEndpoint) => findEndpoint.id === id) ?? null
    },
    /** The client's own delivery, or nothing. */
    findDelivery: (clientId: string, id: string): Promise<Delivery | null> => store.find(clientId, id),
    /** A client's deliveries, the newest first. Throws `INVALID_INPUT` with every fault of `page`. */
    async listForClient(clientId: string, filter: DeliveryFilter, page: PageArguments): Promise<Connection<Delivery>> {
      const after = page.after ? await store.find(clientId, page.after) : null
      const limit = rowLimit(page, page.after && !after ? [cursorFault('after')] : [])
      return connectionFromForwardRows(await store.listForClient(clientId, filter, after, limit), page, ({ id }) => id)
    },
    findAttempts: (deliveryIds: readonly string[]) => store.listAttempts(deliveryIds),

    /**
     * Registers a webhook endpoint. The secret is returned this once. Throws `ADDRESS_NOT_ALLOWED`, or
     * `STATE_CONFLICT` where the client has it already.
     */
    async registerEndpoint(
      clientId: string,
      url: string,
      idempotencyKey?: string | null,
    ): Promise<{ findEndpoint: WebhookEndpoint; secret: string }> {
      const addressFault = world.http.urlFault(url)
      if (addressFault !== undefined) throw invalidInputError([faultAt(['url'], addressFault, 'ADDRESS_NOT_ALLOWED')])
      const findEndpoint: WebhookEndpoint = { id: newId('whep', world.randomness), clientId, url, status: 'ACTIVE' }
      const sealedSecret = await seal.seal(
        `webhook-secret:${findEndpoint.id}`,
        webhookSecret(world.randomness.bytes(32)),
      )
      const idempotentRequest = { clientId, mutation: 'registerWebhookEndpoint', key: idempotencyKey, input: { url } }
      const endpointId = await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          if ((await store.listEndpoints({ clientId }, tx)).length >= MAX_ENDPOINTS)
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          if (!(await store.addEndpoint(tx, { ...findEndpoint, sealedSecret })))
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          await ledger.record(tx, { kind: 'WEBHOOK_REGISTERED', clientId, subjectId: findEndpoint.id })
          return findEndpoint.id
        }),
      )
      const { sealedSecret: sealed, ...storedEndpoint } = (await store.findEndpoint(endpointId))!
      return { findEndpoint: storedEndpoint, secret: String(await seal.unseal(`webhook-secret:${endpointId}`, sealed)) }
    },

    /** Stops telling the client's endpoint, or begins again. Throws `NOT_FOUND` for one that is not the client's. */
    async updateEndpoint(clientId: string, id: string, status: WebhookEndpoint['status']): Promise<WebhookEndpoint> {
      const findEndpoint = (await store.listEndpoints({ clientId })).find((one) => one.id === id)
      if (!findEndpoint) throw new GatewayError('NOT_FOUND', { path: ['id'] })
      await database.transaction(async (tx) => {
        await store.setEndpointStatus(tx, id, status)
        await ledger.record(tx, {
          kind: 'WEBHOOK_CHANGED',
          clientId,
          subjectId: id,
          detail: status,
          changes: [{ field: 'status', before: [findEndpoint.status], after: [status] }],
        })
      })
      return { ...findEndpoint, status }
    },

    /**
     * Queues a delivery that has ended once more, under its own message id and with a whole schedule; the live consent is
     * asked for again before it goes out. Throws `NOT_FOUND`, or `STATE_CONFLICT` where it is still on its way or was dropped.
     */
    async replay(clientId: string, id: string, idempotencyKey?: string | null): Promise<Delivery> {
      if (!(await store.find(clientId, id))) throw new GatewayError('NOT_FOUND', { path: ['id'] })
      const idempotentRequest = { clientId, mutation: 'replayDelivery', key: idempotencyKey, input: { id } }
      await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          if (!(await store.requeue(tx, id, world.clock.now())))
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
    async scheduleForAlert(alertId: string, accountId: string): Promise<void> {
      const now = world.clock.now()
      const grantByClient = longestGrantByClient(await consents.holdersOf([accountId], 'alerts:read'))
      const endpoints = await store.listEndpoints({ clientId: { in: [...grantByClient.keys()] }, status: 'ACTIVE' })
      await store.insertMissing(
        endpoints.map((findEndpoint) => ({
          id: newId('dlvr', world.randomness),
          alertId,
          endpointId: findEndpoint.id,
          consentId: grantByClient.get(findEndpoint.clientId)!.consentId,
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
    async dropForConsent(consentId: string): Promise<number> {
      const pending = await store.findPending(consentId)
      if (!pending) return 0
      const grants = await consents.holdersOf(pending.accountIds, 'alerts:read')
      for (const grant of grants)
        if (grant.clientId === pending.clientId && grant.consentId !== consentId)
          await store.moveToConsent(consentId, grant)
      return store.dropForConsent(consentId, world.clock.now())
    },
  }
}

/** Of each client's grants the one that lasts longest. */
function longestGrantByClient(grants: readonly Grant[]): ReadonlyMap<string, Grant> {
  const longest = new Map<string, Grant>()
  for (const grant of grants) {
    const current = longest.get(grant.clientId)
    if (!current || current.expiresAt < grant.expiresAt) longest.set(grant.clientId, grant)
  }
  return longest
}
