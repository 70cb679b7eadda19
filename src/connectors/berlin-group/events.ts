import { z } from 'zod'
import type { Clock } from '../../kernel/clock.ts'
import type { BankEvent, DeliveredEvent, Registration } from '../connector.ts'
import { cardRef } from './quirks.ts'
import { readSecurityAlert, rejected, SECURITY_ALERT, verifySecurityEvent } from '../security-events.ts'

/** The Berlin Group has no push for consents in 1.3.11; banks of it send the Shared Signals event, by consent id. */
const CONSENT_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
const consentSubject = z.object({ format: z.literal('opaque'), id: z.string().min(1).max(120) })

/** Reads one pushed event of a NextGenPSD2 bank. */
export async function readBerlinGroupEvent(
  delivered: DeliveredEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  const event = await verifySecurityEvent(delivered, registration, clock)
  const { issuer, jti } = event
  switch (event.type) {
    case SECURITY_ALERT: {
      const alert = readSecurityAlert(event, clock)
      if (alert.notice.kind !== 'ALERT') return alert
      // The event does not say whether its resource is a cash or a card account.
      const accountRefs = alert.notice.accountRefs.flatMap((id) => [id, cardRef(id)])
      return { ...alert, notice: { ...alert.notice, accountRefs } }
    }
    case CONSENT_REVOKED: {
      const parsed = consentSubject.safeParse(event.payload['sub_id'])
      if (!parsed.success) throw rejected('revoked consent')
      return { issuer, jti, notice: { kind: 'CONSENT_REVOKED', consentRef: parsed.data.id } }
    }
    default:
      return { issuer, jti, notice: { kind: 'IGNORED' } }
  }
}
