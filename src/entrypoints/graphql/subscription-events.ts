import type { Alert, Alerts } from '../../modules/alerts/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { Streams, SubscriptionEvent, SubscriptionGroup } from './streams.ts'

/** Events after the last one that the client received, oldest first. All events if that one is not known. */
export async function findMissedEvents(
  { alerts, consents }: { readonly alerts: Alerts; readonly consents: Consents },
  group: SubscriptionGroup,
  lastEventId: string,
): Promise<SubscriptionEvent[]> {
  const { caller, field } = group
  const context = { ...group.context }
  if (field === 'alertReceived') await alerts.recordSharedRead(caller, context)
  const all: SubscriptionEvent[] =
    field === 'alertReceived'
      ? (await alerts.listNewest(caller)).map((alert) => ({
          id: alert.publicId,
          rootValue: { alertReceived: alert },
          context,
        }))
      : await Promise.all(
          (await consents.findByCustomer(caller.customerId, caller.clientId))
            .sort((one, other) => lastChangeMsOf(other) - lastChangeMsOf(one))
            .map(async (consent) => buildConsentEvent(group, consent, await consents.statusOf(consent))),
        )
  const index = all.findIndex(({ id }) => id === lastEventId)
  return (index < 0 ? all : all.slice(0, index)).reverse()
}

/** The alerts of customers who have subscribers here, each with its groups. Loads no others. */
export async function findSubscribedAlerts(
  alerts: Alerts,
  streams: Streams,
  shown: readonly { readonly id: string; readonly customerId: string }[],
): Promise<{ group: SubscriptionGroup; alert: Alert }[]> {
  const groupsOf = (customerId: string): SubscriptionGroup[] =>
    streams.groupsOf(customerId).filter(({ field }) => field === 'alertReceived')
  const ids = shown.filter(({ customerId }) => groupsOf(customerId).length > 0).map(({ id }) => id)
  if (ids.length === 0) return []
  const byId = new Map((await alerts.findMany(ids)).map((alert) => [alert.id, alert]))
  return ids.flatMap((id) => {
    const alert = byId.get(id)
    return alert ? groupsOf(alert.customerId).map((group) => ({ group, alert })) : []
  })
}

/** When the status of a consent changed last, in milliseconds since 1970. */
const lastChangeMsOf = ({ createdAt, activatedAt, suspendedAt, resumedAt, endedAt }: Consent): number =>
  Math.max(...[createdAt, activatedAt, suspendedAt, resumedAt, endedAt].map((at) => at?.getTime() ?? 0))

/**
 * The event of a consent that changed to `status`. Its ID is the same for the same change: a consent can be SUSPENDED and ACTIVE
 * several times.
 */
export function buildConsentEvent(
  { context }: SubscriptionGroup,
  consent: Consent,
  status: Consent['status'],
): SubscriptionEvent {
  const { id, suspendedAt, resumedAt } = consent
  const repeatedAt = status === 'SUSPENDED' ? suspendedAt : status === 'ACTIVE' ? resumedAt : null
  return {
    id: `${id}.${status}${repeatedAt ? `.${repeatedAt.getTime()}` : ''}`,
    rootValue: { consentChanged: consent },
    context: { ...context },
  }
}
