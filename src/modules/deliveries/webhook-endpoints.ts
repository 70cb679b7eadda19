import { GatewayError } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Change, Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import type { WebhookEndpoint, WebhookFormat, WebhookOrdering } from './model.ts'
import type { WebhookEndpointStore } from './webhook-endpoint-store.ts'
import type { EndpointWithSecret, WebhookSecrets } from './webhook-secrets.ts'

/** The dependencies of webhook endpoints. */
export interface WebhookEndpointsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'http' | 'randomness'>
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly idempotency: Idempotency
}

/** A change of an endpoint. What is absent is not changed. */
export interface EndpointChange {
  readonly status?: WebhookEndpoint['status'] | null | undefined
  readonly url?: string | null | undefined
  readonly format?: WebhookFormat | null | undefined
  readonly ordering?: WebhookOrdering | null | undefined
}

/** The options of a new endpoint. */
export interface EndpointOptions {
  readonly format?: WebhookFormat | null | undefined
  readonly ordering?: WebhookOrdering | null | undefined
  readonly idempotencyKey?: string | null | undefined
}

/** The endpoints that one client may have, disabled ones included. */
const MAX_ENDPOINTS = 10

/** Registers and changes the webhook endpoints of clients. */
export function createWebhookEndpoints(
  { database, world, ledger, outbox, idempotency }: WebhookEndpointsDependencies,
  store: WebhookEndpointStore,
  secrets: WebhookSecrets,
  onEnabled: (webhookEndpointId: string) => void,
) {
  async function findEndpoint(clientId: string, id: string): Promise<WebhookEndpoint | null> {
    return (await store.list({ clientId })).find((endpoint) => endpoint.id === id) ?? null
  }

  function assertAllowedUrl(url: string): void {
    const addressFault = world.http.urlFault(url)
    if (addressFault !== undefined) throw invalidInputError([faultAt(['url'], addressFault, 'ADDRESS_NOT_ALLOWED')])
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
      { format, ordering, idempotencyKey }: EndpointOptions = {},
    ): Promise<EndpointWithSecret> {
      assertAllowedUrl(url)
      const id = newId('whep', world.randomness)
      const { stored, publicKey } = await secrets.generate(id)
      const options = { format: format ?? 'STANDARD_WEBHOOKS', ordering: ordering ?? 'NONE' } as const
      const endpoint = { id, clientId, url, ...options, status: 'ACTIVE', publicKey } as const
      const input = { url, ...options }
      const idempotentRequest = { clientId, mutation: 'registerWebhookEndpoint', key: idempotencyKey, input }
      const ids = await database.transaction((tx) =>
        idempotency.runOnce(tx, idempotentRequest, async () => {
          if ((await store.lockList(tx, clientId)).length >= MAX_ENDPOINTS)
            throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          if (!(await store.add(tx, endpoint))) throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
          await secrets.add(tx, stored)
          await ledger.record(tx, { action: 'WEBHOOK_ENDPOINT_REGISTERED', clientId, subjectId: endpoint.id })
          return `${endpoint.id} ${stored.id}`
        }),
      )
      const [endpointId = '', secretId = ''] = ids.split(' ')
      return secrets.read(clientId, endpointId, secretId)
    },

    /**
     * Disables or enables the client's endpoint, or changes its URL, or format and order of new messages; what is absent is not changed. An active one is attempted at
     * once in this process. Throws `NOT_FOUND` if the client has no endpoint with this ID, `ADDRESS_NOT_ALLOWED`, or
     * `STATE_CONFLICT` if another endpoint of the client has the URL.
     */
    async updateEndpoint(clientId: string, id: string, change: EndpointChange): Promise<WebhookEndpoint> {
      if (typeof change.url === 'string') assertAllowedUrl(change.url)
      const updated = await database.transaction(async (tx) => {
        const endpoints = await store.lock(tx, clientId)
        const before = endpoints.find((endpoint) => endpoint.id === id)
        if (!before) throw new GatewayError('NOT_FOUND', { path: ['webhookEndpointId'] })
        const after = applyChange(before, change, world.clock.now())
        if (endpoints.some((endpoint) => endpoint.url === after.url && endpoint.id !== id))
          throw new GatewayError('STATE_CONFLICT', { path: ['url'] })
        await store.update(tx, after)
        await ledger.record(tx, {
          action: 'WEBHOOK_ENDPOINT_CHANGED',
          clientId,
          subjectId: id,
          detail: after.status,
          changes: changesOf(before, after),
        })
        if (after.status === 'DISABLED') await outbox.enqueue(tx, 'webhook-endpoint.disabled', id)
        return after
      })
      if (updated.status === 'ACTIVE') onEnabled(id)
      return updated
    },
  }
}

/** The endpoint after a change. A change ends a series of failed attempts. */
function applyChange(before: WebhookEndpoint, change: EndpointChange, now: Date): WebhookEndpoint {
  const { status, url, format, ordering } = before
  const after = {
    ...before,
    status: change.status ?? status,
    url: change.url ?? url,
    format: change.format ?? format,
    ordering: change.ordering ?? ordering,
    failingSince: null,
  }
  if (after.status === 'ACTIVE') return { ...after, disabledAt: null, disabledReason: null }
  return before.status === 'DISABLED' ? after : { ...after, disabledAt: now, disabledReason: 'CLIENT' }
}

/** The changed fields for the ledger. A URL is identified by its origin and a digest, because its path can hold a secret. */
function changesOf(before: WebhookEndpoint, after: WebhookEndpoint): Change[] {
  const describeUrl = ({ url }: WebhookEndpoint): string[] => [`${new URL(url).origin} ${digest(url).slice(0, 12)}`]
  const valueChanges = (['status', 'format', 'ordering'] as const).flatMap((field) =>
    before[field] === after[field] ? [] : [{ field, before: [before[field]], after: [after[field]] }],
  )
  return [
    ...valueChanges,
    ...(before.url === after.url ? [] : [{ field: 'url', before: describeUrl(before), after: describeUrl(after) }]),
  ]
}
