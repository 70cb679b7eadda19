import { MINUTE_MS, subtractMs } from '../../kernel/clock.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import { faultAt, invalidInputError, throwInvalidInput } from '../../kernel/input-faults.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Ledger } from '../ledger/index.ts'
import { buildBody, EXAMPLES, testMessage } from './message.ts'
import { EVENT_TYPES, type CustomerEventType, type Delivery } from './model.ts'
import type { EventSigner } from './security-event.ts'
import type { DeliveryStore } from './store.ts'
import type { WebhookEndpointStore } from './webhook-endpoint-store.ts'

/** The dependencies of test events. */
export interface TestEventsDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock' | 'randomness'>
  readonly ledger: Ledger
  readonly idempotency: Idempotency
}

/** A request for a test event. */
export interface TestRequest {
  readonly webhookEndpointId: string
  /** The type of message that it has an example of. */
  readonly eventType: string
  readonly idempotencyKey?: string | null | undefined
}

/** Test events to one endpoint in a minute, so that nobody is flooded by an endpoint at another's address. */
const MAX_PER_MINUTE = 10
const TOO_MANY = `gets at most ${MAX_PER_MINUTE} test events a minute; try again in a minute`

const isExampleType = (type: string): type is CustomerEventType => Object.hasOwn(EXAMPLES, type)

/**
 * Creates the function that queues a test event to an endpoint of the client, in the endpoint's format. Throws `NOT_FOUND`,
 * `STATE_CONFLICT` if the endpoint is disabled, and `INVALID_INPUT` for an unknown type or too many test events.
 */
export function createTestEvents(
  { database, world, ledger, idempotency }: TestEventsDependencies,
  signer: EventSigner,
  store: DeliveryStore,
  endpoints: WebhookEndpointStore,
) {
  async function add(tx: Transaction, clientId: string, id: string, eventType: CustomerEventType): Promise<string> {
    const endpoint = (await endpoints.lock(tx, clientId)).find((one) => one.id === id)
    if (!endpoint) throw new GatewayError('NOT_FOUND', { path: ['webhookEndpointId'] })
    if (endpoint.status !== 'ACTIVE') throw new GatewayError('STATE_CONFLICT', { path: ['webhookEndpointId'] })
    const now = world.clock.now()
    if ((await store.countTests(tx, id, subtractMs(now, MINUTE_MS))) >= MAX_PER_MINUTE)
      throw invalidInputError([faultAt(['webhookEndpointId'], TOO_MANY, 'RATE_LIMITED')])
    const deliveryId = newId('dlvr', world.randomness)
    const { format } = endpoint
    const body = buildBody(testMessage(id, eventType, now), { deliveryId, clientId, format }, signer)
    await store.addTest(tx, { id: deliveryId, eventType: EVENT_TYPES.test, webhookEndpointId: id, body, format }, now)
    await ledger.record(tx, { action: 'TEST_EVENT_SENT', clientId, subjectId: id })
    return deliveryId
  }

  return async (clientId: string, { webhookEndpointId, eventType, idempotencyKey }: TestRequest): Promise<Delivery> => {
    if (!isExampleType(eventType))
      throwInvalidInput(['eventType'], `must be one of ${Object.keys(EXAMPLES).join(', ')}`)
    const input = { webhookEndpointId, eventType }
    const id = await database.transaction((tx) =>
      idempotency.runOnce(tx, { clientId, mutation: 'sendTestEvent', key: idempotencyKey, input }, () =>
        add(tx, clientId, webhookEndpointId, eventType),
      ),
    )
    return (await store.find(clientId, id))!
  }
}
