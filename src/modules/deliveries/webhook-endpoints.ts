import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Ledger } from '../ledger/index.ts'
import type { WebhookEndpoint } from './model.ts'
import { webhookSecret } from './signature.ts'
import type { WebhookEndpointStore } from './webhook-endpoint-store.ts'

/** The dependencies of webhook endpoints. */
export interface WebhookEndpointsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'http' | 'randomness'>
  readonly seal: Seal
  readonly ledger: Ledger
  readonly idempotency: Idempotency
}

/** The endpoints that one client may have, disabled ones included. */
const MAX_ENDPOINTS = 10

/** Registers and changes the webhook endpoints of clients. */
export function createWebhookEndpoints(
  { database, world, seal, ledger, idempotency }: WebhookEndpointsDependencies,
  store: WebhookEndpointStore,
) {
  async function findEndpoint(clientId: string, id: string): Promise<WebhookEndpoint | null> {
    return (await store.list({ clientId })).find((endpoint) => endpoint.id === id) ?? null
  }

  return {
    /** The active endpoints of all clients. */
    listActiveEndpoints: (): Promise<WebhookEndpoint[]> => store.list({ status: 'ACTIVE' }),
    listEndpoints: (clientId: string): Promise<WebhookEndpoint[]> => store.list({ clientId }),
    /** The client's endpoint with this ID, or null. */
    findEndpoint,

    /**
     * Registers an endpoint. Only this returns its signing secret; a repeated request with the same idempotency key returns it
     * again. Throws `ADDRESS_NOT_ALLOWED`, or `STATE_CONFLICT` if the client has an endpoint with this URL or ten endpoints.
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
          if ((await store.list({ clientId }, tx)).length >= MAX_ENDPOINTS)
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          if (!(await store.add(tx, { ...endpoint, sealedSigningSecret })))
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          await ledger.record(tx, { action: 'WEBHOOK_ENDPOINT_REGISTERED', clientId, subjectId: endpoint.id })
          return endpoint.id
        }),
      )
      const { sealedSigningSecret: sealed, ...webhookEndpoint } = (await store.find(endpointId))!
      return { webhookEndpoint, signingSecret: String(await seal.unseal(`webhook-secret:${endpointId}`, sealed)) }
    },

    /** Disables or enables the client's endpoint. Throws `NOT_FOUND` if the client has no endpoint with this ID. */
    async updateEndpoint(clientId: string, id: string, status: WebhookEndpoint['status']): Promise<WebhookEndpoint> {
      const endpoint = await findEndpoint(clientId, id)
      if (!endpoint) throw new GatewayError('NOT_FOUND', { path: ['webhookEndpointId'] })
      await database.transaction(async (tx) => {
        await store.setStatus(tx, id, status)
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
  }
}
