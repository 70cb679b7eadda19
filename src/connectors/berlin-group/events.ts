import { z } from 'zod'
import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { BankEvent, EventPayload, EventTools, ReceivedEvent } from '../bank-event.ts'
import type { Registration } from '../connector.ts'
import { cardRef, cashRef } from './quirks.ts'
import { ENDED_STATUSES, statusNotification } from './wire.ts'
import { consentTokenId } from '../wire-members.ts'
import {
  eventSenderOf,
  readSecurityAlert,
  eventRejected,
  SECURITY_ALERT,
  verifySecurityEvents,
  type SecurityEvent,
  type SecurityEventToken,
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
  tools: EventTools,
): Promise<BankEvent> {
  if (received.contentType === 'application/json') return readStatusNotification(received, registration, tools.clock)
  const token = await verifySecurityEvents(received, registration, tools)
  const { issuer, jti, events } = token
  return { issuer, jti, payloads: events.map((event) => toPayload(event, token, tools.clock)) }
}

function toPayload({ type, event }: SecurityEvent, { payload }: SecurityEventToken, clock: Clock): EventPayload {
  switch (type) {
    case SECURITY_ALERT: {
      const alert = readSecurityAlert(event, clock)
      if (alert.kind !== 'ALERT') return alert
      // The event does not say whether the account is a cash or a card account.
      return { ...alert, accountRefs: alert.accountRefs.flatMap((id) => [cashRef(id), cardRef(id)]) }
    }
    case SESSION_REVOKED: {
      const parsed = consentSubjectSchema.safeParse(payload['sub_id'])
      if (!parsed.success) throw eventRejected('revoked consent')
      return { kind: 'CONSENT_REVOKED', consentRef: parsed.data.id }
    }
    default:
      return { kind: 'IGNORED' }
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
    payloads: [
      ENDED_STATUSES.has(consentStatus)
        ? { kind: 'CONSENT_CHECK_REQUIRED', consentRef: consentId }
        : { kind: 'IGNORED' },
    ],
  }
}
