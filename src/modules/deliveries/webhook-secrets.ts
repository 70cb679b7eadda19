import { addMs, HOUR_MS } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Seal } from '../../storage/seal.ts'
import type { Ledger } from '../ledger/index.ts'
import type { WebhookEndpoint } from './model.ts'
import { generateWebhookKeys } from './signature.ts'
import { secretContext, unsealKeys } from './signing-keys.ts'
import type { WebhookEndpointStore } from './webhook-endpoint-store.ts'
import type { StoredSecret, WebhookSecretStore } from './webhook-secret-store.ts'

/** The dependencies of secrets. */
export interface WebhookSecretsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'randomness'>
  readonly seal: Seal
  readonly ledger: Ledger
  readonly idempotency: Idempotency
}

/** A rotation of the secret of an endpoint. */
export interface SecretRotation {
  /** How long the earlier secret also signs. */
  readonly overlapHours: number
  readonly idempotencyKey?: string | null | undefined
}

/** An endpoint with its newest secret, which is returned only when it is new. */
export interface EndpointWithSecret {
  readonly webhookEndpoint: WebhookEndpoint
  /** Null if the request is a repeated one, and the secret does not sign any more. */
  readonly signingSecret: string | null
}

const MAX_OVERLAP_HOURS = 168
/** Secrets that sign beside the newest one. Every one of them costs two signatures in each message. */
const MAX_OVERLAPS = 3

/** Creates and rotates the secrets of endpoints. */
export type WebhookSecrets = ReturnType<typeof createWebhookSecrets>

/** Creates the secrets. */
export function createWebhookSecrets(
  { database, world, seal, ledger, idempotency }: WebhookSecretsDependencies,
  store: WebhookSecretStore,
  endpoints: WebhookEndpointStore,
) {
  /** New keys that are not stored yet. */
  async function generate(webhookEndpointId: string): Promise<{ stored: StoredSecret; publicKey: string }> {
    const { publicKey, ...keys } = generateWebhookKeys(world.randomness.bytes(32))
    const stored = {
      id: newId('whsc', world.randomness),
      webhookEndpointId,
      sealed: await seal.seal(secretContext(webhookEndpointId), keys),
      createdAt: world.clock.now(),
    }
    return { stored, publicKey }
  }

  async function replace(
    tx: Transaction,
    clientId: string,
    { stored, publicKey }: { readonly stored: StoredSecret; readonly publicKey: string },
    overlapHours: number,
  ): Promise<void> {
    const { webhookEndpointId: id } = stored
    if (!(await endpoints.lock(tx, clientId)).some((endpoint) => endpoint.id === id))
      throw new GatewayError('NOT_FOUND', { path: ['webhookEndpointId'] })
    const now = world.clock.now()
    const overlaps = await store.listOverlaps(tx, id, now)
    if (overlapHours > 0 && overlaps.length >= MAX_OVERLAPS) {
      const message = `must be 0 while ${MAX_OVERLAPS} earlier secrets still sign; the first of them ends at ${overlaps[0]!.toISOString()}`
      throw invalidInputError([faultAt(['overlapHours'], message, 'STATE_CONFLICT')])
    }
    const overlapEndsAt = addMs(now, overlapHours * HOUR_MS)
    await store.endAt(tx, id, overlapEndsAt)
    // The time after the lock, so that concurrent rotations have the order of their commits.
    await store.add(tx, { ...stored, createdAt: now })
    await endpoints.setKeys(tx, id, { publicKey, secretOverlapEndsAt: overlapHours === 0 ? null : overlapEndsAt })
    await ledger.record(tx, {
      action: 'WEBHOOK_SECRET_ROTATED',
      clientId,
      subjectId: id,
      changes: [{ field: 'overlapHours', before: [], after: [String(overlapHours)] }],
    })
  }

  /** The endpoint with the secret of this ID. */
  async function read(clientId: string, webhookEndpointId: string, secretId: string): Promise<EndpointWithSecret> {
    const webhookEndpoint = (await endpoints.list({ clientId })).find(({ id }) => id === webhookEndpointId)!
    const stored = await store.find(secretId)
    const signingSecret = stored && (await unsealKeys(seal, webhookEndpointId, stored.sealed)).secret
    return { webhookEndpoint, signingSecret }
  }

  return {
    generate,
    read,
    /** Adds generated keys of a new endpoint. */
    add: (tx: Transaction, stored: StoredSecret): Promise<void> => store.add(tx, stored),

    /**
     * Replaces secret and key pair of the client's endpoint. The earlier ones also sign for `overlapHours`, at most. Only this
     * returns the new secret; a repeated request with the same idempotency key returns it again. Throws `NOT_FOUND`, or
     * `INVALID_INPUT` if the overlap is not 0 to 168 hours, or not 0 while three earlier secrets sign.
     */
    async rotate(
      clientId: string,
      webhookEndpointId: string,
      { overlapHours, idempotencyKey }: SecretRotation,
    ): Promise<EndpointWithSecret> {
      if (overlapHours < 0 || overlapHours > MAX_OVERLAP_HOURS)
        throw invalidInputError([faultAt(['overlapHours'], `must be from 0 to ${MAX_OVERLAP_HOURS}`)])
      const generated = await generate(webhookEndpointId)
      const input = { webhookEndpointId, overlapHours }
      const secretId = await database.transaction((tx) =>
        idempotency.runOnce(tx, { clientId, mutation: 'rotateWebhookSecret', key: idempotencyKey, input }, async () => {
          await replace(tx, clientId, generated, overlapHours)
          return generated.stored.id
        }),
      )
      return read(clientId, webhookEndpointId, secretId)
    },

    /** Deletes secrets that do not sign any more. Returns their number. */
    deleteEnded: (): Promise<number> => store.deleteEnded(world.clock.now()),
  }
}
