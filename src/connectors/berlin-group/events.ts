import { z } from 'zod'
import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { BankEvent, DeliveredEvent, Registration } from '../connector.ts'
import { cardRef } from './quirks.ts'
import { ENDED_STATES, statusNotice } from './wire.ts'
import { readSecurityAlert, rejected, SECURITY_ALERT, verifySecurityEvent } from '../security-events.ts'

/** Where a bank has no status notifications, it sends the Shared Signals event, by consent id. */
const CONSENT_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
/** Of one consent, the bank is asked at most this often because of it. */
const DOUBTED_EVERY_MS = MINUTE_MS

const consentSubject = z.object({ format: z.literal('opaque'), id: z.string().min(1).max(120) })

/** Reads one pushed event of a NextGenPSD2 bank. */
export async function readBerlinGroupEvent(
  delivered: DeliveredEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  if (delivered.contentType === 'application/json') return readStatusNotice(delivered, registration, clock)
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

/** Resource Status Notification Service: it is not signed, so one that tells of an end only says that the bank should be asked. */
function readStatusNotice({ body }: DeliveredEvent, { events }: Registration, clock: Clock): BankEvent {
  const parsed = statusNotice.safeParse(parseJson(body))
  if (!parsed.success) throw rejected('status notification')
  const { consentId, consentStatus } = parsed.data
  const turn = Math.floor(clock.now().getTime() / DOUBTED_EVERY_MS)
  return {
    issuer: events.issuer,
    jti: `status/${consentId}/${turn}`,
    notice: ENDED_STATES.has(consentStatus) ? { kind: 'CONSENT_DOUBTED', consentRef: consentId } : { kind: 'IGNORED' },
  }
}
