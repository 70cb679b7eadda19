import { errors, jwtVerify, type JWTHeaderParameters, type JWTPayload, type JWTVerifyGetKey } from 'jose'
import { DAY_MS, MINUTE_MS } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import { SIGNING_ALGORITHMS } from '../kernel/public-keys.ts'
import type { EventTools, ReceivedEvent } from './bank-event.ts'
import type { Registration } from './connector.ts'
import { resolveEventRules, STRICT_EVENT_RULES, type EventRules, type EventSender } from './event-rules.ts'
import { keyFinderOf } from './key-sets.ts'
import { IAT, ISS, OPEN_BANKING_PARAMETERS, TAN } from './message-signing.ts'

/** The media types of Security Event Tokens: RFC 8935, 2.1, and Open Banking event notifications. */
export const SET_TYPES: ReadonlySet<string> = new Set(['application/secevent+jwt', 'application/jwt'])
/** The oldest `iat` of an event that a bank pushes. */
const MAX_AGE_MS = 7 * DAY_MS
/**
 * The oldest `iat` of an event that waited in a queue. Ids of events are kept for eight days: while an event is young enough to be
 * accepted, its repetition is recognized, even if the clock of the bank is ahead.
 */
const MAX_POLLED_AGE_MS = 8 * DAY_MS - 10 * MINUTE_MS

/** One event of a verified Security Event Token (RFC 8417). */
export interface SecurityEvent {
  readonly type: string
  readonly event: unknown
}

/** A verified Security Event Token (RFC 8417): its issuer, its events and all its claims. */
export interface SecurityEventToken {
  readonly issuer: string
  readonly jti: string
  readonly events: readonly SecurityEvent[]
  readonly payload: JWTPayload
  /** How much the clock of the bank may be ahead. */
  readonly clockToleranceSeconds: number
}

/**
 * Verifies a token: keys, exact issuer, a valid `jti`, an `iat` within the last week or, of a polled token, of nearly eight days, no `exp`, and by the rules of the standard
 * (`defaults`) or the registration its `typ`, its audience, its critical header parameters and how many events it has. Throws
 * `EVENT_REJECTED`, and `BANK_UNAVAILABLE` if the bank's keys cannot be had now.
 */
export async function verifySecurityEvents(
  { contentType, body, audience, isPolled = false }: ReceivedEvent,
  registration: Registration,
  { clock, keys }: EventTools,
  defaults: EventRules = STRICT_EVENT_RULES,
): Promise<SecurityEventToken> {
  if (!SET_TYPES.has(contentType)) throw eventRejected('content type')
  const sender = eventSenderOf(registration)
  const rules = resolveEventRules(defaults, sender)
  const now = clock.now()
  const findKey: JWTVerifyGetKey = async (header, token) => {
    checkHeader(header, rules, now)
    return keyFinderOf(await keys.find(sender, header.kid))(header, token)
  }
  const { payload } = await jwtVerify(body.trim(), findKey, {
    issuer: sender.issuer,
    audience: audienceOf(rules, audience, registration),
    algorithms: [...SIGNING_ALGORITHMS, ...(rules.acceptsRs256 ? ['RS256'] : [])],
    crit: rules.criticalHeaders === 'NONE' ? {} : OPEN_BANKING_PARAMETERS,
    currentDate: now,
  }).catch((error: unknown) => rejectFailedCheck('signature, issuer, audience or type', error))
  const { jti, iat, iss } = payload
  const maxAgeMs = isPolled ? MAX_POLLED_AGE_MS : MAX_AGE_MS
  if (typeof jti !== 'string' || jti.length === 0 || jti.length > 256) throw contentRejected('jti')
  if (typeof iat !== 'number' || isInFuture(iat, rules, now) || iat * 1_000 < now.getTime() - maxAgeMs)
    throw contentRejected('iat')
  if ('exp' in payload) throw contentRejected('exp')
  const { clockToleranceSeconds } = rules
  return { issuer: String(iss), jti, events: eventsOf(payload, rules), payload, clockToleranceSeconds }
}

function eventsOf({ events }: JWTPayload, { maxEventsPerToken }: EventRules): SecurityEvent[] {
  if (typeof events !== 'object' || events === null || Array.isArray(events)) throw contentRejected('events')
  const entries = Object.entries(events)
  if (entries.length === 0 || entries.length > maxEventsPerToken) throw contentRejected('number of events')
  return entries.map(([type, event]) => ({ type, event: event as unknown }))
}

/** Checks the header before its key is looked up. The library checks `alg`, and that it knows what `crit` names. */
function checkHeader(header: JWTHeaderParameters, rules: EventRules, now: Date): void {
  const type: unknown = header.typ
  const stated = typeof type === 'string' ? type.toLowerCase().replace(/^application\//, '') : type
  const accepted = rules.tokenTypes.map((name) => (name === 'ABSENT' ? undefined : name.toLowerCase()))
  if (!accepted.some((name) => name === stated)) throw eventRejected('typ')
  const names = Object.keys(OPEN_BANKING_PARAMETERS)
  if (header.crit === undefined && !names.some((name) => name in header)) return
  if (rules.criticalHeaders === 'NONE') throw eventRejected('crit')
  const { crit = [] } = header
  const { [IAT]: iat, [ISS]: iss, [TAN]: tan } = header
  const isValid =
    names.every((name) => crit.includes(name)) &&
    typeof iat === 'number' &&
    !isInFuture(iat, rules, now) &&
    typeof iss === 'string' &&
    (rules.headerIssuer === undefined || iss === rules.headerIssuer) &&
    tan === rules.trustAnchor
  if (!isValid) throw eventRejected('crit')
}

const isInFuture = (seconds: number, { clockToleranceSeconds }: EventRules, now: Date): boolean =>
  !(seconds * 1_000 <= now.getTime() + clockToleranceSeconds * 1_000)

/** The audience that a token must have. Throws `EVENT_REJECTED` if it is a client id that the gateway does not have. */
function audienceOf({ audience }: EventRules, eventsUrl: string, { clientId }: Registration): string {
  if (audience === 'EVENTS_URL') return eventsUrl
  if (audience !== 'CLIENT_ID') return audience
  if (clientId === undefined) throw eventRejected('the gateway has no client id')
  return clientId
}

/** The sender of the bank's events. Throws `EVENT_REJECTED` if the bank sends none. */
export function eventSenderOf({ events }: Registration): EventSender {
  if (!events) throw eventRejected('the registration has no event keys')
  return events
}

/** The error for an event that fails a check; `reason` names what failed. */
export const eventRejected = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError('EVENT_REJECTED', { internalMessage: reason, cause })

/** The same for an event whose signature is valid. It does not count against the sender, because it is not forged. */
export const contentRejected = (reason: string, cause?: unknown): GatewayError =>
  new GatewayError('EVENT_REJECTED', { internalMessage: reason, cause, countsAgainstSender: false })

/** Throws the error of a check that failed: `EVENT_REJECTED`, or the gateway's own error if the check could not be made. */
export function rejectFailedCheck(reason: string, error: unknown): never {
  if (error instanceof GatewayError) throw error
  // Claims are checked after the signature.
  const isAuthentic = error instanceof errors.JWTClaimValidationFailed || error instanceof errors.JWTExpired
  throw isAuthentic ? contentRejected(reason, error) : eventRejected(reason, error)
}
