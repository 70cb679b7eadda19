import { z } from 'zod'
import type { Clock } from '../../kernel/clock.ts'
import type { BankEvent, ReceivedEvent, Registration } from '../connector.ts'
import { readSecurityAlert, eventRejected, SECURITY_ALERT, verifySecurityEvent } from '../security-events.ts'

/** Open Banking event notifications 4.0, section "consent authorization revoked". */
export const CONSENT_REVOKED = 'urn:uk:org:openbanking:events:consent-authorization-revoked'
const consentRevokedSchema = z.object({
  subject: z.object({ 'http://openbanking.org.uk/rid': z.string().min(1).max(128) }),
})

/** Reads one event notification of an Open Banking bank. Throws `EVENT_REJECTED`. */
export async function readObieEvent(
  received: ReceivedEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  const event = await verifySecurityEvent(received, registration, clock)
  const { issuer, jti } = event
  switch (event.type) {
    case SECURITY_ALERT:
      return readSecurityAlert(event, clock)
    case CONSENT_REVOKED: {
      const parsed = consentRevokedSchema.safeParse(event.event)
      if (!parsed.success) throw eventRejected('revoked consent')
      return {
        issuer,
        jti,
        payload: { kind: 'CONSENT_REVOKED', consentRef: parsed.data.subject['http://openbanking.org.uk/rid'] },
      }
    }
    default:
      return { issuer, jti, payload: { kind: 'IGNORED' } }
  }
}
