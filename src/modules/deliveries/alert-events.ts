import type { AlertAnswer } from '../../kernel/alert-vocabulary.ts'
import type { Signal } from '../../kernel/signal.ts'
import type { Alert, Alerts, AlertView } from '../alerts/index.ts'
import type { Consents, Grant } from '../consents/index.ts'
import type { ClientEvent } from './client-events.ts'
import type { WebhookMessage } from './message.ts'
import { EVENT_TYPES } from './model.ts'
import type { EventSource } from './planning.ts'

/** The dependencies of the events about alerts. */
export interface AlertEventsDependencies {
  readonly alerts: Alerts
  readonly consents: Consents
}

/** Alerts that one signal names: the payload of a notification of PostgreSQL is shorter than 8,000 bytes. */
const ALERTS_PER_SIGNAL = 50

/**
 * The events about alerts that are shown from now on: one for every client that has an active consent for the alert, however many
 * such consents it has. Their signals announce the alerts to subscriptions.
 */
export const alertEvents = (
  { alerts, consents }: AlertEventsDependencies,
  topic: 'alert.urgent' | 'alert.received',
): EventSource => ({
  topic,
  async load(tx, alertIds) {
    const due = (await alerts.findMany(alertIds, tx)).sort(
      (one, other) => one.createdAt.getTime() - other.createdAt.getTime() || (one.id < other.id ? -1 : 1),
    )
    const grants = await consents.findGrantsForAlerts(tx, due)
    const events = due.flatMap((alert, index) =>
      grantsByClient(grants[index]!, alert).map(({ grant, canRespond }): ClientEvent => ({
        type: EVENT_TYPES.alert,
        alertId: alert.id,
        grant,
        priority: alert.severity === 'URGENT' ? 'URGENT' : 'STANDARD',
        buildData() {
          const view = alerts.viewUnder(alert, grant, { canRespond })
          const customerId = consents.subjectOf(grant.clientId, grant.customerId)
          return alertData(view, { customerId, responseOptions: alerts.availableResponses(view) })
        },
      })),
    )
    return { events, signals: shownSignals(due) }
  },
})

/** For each client, the grant that expires last of those that the customer gave before the alert came. */
function grantsByClient(
  grants: readonly Grant[],
  alert: Alert,
): {
  readonly grant: Grant
  /** Whether any of the client's consents lets the customer respond. */
  readonly canRespond: boolean
}[] {
  const covering = Map.groupBy(
    grants.filter(({ grantedAt }) => grantedAt <= alert.createdAt),
    ({ clientId }) => clientId,
  )
  return [...covering.values()].map((ofClient) => ({
    grant: ofClient.reduce((longest, grant) => (longest.expiresAt < grant.expiresAt ? grant : longest)),
    canRespond: ofClient.some(({ scopes }) => scopes.includes('alerts:respond')),
  }))
}

/** The data of a message about an alert, with the client's ID for the customer, and what the customer can respond through it. */
export const alertData = (
  { publicId, publicAccountId, bankId, alert, occurredAt }: AlertView,
  { customerId, responseOptions }: { readonly customerId: string; readonly responseOptions: readonly AlertAnswer[] },
): WebhookMessage['data'] => ({
  id: publicId,
  customerId,
  accountId: publicAccountId,
  bankId,
  type: alert.type,
  severity: alert.severity,
  requestedAction: alert.requestedAction,
  occurredAt,
  ...(alert.balanceLine && {
    balanceLineId: alert.balanceLine.id,
    balanceLineDirection: alert.balanceLine.direction,
  }),
  responseOptions,
  respondBy: responseOptions.length > 0 ? (alert.question?.respondBy.toISOString() ?? null) : null,
})

function shownSignals(alerts: readonly Alert[]): Signal[] {
  const shown = alerts.map(({ id, customerId }) => ({ id, customerId }))
  return Array.from({ length: Math.ceil(shown.length / ALERTS_PER_SIGNAL) }, (_none, index) => ({
    kind: 'ALERTS_SHOWN',
    alerts: shown.slice(index * ALERTS_PER_SIGNAL, (index + 1) * ALERTS_PER_SIGNAL),
  }))
}
