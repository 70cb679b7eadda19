import { DAY_MS } from '../../kernel/clock.ts'
import type { Consents } from '../consents/index.ts'
import type { ClientEvent } from './client-events.ts'
import { EVENT_TYPES } from './model.ts'
import type { EventSource } from './planning.ts'

/** The dependencies of the events about consents. */
export interface ConsentEventsDependencies {
  readonly consents: Consents
}

/**
 * The events that remind the client of a consent of its end. There is none of a consent that authorizes nothing by now, because it
 * has ended or is suspended.
 */
export const consentExpiringEvents = ({ consents }: ConsentEventsDependencies): EventSource => ({
  topic: 'consent.expiring',
  async load(tx, consentIds) {
    const grants = await consents.findGrants(tx, consentIds)
    const events = [...grants.values()].map((grant): ClientEvent => {
      const { consentId, clientId, customerId, bankId, expiresAt } = grant
      return {
        type: EVENT_TYPES.consentExpiring,
        alertId: null,
        grant,
        priority: 'STANDARD',
        buildData: (timestamp) => ({
          id: consentId,
          customerId: consents.subjectOf(clientId, customerId),
          bankId,
          expiresAt: expiresAt.toISOString(),
          daysLeft: countDaysLeft(timestamp, expiresAt),
        }),
      }
    })
    return { events, signals: [] }
  },
})

/** Rounded, because the job that reminds runs some minutes after the full day; at least 1, because the consent is active. */
const countDaysLeft = (now: Date, expiresAt: Date): number =>
  Math.max(1, Math.round((expiresAt.getTime() - now.getTime()) / DAY_MS))
