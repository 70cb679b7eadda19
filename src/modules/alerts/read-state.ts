import { faultAt, invalidInputError, throwInvalidInput } from '../../kernel/input-faults.ts'
import type { CustomerCaller } from '../../kernel/request-context.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { AlertView } from './model.ts'
import type { ReadStateStore } from './read-state-store.ts'
import type { SharedAlerts } from './shared-alerts.ts'

/** The dependencies of the read state. */
export interface ReadStateDependencies {
  readonly database: Database
  readonly world: Pick<World, 'clock'>
  readonly signals: Signals
}

/** Alerts that one request can mark. */
const MAX_MARKED = 100

/**
 * Creates the function that marks alerts as read by the caller's client, and returns them in the order of the IDs. The state
 * belongs to the client: two platforms of one customer must not learn from each other when the customer reads. An alert that was
 * marked before keeps its time. Throws `INVALID_INPUT` for too many IDs, and `NOT_FOUND` with a fault for each ID that the caller
 * may not see or that does not exist; then nothing is marked. Does not record that the alerts are read.
 */
export function createMarking(
  { database, world, signals }: ReadStateDependencies,
  store: ReadStateStore,
  { listNewest }: Pick<SharedAlerts, 'listNewest'>,
): (caller: CustomerCaller, publicIds: readonly string[]) => Promise<readonly AlertView[]> {
  const findViews = async (caller: CustomerCaller, publicIds: readonly string[]): Promise<readonly AlertView[]> => {
    const views = new Map((await listNewest(caller)).map((view) => [view.publicId, view]))
    const faults = publicIds.flatMap((id, index) =>
      views.has(id)
        ? []
        : [faultAt(['alertIds', String(index)], 'is not an alert that the caller may see', 'NOT_FOUND')],
    )
    if (faults.length > 0) throw invalidInputError(faults)
    return publicIds.map((id) => views.get(id)!)
  }

  return async (caller, publicIds) => {
    if (publicIds.length === 0 || publicIds.length > MAX_MARKED)
      throwInvalidInput(['alertIds'], `must have 1 to ${MAX_MARKED} items`)
    const views = await findViews(caller, publicIds)
    const unreadIds = [...new Set(views.filter(({ readAt }) => readAt === null).map(({ alert }) => alert.id))]
    if (unreadIds.length === 0) return views
    const { clientId, customerId } = caller
    await database.transaction(async (tx) => {
      await store.add(tx, clientId, unreadIds, world.clock.now())
      await signals.publish(tx, { kind: 'ALERTS_READ', clientId, customerId })
    })
    return findViews(caller, publicIds)
  }
}
