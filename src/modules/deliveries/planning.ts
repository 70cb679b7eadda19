import { isConnectionError } from '../../kernel/database-errors.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { newId } from '../../kernel/ids.ts'
import type { World } from '../../kernel/world.ts'
import type { Database, SqlTransaction } from '../../storage/database.ts'
import type { Signals } from '../../storage/signals.ts'
import type { Alert, Alerts } from '../alerts/index.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { LockedMessage, Outbox } from '../outbox/index.ts'
import { alertMessage, buildBody } from './message.ts'
import type { EventSigner } from './security-event.ts'
import { planningStore, type NewDelivery, type PlannedEndpoint } from './planning-store.ts'

/** The dependencies of planning. */
export interface PlanningDependencies {
  readonly database: Database
  readonly world: World
  readonly alerts: Alerts
  readonly consents: Consents
  readonly outbox: Outbox
  readonly signals: Signals
  readonly eventSigner: EventSigner
}

/** Alerts that one signal names: the payload of a notification of PostgreSQL is shorter than 8,000 bytes. */
const ALERTS_PER_SIGNAL = 50
/** Alerts of one transaction. Each is planned for every client that may see it. */
const BATCH_SIZE = 100

/** An alert for one client: the grant under which it is planned. */
interface ClientAlert {
  readonly alert: Alert
  readonly grant: Grant
  /** Whether any of the client's consents lets the customer respond. */
  readonly canRespond: boolean
}

/**
 * Creates the function that plans the deliveries of alerts that are shown from now on: one to each active endpoint of every
 * client that has an active consent for them, however many such consents it has. Plans up to 100 alerts in one transaction, which
 * also announces them to subscriptions. Planning the same alert again adds nothing. Returns whether more may be due.
 */
export function createPlanning(dependencies: PlanningDependencies): () => Promise<boolean> {
  const { database, outbox } = dependencies

  /** Plans what is due. Returns the messages that it has handled. */
  const planBatch = (limit: number): Promise<readonly LockedMessage[]> =>
    database.delivery.transaction(async (tx) => {
      const messages = await outbox.lockDue(tx, 'alert.received', limit)
      if (messages.length > 0) await planAlerts(dependencies, tx, messages)
      return messages
    })

  /** After a batch has failed: plans alerts one by one, so that one that cannot be planned is postponed by itself. */
  async function planSingly(): Promise<void> {
    for (let count = 0; count < BATCH_SIZE; count++) {
      let current: readonly LockedMessage[] = []
      try {
        await database.delivery.transaction(async (tx) => {
          current = await outbox.lockDue(tx, 'alert.received', 1)
          if (current.length > 0) await planAlerts(dependencies, tx, current)
        })
      } catch (error) {
        const [message] = current
        if (!message || isDatabaseError(error)) throw error
        await outbox.postpone('alert.received', message, error)
      }
      if (current.length === 0) return
    }
  }

  return async () => {
    try {
      return (await planBatch(BATCH_SIZE)).length === BATCH_SIZE
    } catch (error) {
      if (isDatabaseError(error)) throw error
      await planSingly()
      return true
    }
  }
}

/** Whether every alert would fail, not a certain one. */
const isDatabaseError = (error: unknown): boolean => error instanceof GatewayError || isConnectionError(error)

async function planAlerts(
  { world, alerts, consents, outbox, signals, eventSigner }: PlanningDependencies,
  tx: SqlTransaction,
  messages: readonly LockedMessage[],
): Promise<void> {
  const now = world.clock.now()
  const found = await alerts.findMany(
    messages.map(({ subjectId }) => subjectId),
    tx,
  )
  const due = found.sort(
    (one, other) => one.createdAt.getTime() - other.createdAt.getTime() || (one.id < other.id ? -1 : 1),
  )
  const grants = await consents.findGrantsForAlerts(tx, due)
  const clientAlerts = due.flatMap((alert, index) => grantsByClient(grants[index]!, alert))
  const endpoints = await planningStore.findEndpoints(
    tx,
    clientAlerts.map(({ alert, grant: { clientId } }) => ({ alertId: alert.id, clientId })),
  )
  const open = endpoints.filter(({ hasBody }) => !hasBody)
  const sequences = await assignSequences(tx, clientAlerts, open)
  const deliveries = open.map(({ index, webhookEndpointId, format, ordering, deliveryId }): NewDelivery => {
    const { alert, grant, canRespond } = clientAlerts[index]!
    const { clientId, customerId } = grant
    const sequence = sequences.get(index)!
    const id = deliveryId ?? newId('dlvr', world.randomness)
    const view = alerts.viewUnder(alert, grant, { canRespond })
    const customer = {
      customerId: consents.subjectOf(clientId, customerId),
      responseOptions: alerts.availableResponses(view),
    }
    const message = alertMessage(view, customer, sequence, now)
    return {
      id,
      alertId: alert.id,
      webhookEndpointId,
      consentId: grant.consentId,
      customerId,
      sequence,
      priority: alert.severity === 'URGENT' ? 'URGENT' : 'STANDARD',
      body: buildBody(message, { deliveryId: id, clientId, format }, eventSigner),
      format,
      isInOrder: ordering === 'PER_CUSTOMER',
    }
  })
  if (deliveries.length > 0) await planningStore.insert(tx, deliveries, now)
  await outbox.deleteAll(
    tx,
    messages.map(({ id }) => id),
  )
  const shown = due.map(({ id, customerId }) => ({ id, customerId }))
  const signalCount = Math.ceil(shown.length / ALERTS_PER_SIGNAL)
  if (signalCount > 0)
    await signals.publishAll(
      tx,
      Array.from({ length: signalCount }, (_none, index) => ({
        kind: 'ALERTS_SHOWN',
        alerts: shown.slice(index * ALERTS_PER_SIGNAL, (index + 1) * ALERTS_PER_SIGNAL),
      })),
    )
}

/** For each client, the grant that expires last of those that the customer gave before the alert came. */
function grantsByClient(grants: readonly Grant[], alert: Alert): ClientAlert[] {
  const covering = Map.groupBy(
    grants.filter(({ grantedAt }) => grantedAt <= alert.createdAt),
    ({ clientId }) => clientId,
  )
  return [...covering.values()].map((ofClient) => ({
    alert,
    grant: ofClient.reduce((longest, grant) => (longest.expiresAt < grant.expiresAt ? grant : longest)),
    canRespond: ofClient.some(({ scopes }) => scopes.includes('alerts:respond')),
  }))
}

/** The sequence number of each alert and client that is sent anywhere: the one that it has already, or the next. */
async function assignSequences(
  tx: SqlTransaction,
  clientAlerts: readonly ClientAlert[],
  endpoints: readonly PlannedEndpoint[],
): Promise<ReadonlyMap<number, number>> {
  const sequences = new Map<number, number>()
  for (const { index, sequence } of endpoints) if (sequence !== null) sequences.set(index, sequence)
  const missing = [...new Set(endpoints.map(({ index }) => index))].filter((index) => !sequences.has(index))
  const indexesByKey = Map.groupBy(missing, (index) => {
    const { clientId, customerId } = clientAlerts[index]!.grant
    return `${clientId} ${customerId}`
  })
  if (indexesByKey.size === 0) return sequences
  const wanted = [...indexesByKey.values()].map((indexes) => {
    const { clientId, customerId } = clientAlerts[indexes[0]!]!.grant
    return { clientId, customerId, count: indexes.length }
  })
  for (const { clientId, customerId, lastSequence } of await planningStore.takeSequences(tx, wanted)) {
    const indexes = indexesByKey.get(`${clientId} ${customerId}`)!
    indexes.forEach((index, place) => sequences.set(index, lastSequence - indexes.length + 1 + place))
  }
  return sequences
}
