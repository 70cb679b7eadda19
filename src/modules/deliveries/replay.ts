import { DAY_MS, subtractMs } from '../../kernel/clock.ts'
import { GatewayError, type InputFault } from '../../kernel/errors.ts'
import { faultAt, invalidInputError } from '../../kernel/input-faults.ts'
import { timeRangeFaults } from '../../kernel/time-range.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Idempotency } from '../../storage/idempotency.ts'
import type { Ledger } from '../ledger/index.ts'
import type { Outbox } from '../outbox/index.ts'
import { REPLAY_DAYS, REPLAY_LIMITS, type Delivery, type DeliverySelection } from './model.ts'
import { requeueDeliveries } from './replay-store.ts'
import type { DeliveryStore } from './store.ts'
import type { WebhookEndpointStore } from './webhook-endpoint-store.ts'

/** The result of a replay. */
export interface Replayed {
  /** The newest 50 of the replayed deliveries, newest first. */
  readonly deliveries: readonly Delivery[]
  readonly replayedCount: number
}

/** The dependencies of a replay. */
export interface ReplayDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock'>
  readonly ledger: Ledger
  readonly outbox: Outbox
  readonly idempotency: Idempotency
}

interface ReplayRequest {
  readonly select: DeliverySelection
  /** Limits the replay to deliveries to this endpoint. */
  readonly webhookEndpointId?: string | null | undefined
  readonly idempotencyKey?: string | null | undefined
}

const MAX_SHOWN = 50

/**
 * Creates the function that queues ended deliveries again: all of the selection or none, each with its `webhook-id` and a new
 * retry schedule. Each attempt requires an active consent, as always. Throws `NOT_FOUND` if the client has no such endpoint, and
 * `INVALID_INPUT` with every fault. The fault of one delivery has the code `NOT_FOUND` or `STATE_CONFLICT`.
 */
export function createReplay(
  { database, world, ledger, outbox, idempotency }: ReplayDependencies,
  store: DeliveryStore,
  endpointStore: WebhookEndpointStore,
) {
  /** The faults of the deliveries that were not queued. */
  async function findReplayFaults(
    tx: Transaction,
    clientId: string,
    ids: readonly string[],
    queued: ReadonlySet<string>,
    webhookEndpointId: string | undefined,
  ): Promise<InputFault[]> {
    const own = new Map(
      (await store.findMany(clientId, ids, tx))
        .filter((delivery) => webhookEndpointId === undefined || delivery.webhookEndpointId === webhookEndpointId)
        .map((delivery) => [delivery.id, delivery]),
    )
    return ids.flatMap((id, index) => {
      if (queued.has(id)) return []
      const path = ['select', 'deliveryIds', String(index)]
      const delivery = own.get(id)
      if (!delivery) return [faultAt(path, 'must be the ID of a delivery to an endpoint of the client', 'NOT_FOUND')]
      return delivery.createdAt < replayableSince(world.clock.now())
        ? [faultAt(path, TOO_OLD, 'STATE_CONFLICT')]
        : [faultAt(path, 'must be DELIVERED or FAILED, at an active endpoint', 'STATE_CONFLICT')]
    })
  }

  /** Queues the selected deliveries and returns their IDs, newest first. */
  async function requeue(
    tx: Transaction,
    clientId: string,
    select: DeliverySelection,
    webhookEndpointId: string | undefined,
  ): Promise<string[]> {
    const limit = REPLAY_LIMITS.deliveries
    const wanted = 'deliveryIds' in select ? { ids: select.deliveryIds } : { ...select, limit: limit + 1 }
    const now = world.clock.now()
    const queued = await requeueDeliveries(
      tx,
      now,
      { clientId, webhookEndpointId, createdSince: replayableSince(now) },
      wanted,
    )
    if ('ids' in wanted) {
      const queuedIds = new Set(queued.map(({ id }) => id))
      const faults = await findReplayFaults(tx, clientId, wanted.ids, queuedIds, webhookEndpointId)
      if (faults.length > 0) throw invalidInputError(faults)
    } else if (queued.length > limit)
      throw invalidInputError([faultAt(['select', 'created'], `must hold at most ${limit} deliveries: shorten it`)])
    for (const { unplannedAlertId } of queued)
      if (unplannedAlertId !== null) await outbox.enqueue(tx, 'alert.received', unplannedAlertId)
    return queued
      .sort((one, other) => other.createdAt.getTime() - one.createdAt.getTime() || (one.id < other.id ? 1 : -1))
      .map(({ id }) => id)
  }

  return async (clientId: string, { select, webhookEndpointId, idempotencyKey }: ReplayRequest): Promise<Replayed> => {
    const faults = selectionFaults(select, world.clock.now())
    if (faults.length > 0) throw invalidInputError(faults)
    const endpointId = webhookEndpointId ?? undefined
    if (endpointId !== undefined && !(await endpointStore.list({ clientId })).some(({ id }) => id === endpointId))
      throw new GatewayError('NOT_FOUND', { path: ['webhookEndpointId'] })
    const input = { select, webhookEndpointId: endpointId }
    const result = await database.transaction((tx) =>
      idempotency.runOnce(tx, { clientId, mutation: 'replayDeliveries', key: idempotencyKey, input }, async () => {
        const ids = await requeue(tx, clientId, select, endpointId)
        await ledger.recordAll(
          tx,
          ids.map((subjectId) => ({ action: 'DELIVERY_REPLAYED', clientId, subjectId })),
        )
        return JSON.stringify({ replayedCount: ids.length, ids: ids.slice(0, MAX_SHOWN) })
      }),
    )
    const { replayedCount, ids } = JSON.parse(result) as { replayedCount: number; ids: string[] }
    const found = new Map((await store.findMany(clientId, ids)).map((one) => [one.id, one]))
    return { replayedCount, deliveries: ids.flatMap((id) => found.get(id) ?? []) }
  }
}

const TOO_OLD = `must have been created in the last ${REPLAY_DAYS} days`
const replayableSince = (now: Date): Date => subtractMs(now, REPLAY_DAYS * DAY_MS)

function selectionFaults(select: DeliverySelection, now: Date): InputFault[] {
  if (!('deliveryIds' in select)) {
    const path = ['select', 'created']
    const isTooOld = (at: Date | undefined): boolean => at !== undefined && at < replayableSince(now)
    return [
      ...timeRangeFaults(select, path),
      ...(['since', 'until'] as const).flatMap((end) =>
        isTooOld(select[end]) ? [faultAt([...path, end], `must be at most ${REPLAY_DAYS} days ago`)] : [],
      ),
    ]
  }
  const { length } = select.deliveryIds
  if (length >= 1 && length <= REPLAY_LIMITS.ids) return []
  return [faultAt(['select', 'deliveryIds'], `must have 1 to ${REPLAY_LIMITS.ids} items`)]
}
