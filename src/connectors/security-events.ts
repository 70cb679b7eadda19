import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import { z } from 'zod'
import { ALERT_ACTIONS, ALERT_SEVERITIES, isAlertType } from '../kernel/alert-vocabulary.ts'
import { DAY_MS, MINUTE_MS, startOfHour, type Clock } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { SIGNING_ALGORITHMS, toVerificationKeys } from '../kernel/public-keys.ts'
import type { BankEvent, EventSender, ReceivedEvent, Registration } from './connector.ts'

/** The media types of Security Event Tokens: RFC 8935, 2.1, and Open Banking event notifications. */
export const SET_TYPES: ReadonlySet<string> = new Set(['application/secevent+jwt', 'application/jwt'])
const MAX_AGE_MS = 7 * DAY_MS
const CLOCK_TOLERANCE_MS = MINUTE_MS

/** A verified Security Event Token (RFC 8417): its issuer, its only event and all its claims. */
export interface SecurityEvent {
  readonly issuer: string
  readonly jti: string
  readonly type: string
  readonly event: unknown
  readonly payload: JWTPayload
}

/**
 * Verifies a token by the rules of the Shared Signals Framework (6.1 to 7): registered keys, exact issuer and audience,
 * `typ`, a valid `jti`, an `iat` within the last week, no `exp`, exactly one event. Throws `EVENT_REJECTED`.
 */
export async function verifySecurityEvent(
  { contentType, body, audience }: ReceivedEvent,
  registration: Registration,
  clock: Clock,
): Promise<SecurityEvent> {
  if (!SET_TYPES.has(contentType)) throw eventRejected('content type')
  const sender = eventSenderOf(registration)
  const keys = createLocalJWKSet(toVerificationKeys(sender.keys))
  const now = clock.now()
  const { payload } = await jwtVerify(body.trim(), keys, {
    issuer: sender.issuer,
    audience,
    algorithms: [...SIGNING_ALGORITHMS],
    typ: 'secevent+jwt',
    currentDate: now,
  }).catch((error: unknown) => {
    throw new GatewayError('EVENT_REJECTED', { internalMessage: 'signature, issuer, audience or type', cause: error })
  })
  const { jti, iat, iss, events } = payload
  if (typeof jti !== 'string' || jti.length === 0 || jti.length > 256) throw eventRejected('jti')
  if (
    typeof iat !== 'number' ||
    iat * 1_000 > now.getTime() + CLOCK_TOLERANCE_MS ||
    iat * 1_000 < now.getTime() - MAX_AGE_MS
  )
    throw eventRejected('iat')
  if ('exp' in payload) throw eventRejected('exp')
  if (typeof events !== 'object' || events === null || Array.isArray(events)) throw eventRejected('events')
  const entries = Object.entries(events)
  const [entry] = entries
  if (!entry || entries.length !== 1) throw eventRejected('exactly one event')
  return { issuer: String(iss), jti, type: entry[0], event: entry[1], payload }
}

/** The registered sender of the bank's events. Throws `EVENT_REJECTED` if the bank sends none. */
export function eventSenderOf({ events }: Registration): EventSender {
  if (!events) throw eventRejected('the registration has no event keys')
  return events
}

/** The event type of a security alert, for banks of every standard. */
export const SECURITY_ALERT = 'urn:guichet:events:security-alert'

const securityAlertSchema = z.object({
  account: z.string().min(1).max(128),
  type: z.string(),
  severity: z.enum(ALERT_SEVERITIES).catch('WARNING'),
  requested_action: z.enum(ALERT_ACTIONS).catch('REVIEW_WITH_BANK'),
  occurred_at: z.number().int().positive(),
})

/** Alerts are warnings: events older than this are rejected. */
const MAX_EVENT_AGE_MS = 30 * DAY_MS

/**
 * The hour in which an event occurred according to its bank (compare `toe`, RFC 8417, 2.2). Returns undefined if the time
 * is invalid, older than 30 days, or in the future beyond the clock tolerance.
 */
export function validateEventTime(statedAt: Date, now: Date): Date | undefined {
  const ageMs = now.getTime() - statedAt.getTime()
  if (ageMs > MAX_EVENT_AGE_MS || ageMs < -CLOCK_TOLERANCE_MS || Number.isNaN(ageMs)) return undefined
  return startOfHour(ageMs < 0 ? now : statedAt)
}

/** Reads a `SECURITY_ALERT`, only in the closed vocabulary; an unknown type is ignored. Throws `EVENT_REJECTED`. */
export function readSecurityAlert({ issuer, jti, event }: SecurityEvent, clock: Clock): BankEvent {
  const parsed = securityAlertSchema.safeParse(event)
  if (!parsed.success) throw eventRejected('alert')
  const { account, type, severity, requested_action, occurred_at } = parsed.data
  if (!isAlertType(type)) return { issuer, jti, payload: { kind: 'IGNORED' } }
  const occurredAt = validateEventTime(new Date(occurred_at * 1_000), clock.now())
  if (!occurredAt) throw eventRejected('occurred_at')
  return {
    issuer,
    jti,
    payload: { kind: 'ALERT', accountRefs: [account], type, severity, requestedAction: requested_action, occurredAt },
  }
}

/** Reads a token for standards in which only alerts are sent as tokens; other types are ignored. Throws `EVENT_REJECTED`. */
export async function readAlertOnly(
  received: ReceivedEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  const event = await verifySecurityEvent(received, registration, clock)
  if (event.type === SECURITY_ALERT) return readSecurityAlert(event, clock)
  return { issuer: event.issuer, jti: event.jti, payload: { kind: 'IGNORED' } }
}

/** The error for an event that fails a check; `reason` names what failed. */
export const eventRejected = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError('EVENT_REJECTED', { internalMessage: reason, cause })
