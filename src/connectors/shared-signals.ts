import { z } from 'zod'
import { ALERT_ACTIONS, ALERT_ANSWER_VALUES, ALERT_SEVERITIES, isBankAlertType } from '../kernel/alert-vocabulary.ts'
import type {
  AlertSubject,
  BankEvent,
  EventPayload,
  EventTools,
  IgnoredReason,
  ReceivedEvent,
  StatedQuestion,
  StreamEvent,
} from './bank-event.ts'
import type { Registration } from './connector.ts'
import { readSubject, readViewer, type EventContext } from './event-subjects.ts'
import { fromNumericDate, validateEventTime } from './event-time.ts'
import {
  contentRejected,
  verifySecurityEvents,
  type SecurityEvent,
  type SecurityEventToken,
} from './security-events.ts'
import { meaningOfSignal, nameOfStandardType, SIGNAL_TYPES, type AlertMeaning } from './signal-types.ts'
import { opaqueId, optionalMember } from './wire-members.ts'

/** The event type of a security alert, for banks of every standard. */
export const SECURITY_ALERT = 'urn:guichet:events:security-alert'

/** Every event type that leads to an alert. */
export const SHARED_EVENT_TYPES: readonly string[] = [SECURITY_ALERT, ...Object.keys(SIGNAL_TYPES)]

const SSF = 'https://schemas.openid.net/secevent/ssf/event-type/'
/** The bank shows that the stream works (Shared Signals Framework 1.0, 8.1.4.1). */
const VERIFICATION = `${SSF}verification`
/** The bank changed the status of the stream (8.1.5). */
const STREAM_UPDATED = `${SSF}stream-updated`
/** The event type by which a bank reports that the customer has seen the detail of an alert in its own app. */
export const ALERT_DETAIL_VIEWED = 'urn:guichet:events:alert-detail-viewed'
/** The event type by which a bank reports what became of a customer's answer. */
export const ALERT_RESPONSE_PROCESSED = 'urn:guichet:events:alert-response-processed'

/**
 * Reads an event of a type that tokens of every standard can have: one of the gateway's own, or one of CAEP or RISC. Other types, and
 * events about nothing that the gateway can know, are ignored. Throws `EVENT_REJECTED`.
 */
export function readSharedEvent(
  { type, event }: SecurityEvent,
  token: SecurityEventToken,
  context: EventContext,
): EventPayload {
  if (type === SECURITY_ALERT) return readSecurityAlert(event, token, context)
  if (type === ALERT_DETAIL_VIEWED) return readDetailViewed(event, token, context)
  if (type === ALERT_RESPONSE_PROCESSED) return readResponseProcessed(event)
  const meaning = meaningOfSignal(type, event)
  if (!meaning) return ignored('UNKNOWN_TYPE', type)
  if (typeof event !== 'object' || event === null) throw contentRejected('event')
  const subject = readSubject(token.payload, event, context)
  if (!subject) return ignored('UNKNOWN_SUBJECT', type)
  return toAlert(subject, meaning, timeOf(event, token, context))
}

/** Reads a token for standards that define no events of tokens themselves. Throws as `Standard.readEvent` does. */
export async function readSharedEvents(
  received: ReceivedEvent,
  registration: Registration,
  tools: EventTools,
): Promise<BankEvent> {
  const token = await verifySecurityEvents(received, registration, tools)
  const context = { registration, clock: tools.clock }
  return toBankEvent(token, (event) => readSharedEvent(event, token, context))
}

const verificationSchema = z.object({ state: z.string().max(1_024).nullish() })
const updateSchema = z.object({ status: z.enum(['enabled', 'paused', 'disabled']) })
const STATUSES = { enabled: 'ENABLED', paused: 'PAUSED', disabled: 'DISABLED' } as const

/** A token reduced to the domain's vocabulary: `toPayload` reads the events that are not about the stream. Throws `EVENT_REJECTED`. */
export function toBankEvent(
  { issuer, jti, events }: SecurityEventToken,
  toPayload: (event: SecurityEvent) => EventPayload,
): BankEvent {
  const isOfStream = ({ type }: SecurityEvent): boolean => type === VERIFICATION || type === STREAM_UPDATED
  return {
    issuer,
    jti,
    payloads: events.filter((event) => !isOfStream(event)).map(toPayload),
    ...(events.some(isOfStream) && { streamEvents: events.filter(isOfStream).map(readStreamEvent) }),
  }
}

function readStreamEvent({ type, event }: SecurityEvent): StreamEvent {
  const verification = type === VERIFICATION ? verificationSchema.safeParse(event).data : undefined
  if (verification) return { kind: 'VERIFICATION', state: verification.state ?? undefined }
  const update = type === STREAM_UPDATED ? updateSchema.safeParse(event).data : undefined
  if (!update) throw contentRejected('event of the stream')
  return { kind: 'UPDATED', status: STATUSES[update.status] }
}

/** An event of this type without effect. */
export const ignored = (reason: IgnoredReason, type: string): EventPayload => ({
  kind: 'IGNORED',
  reason,
  eventType: nameOfStandardType(type),
})

/** An alert about a subject. */
export const toAlert = (
  subject: AlertSubject,
  meaning: AlertMeaning,
  occurredAt: Date,
  question?: StatedQuestion,
): EventPayload => ({
  kind: 'ALERT',
  subject,
  ...meaning,
  occurredAt,
  question,
})

const MAX_STATED_OPTIONS = 16

const securityAlertSchema = z.object({
  /** A malformed one costs the alert: its subject is not that of the token. */
  account: opaqueId.nullish(),
  type: z.string(),
  severity: z.enum(ALERT_SEVERITIES).catch('WARNING'),
  requested_action: z.enum(ALERT_ACTIONS).catch('REVIEW_WITH_BANK'),
  occurred_at: z.number().int().positive(),
  /** Values outside the vocabulary are dropped. */
  response_options: optionalMember(z.array(z.unknown()).max(MAX_STATED_OPTIONS)),
  respond_by: optionalMember(z.number().int().positive()),
})

/** Reads a `SECURITY_ALERT`, only in the closed vocabulary. It names its account, or else the token has the subject. */
function readSecurityAlert(event: unknown, token: SecurityEventToken, context: EventContext): EventPayload {
  const parsed = securityAlertSchema.safeParse(event)
  if (!parsed.success) throw contentRejected('alert')
  const { account, type, severity, requested_action: requestedAction, occurred_at, ...stated } = parsed.data
  if (!isBankAlertType(type)) return { kind: 'IGNORED', reason: 'UNKNOWN_TYPE' }
  const occurredAt = requireEventTime(new Date(occurred_at * 1_000), token, context)
  const { toAccountRefs = (id: string) => [id] } = context
  const subject: AlertSubject | undefined =
    account === undefined || account === null
      ? readSubject(token.payload, event, context)
      : { kind: 'ACCOUNT', refs: toAccountRefs(account) }
  if (!subject) return { kind: 'IGNORED', reason: 'UNKNOWN_SUBJECT' }
  return toAlert(subject, { type, severity, requestedAction }, occurredAt, questionOf(stated))
}

const questionOf = ({
  response_options: options,
  respond_by: respondBy,
}: Pick<z.output<typeof securityAlertSchema>, 'response_options' | 'respond_by'>): StatedQuestion => ({
  options: options && ALERT_ANSWER_VALUES.filter((answer) => options.includes(answer)),
  respondBy: respondBy === undefined ? undefined : new Date(respondBy * 1_000),
})

const numericDate = z.number().positive()

/** When the event occurred: `event_timestamp` (CAEP 1.0, 2), or else `toe` (RFC 8417, 2.2), or else when the token was issued. */
function timeOf(event: unknown, token: SecurityEventToken, context: EventContext): Date {
  const { payload } = token
  const { event_timestamp: timestamp } = event as { readonly event_timestamp?: unknown }
  const parsed = numericDate.safeParse(timestamp ?? payload['toe'] ?? payload.iat)
  if (!parsed.success) throw contentRejected('event_timestamp')
  return requireEventTime(fromNumericDate(parsed.data), token, context)
}

function requireEventTime(
  statedAt: Date,
  { clockToleranceSeconds }: SecurityEventToken,
  { clock }: EventContext,
): Date {
  const hour = validateEventTime(statedAt, clock.now(), clockToleranceSeconds)
  if (!hour) throw contentRejected('time of the event')
  return hour
}

const detailViewedSchema = z.object({ alert: opaqueId })

function readDetailViewed(event: unknown, token: SecurityEventToken, context: EventContext): EventPayload {
  const parsed = detailViewedSchema.safeParse(event)
  if (!parsed.success) throw contentRejected('alert-detail-viewed')
  return {
    kind: 'ALERT_DETAIL_VIEWED',
    eventId: parsed.data.alert,
    viewer: readViewer(token.payload, event, context),
  }
}

const responseProcessedSchema = z.object({
  response: z.string().regex(/^answ_[\w-]{22}$/),
  outcome: z.enum(['CONFIRMED', 'REFUSED']),
})

function readResponseProcessed(event: unknown): EventPayload {
  const parsed = responseProcessedSchema.safeParse(event)
  if (!parsed.success) throw contentRejected('alert-response-processed')
  const { response, outcome } = parsed.data
  return { kind: 'ALERT_RESPONSE_PROCESSED', responseId: response, isConfirmed: outcome === 'CONFIRMED' }
}
