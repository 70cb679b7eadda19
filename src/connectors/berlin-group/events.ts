import { z } from 'zod'
import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { BankEvent, ReceivedEvent, Registration } from '../connector.ts'
import { cardRef, cashRef } from './quirks.ts'
import { ENDED_STATUSES, statusNotification } from './wire.ts'
import { consentTokenId } from '../wire-members.ts'
import {
  eventSenderOf,
  readSecurityAlert,
  eventRejected,
  SECURITY_ALERT,
  verifySecurityEvent,
} from '../security-events.ts'

/** The Shared Signals event, by consent id, from a bank without status notifications. */
const SESSION_REVOKED = 'https://schemas.openid.net/secevent/caep/event-type/session-revoked'
/** Unsigned notifications trigger at most one status check per consent in this interval. */
const STATUS_CHECK_INTERVAL_MS = MINUTE_MS

const consentSubjectSchema = z.object({ format: z.literal('opaque'), id: consentTokenId })

/** Reads one pushed event of a NextGenPSD2 bank. Throws `EVENT_REJECTED`. */
export async function readBerlinGroupEvent(
  received: ReceivedEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  if (received.contentType === 'application/json') return readStatusNotification(received, registration, clock)
  const event = await verifySecurityEvent(received, registration, clock)
  const { issuer, jti } = event
  switch (event.type) {
    case SECURITY_ALERT: {
      const alert = readSecurityAlert(event, clock)
      if (alert.payload.kind !== 'ALERT') return alert
      // The event does not say whether the account is a cash or a card account.
      const accountRefs = alert.payload.accountRefs.flatMap((id) => [cashRef(id), cardRef(id)])
      return { ...alert, payload: { ...alert.payload, accountRefs } }
    }
    case SESSION_REVOKED: {
      const parsed = consentSubjectSchema.safeParse(event.payload['sub_id'])
      if (!parsed.success) throw eventRejected('revoked consent')
      return { issuer, jti, payload: { kind: 'CONSENT_REVOKED', consentRef: parsed.data.id } }
    }
    default:
      return { issuer, jti, payload: { kind: 'IGNORED' } }
  }
}

/** Resource Status Notification Service. Notifications are unsigned, so an ended consent must be checked with the bank. */
function readStatusNotification({ body }: ReceivedEvent, registration: Registration, clock: Clock): BankEvent {
  const parsed = statusNotification.safeParse(parseJson(body))
  if (!parsed.success) throw eventRejected('status notification')
  const { consentId, consentStatus } = parsed.data
  const intervalNumber = Math.floor(clock.now().getTime() / STATUS_CHECK_INTERVAL_MS)
  return {
    issuer: eventSenderOf(registration).issuer,
    jti: `status/${consentId}/${intervalNumber}`,
    payload: ENDED_STATUSES.has(consentStatus)
      ? { kind: 'CONSENT_CHECK_REQUIRED', consentRef: consentId }
      : { kind: 'IGNORED' },
  }
}
