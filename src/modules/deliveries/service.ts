import { connectionFromStore, type Connection, type PageArguments } from '../../kernel/pagination.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { newId } from '../../kernel/ids.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { AccountAccess, Grant } from '../consents/index.ts'
import { createAttempts, type AttemptsDependencies } from './attempts.ts'
import type { Delivery, DeliveryFilter, WebhookEndpoint } from './model.ts'
import { createReplay, rangeFaults } from './replay.ts'
import { webhookSecret } from './signature.ts'
import { deliveryStore } from './store.ts'

/** Webhooks: what happened, for clients' machines. */
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
      return (await store.listEndpoints({ clientId })).find((endpoint) => endpoint.id === id) ?? null
    },
    /** The client's own delivery, or nothing. */
    findDelivery: (clientId: string, id: string): Promise<Delivery | null> => store.find(clientId, id),
    /** A page of a client's deliveries, the newest first. Throws `INVALID_INPUT` with every fault. */
    listForClient: (clientId: string, filter: DeliveryFilter, page: PageArguments): Promise<Connection<Delivery>> =>
      connectionFromStore<Delivery, Delivery>(page, {
        idOf: ({ id }) => id,
        findCursor: (cursor) => store.find(clientId, cursor),
        read: (slice) => store.listForClient(clientId, filter, slice),
        otherFaults: rangeFaults(['filter', 'created'], filter),
      }),
    findAttempts: (deliveryIds: readonly string[]) => store.listAttempts(deliveryIds),

    /**
     * Registers a webhook endpoint. The secret is returned this once. Throws `ADDRESS_NOT_ALLOWED`, or `STATE_CONFLICT` if the
     * client has it already, or has ten.
     */
    async registerEndpoint(
      clientId: string,
      url: string,
      idempotencyKey?: string | null,
    ): Promise<{ webhookEndpoint: WebhookEndpoint; signingSecret: string }> {
      const addressFault = world.http.urlFault(url)
      if (addressFault !== undefined) throw invalidInputError([faultAt(['url'], addressFault, 'ADDRESS_NOT_ALLOWED')])
      const endpoint: WebhookEndpoint = { id: newId('whep', world.randomness), clientId, url, status: 'ACTIVE' }
      const sealedSigningSecret = await seal.seal(
        `webhook-secret:${endpoint.id}`,
        webhookSecret(world.randomness.bytes(32)),
      )
      const idempotentRequest = { clientId, mutation: 'registerWebhookEndpoint', key: idempotencyKey, input: { url } }
      const endpointId = await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          if ((await store.listEndpoints({ clientId }, tx)).length >= MAX_ENDPOINTS)
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          if (!(await store.addEndpoint(tx, { ...endpoint, sealedSigningSecret })))
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          await ledger.record(tx, { action: 'WEBHOOK_ENDPOINT_REGISTERED', clientId, subjectId: endpoint.id })
          return endpoint.id
        }),
      )
      const { sealedSigningSecret: sealed, ...webhookEndpoint } = (await store.findEndpoint(endpointId))!
      return { webhookEndpoint, signingSecret: String(await seal.unseal(`webhook-secret:${endpointId}`, sealed)) }
    },

    /** Disables the client's endpoint, or enables it again. Throws `NOT_FOUND` for one that is not the client's. */
    async updateEndpoint(clientId: string, id: string, status: WebhookEndpoint['status']): Promise<WebhookEndpoint> {
      const endpoint = (await store.listEndpoints({ clientId })).find((one) => one.id === id)
      if (!endpoint) throw new GatewayError('NOT_FOUND', { path: ['webhookEndpointId'] })
      await database.transaction(async (tx) => {
        await store.setEndpointStatus(tx, id, status)
        await ledger.record(tx, {
          action: 'WEBHOOK_ENDPOINT_CHANGED',
          clientId,
          subjectId: id,
          detail: status,
          changes: [{ field: 'status', before: [endpoint.status], after: [status] }],
        })
      })
      return { ...endpoint, status }
    },

    replay: createReplay(dependencies, store),

    /**
     * Plans one delivery for each active endpoint of every client whose customer shares this account's alerts, however many
     * consents the client has of them. Planning the same alert again adds nothing.
     */
    async scheduleForAlert(alertId: string, accountId: string): Promise<void> {
      const now = world.clock.now()
      const grantByClient = longestGrantByClient(await consents.findAccess([accountId], 'alerts:read'))
      const endpoints = await store.listEndpoints({ clientId: { in: [...grantByClient.keys()] }, status: 'ACTIVE' })
      await store.insertMissing(
        endpoints.map((endpoint) => ({
          id: newId('dlvr', world.randomness),
          alertId,
          webhookEndpointId: endpoint.id,
          consentId: grantByClient.get(endpoint.clientId)!.consentId,
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
      const accesses = await consents.findAccess(pending.accountIds, 'alerts:read')
      for (const access of accesses)
        if (access.grant.clientId === pending.clientId && access.grant.consentId !== consentId)
          await store.moveToConsent(consentId, access)
      return store.dropForConsent(consentId, world.clock.now())
    },
  }
}

/** Of each client's grants the one that lasts longest. */
function longestGrantByClient(accesses: readonly AccountAccess[]): ReadonlyMap<string, Grant> {
  const longest = new Map<string, Grant>()
  for (const { grant } of accesses) {
    const current = longest.get(grant.clientId)
    if (!current || current.expiresAt < grant.expiresAt) longest.set(grant.clientId, grant)
  }
  return longest
}
