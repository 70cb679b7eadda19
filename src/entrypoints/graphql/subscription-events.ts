import type { Alerts } from '../../modules/alerts/index.ts'
import type { Consent, Consents } from '../../modules/consents/index.ts'
import type { SubscriptionEvent, SubscriptionGroup } from './streams.ts'

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
      : (await consents.findByCustomer(caller.customerId, caller.clientId))
          .map((consent) => ({ at: consent.endedAt ?? consent.activatedAt ?? consent.createdAt, consent }))
          .sort((one, other) => other.at.getTime() - one.at.getTime())
          .map(({ consent }) => buildConsentEvent(group, consent))
  const index = all.findIndex(({ id }) => id === lastEventId)
  return (index < 0 ? all : all.slice(0, index)).reverse()
}

/** The event of a consent that changed. Its ID is the same for the same status. */
export const buildConsentEvent = ({ context }: SubscriptionGroup, consent: Consent): SubscriptionEvent => ({
  id: `${consent.id}.${consent.status}`,
  rootValue: { consentChanged: consent },
  context: { ...context },
})
