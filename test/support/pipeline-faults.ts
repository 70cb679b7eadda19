/** An event that a bank got 202 for, with the accounts that it is about, one of each customer who shares the account. */
export interface AcknowledgedEvent {
  readonly accountIds: readonly string[]
  /** The hour that it occurred in. With the account, it identifies the event. */
  readonly occurredAt: Date
}

/** What the database has of an alert. */
export interface StoredAlert {
  readonly id: string
  readonly accountId: string
  readonly occurredAt: Date
  /** Entries of the ledger that say that it was received. */
  readonly ledgerCount: number
}

/** What the database has of a delivery. */
export interface StoredDelivery {
  readonly id: string
  readonly alertId: string
  readonly endpointId: string
  readonly status: string
}

/** What the database has of an attempt. */
export interface StoredAttempt {
  readonly deliveryId: string
  readonly attemptedAt: Date
  readonly httpStatus: number | null
  readonly outcome: string
}

/** A request that an endpoint received. */
export interface WebhookRequest {
  readonly endpointId: string
  readonly webhookId: string
  /** The header `webhook-timestamp`, in seconds. */
  readonly sentAtSeconds: number
  /** The endpoint's own ID of the alert, from the body. */
  readonly alertId: string
  /** The endpoint's own ID of the customer, and the place of the message among those about this customer. */
  readonly customerId: string
  readonly sequence: number
  /** The status that the endpoint responded with. */
  readonly status: number
  /** The worker that sent it, as a number that grows by one with each start. */
  readonly worker: number
}

/** Everything that banks, endpoints and the database know of a run after all work has ended. */
export interface PipelineEvidence {
  readonly acknowledged: readonly AcknowledgedEvent[]
  readonly alerts: readonly StoredAlert[]
  readonly deliveries: readonly StoredDelivery[]
  readonly attempts: readonly StoredAttempt[]
  readonly requests: readonly WebhookRequest[]
  /** The endpoint that receives the alerts of each account. */
  readonly endpointByAccount: ReadonlyMap<string, string>
  /** The last worker. Only workers before it were killed. */
  readonly lastWorker: number
}

/**
 * Every contradiction between what was acknowledged, stored and received: events lost or doubled, deliveries missing or never
 * received, IDs that are new or change, numbers with gaps, and attempts that never happened or were not stored.
 */
export const findPipelineFaults = (evidence: PipelineEvidence): string[] => [
  ...findAlertFaults(evidence),
  ...findDeliveryFaults(evidence),
  ...findIdFaults(evidence),
  ...findSequenceFaults(evidence),
  ...findAttemptFaults(evidence),
]

function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) groups.set(keyOf(item), [...(groups.get(keyOf(item)) ?? []), item])
  return groups
}

const eventKey = (accountId: string, occurredAt: Date): string => `${accountId} ${occurredAt.toISOString()}`

function findAlertFaults({ acknowledged, alerts }: PipelineEvidence): string[] {
  const faults: string[] = []
  const byEvent = groupBy(alerts, ({ accountId, occurredAt }) => eventKey(accountId, occurredAt))
  for (const { accountIds, occurredAt } of acknowledged)
    for (const accountId of accountIds) {
      const count = byEvent.get(eventKey(accountId, occurredAt))?.length ?? 0
      if (count === 0) faults.push(`lost: the event of ${eventKey(accountId, occurredAt)}`)
      if (count > 1) faults.push(`doubled: the event of ${eventKey(accountId, occurredAt)} became ${count} alerts`)
    }
  for (const { id, ledgerCount } of alerts)
    if (ledgerCount !== 1) faults.push(`ledger: ${ledgerCount} entries for the receipt of ${id}`)
  return faults
}

function findDeliveryFaults({ alerts, deliveries, requests, endpointByAccount }: PipelineEvidence): string[] {
  const faults: string[] = []
  const byAlert = groupBy(deliveries, ({ alertId }) => alertId)
  const accepted = new Set(requests.filter(({ status }) => status < 300).map(({ webhookId }) => webhookId))
  for (const { id, accountId } of alerts) {
    const found = byAlert.get(id) ?? []
    const endpoints = found.map(({ endpointId }) => endpointId)
    if (endpoints.join() !== endpointByAccount.get(accountId))
      faults.push(`deliveries: ${id} has deliveries to ${endpoints.join(', ')}`)
    for (const delivery of found) {
      if (delivery.status !== 'DELIVERED') faults.push(`deliveries: ${delivery.id} is ${delivery.status}`)
      if (!accepted.has(delivery.id)) faults.push(`deliveries: no endpoint has accepted ${delivery.id}`)
    }
  }
  return faults
}

function findIdFaults({ deliveries, requests }: PipelineEvidence): string[] {
  const stored = new Set(deliveries.map(({ id }) => id))
  const unknown = [...new Set(requests.map(({ webhookId }) => webhookId))].filter((id) => !stored.has(id))
  const byMessage = groupBy(requests, ({ endpointId, alertId }) => `${alertId} at ${endpointId}`)
  const changed = [...byMessage].filter(([, all]) => new Set(all.map(({ webhookId }) => webhookId)).size > 1)
  return [
    ...unknown.map((id) => `ids: ${id} is not in the database`),
    ...changed.map(([message]) => `ids: alert ${message} came under several IDs`),
  ]
}

/** The messages about a customer are numbered from 1 without gaps, and each has one number in all of its requests. */
function findSequenceFaults({ requests }: PipelineEvidence): string[] {
  const byCustomer = groupBy(requests, ({ endpointId, customerId }) => `${customerId} at ${endpointId}`)
  return [...byCustomer].flatMap(([customer, all]) => {
    const alertIds = new Set(all.map(({ alertId }) => alertId))
    const numbered = new Set(all.map(({ alertId, sequence }) => `${sequence} ${alertId}`))
    const numbers = [...new Set(all.map(({ sequence }) => sequence))].sort((one, other) => one - other)
    const isComplete = numbers.every((number, index) => number === index + 1)
    return isComplete && numbers.length === alertIds.size && numbered.size === alertIds.size
      ? []
      : [`sequence: ${alertIds.size} alerts of customer ${customer} have the numbers ${numbers.join(', ')}`]
  })
}

/** A killed worker may have sent one request of each delivery whose outcome it could not store. */
function findAttemptFaults({ attempts, requests, lastWorker }: PipelineEvidence): string[] {
  const faults: string[] = []
  const keyOf = (id: string, seconds: number, status: number | null): string => `${id} at ${seconds} with ${status}`
  const unmatched = groupBy(requests, ({ webhookId, sentAtSeconds, status }) => keyOf(webhookId, sentAtSeconds, status))
  for (const { deliveryId, attemptedAt, httpStatus, outcome } of attempts) {
    if (outcome !== 'ACCEPTED' && outcome !== 'REFUSED') continue
    const key = keyOf(deliveryId, Math.floor(attemptedAt.getTime() / 1_000), httpStatus)
    if (!unmatched.get(key)?.shift()) faults.push(`attempts: ${outcome} of ${key} never happened`)
  }
  const left = groupBy([...unmatched.values()].flat(), ({ webhookId, worker }) => `${webhookId} of worker ${worker}`)
  for (const [key, all] of left)
    if (all.length > 1 || all[0]!.worker === lastWorker)
      faults.push(`attempts: ${all.length} requests for ${key} are not stored`)
  return faults
}
