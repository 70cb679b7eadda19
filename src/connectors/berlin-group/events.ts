import { z } from 'zod'
import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { parseJson, skipByteOrderMark } from '../../kernel/wire.ts'
import type { BankEvent, EventPayload, EventTools, ReceivedEvent } from '../bank-event.ts'
import type { Registration } from '../connector.ts'
import { cardRef, cashRef } from './quirks.ts'
import { ENDED_STATUSES, statusNotification } from './wire.ts'
import { consentTokenId } from '../wire-members.ts'
import {
  eventSenderOf,
  contentRejected,
  eventRejected,
  verifySecurityEvents,
  type SecurityEvent,
  type SecurityEventToken,
} from '../security-events.ts'
import type { EventContext } from '../event-subjects.ts'
import { readSharedEvent, toBankEvent } from '../shared-signals.ts'
import { SESSION_REVOKED } from '../signal-types.ts'

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
  const context = { registration, clock: tools.clock, toAccountRefs }
  return toBankEvent(token, (event) => toPayload(event, token, context))
}

/** An event does not say whether an account is a cash or a card account. */
export const toAccountRefs = (id: string): string[] => [cashRef(id), cardRef(id)]

/** The session of a bank without status notifications is named by the consent, and is the consent. */
function toPayload(event: SecurityEvent, token: SecurityEventToken, context: EventContext): EventPayload {
  const { sub_id: subject } = token.payload as { readonly sub_id?: { readonly format?: unknown } }
  if (event.type !== SESSION_REVOKED || (subject && subject.format !== 'opaque'))
    return readSharedEvent(event, token, context)
  const parsed = consentSubjectSchema.safeParse(subject)
  if (!parsed.success) throw contentRejected('revoked consent')
  return { kind: 'CONSENT_REVOKED', consentRef: parsed.data.id }
}

/** Resource Status Notification Service. Notifications are unsigned, so an ended consent must be checked with the bank. */
function readStatusNotification({ body }: ReceivedEvent, registration: Registration, clock: Clock): BankEvent {
  const parsed = statusNotification.safeParse(parseJson(skipByteOrderMark(body)))
  if (!parsed.success) throw eventRejected('status notification')
  const { consentId, consentStatus } = parsed.data
  const intervalNumber = Math.floor(clock.now().getTime() / STATUS_CHECK_INTERVAL_MS)
  return {
    issuer: eventSenderOf(registration).issuer,
    jti: `status/${consentId}/${intervalNumber}`,
    payloads: [
      ENDED_STATUSES.has(consentStatus)
        ? { kind: 'CONSENT_CHECK_REQUIRED', consentRef: consentId }
        : { kind: 'IGNORED', reason: 'NOT_CONCERNED' },
    ],
  }
}
