import { jwtVerify, type JWTPayload, type JWTVerifyGetKey } from 'jose'
import { MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import type { BankEvent, EventTools, ReceivedEvent } from '../bank-event.ts'
import type { Registration } from '../connector.ts'
import { clockToleranceSecondsOf } from '../event-rules.ts'
import { keyFinderOf } from '../key-sets.ts'
import { contentRejected, eventSenderOf, eventRejected, rejectFailedCheck, SET_TYPES } from '../security-events.ts'
import { readSharedEvents } from '../shared-signals.ts'
import { isOpaqueId } from '../wire-members.ts'

const ALGORITHMS = ['PS256', 'ES256']
const MAX_LIFETIME_MS = 10 * MINUTE_MS

/**
 * Reads a Security Event Token or the only event that CDR defines, the revocation of a sharing arrangement: a form with a
 * signed `cdr_arrangement_jwt`, sent with a self-signed bearer token of the bank (1.36, "CDR Arrangement Revocation
 * Endpoint"). Throws `EVENT_REJECTED`.
 */
export async function readCdrEvent(
  received: ReceivedEvent,
  registration: Registration,
  tools: EventTools,
): Promise<BankEvent> {
  if (SET_TYPES.has(received.contentType)) return readSharedEvents(received, registration, tools)
  if (received.contentType !== 'application/x-www-form-urlencoded') throw eventRejected('content type')
  const bearerToken = /^Bearer ([\w.-]+)$/i.exec(received.headers['authorization'] ?? '')?.[1]
  await verifyBankJwt(bearerToken, received, registration, tools)
  const arrangementJwt = new URLSearchParams(received.body).get('cdr_arrangement_jwt') ?? undefined
  const { jti, cdr_arrangement_id: consentRef } = await verifyBankJwt(arrangementJwt, received, registration, tools)
  if (typeof consentRef !== 'string' || !isOpaqueId(consentRef)) throw contentRejected('arrangement id')
  return {
    issuer: eventSenderOf(registration).issuer,
    jti: `arrangement:${String(jti)}`,
    payloads: [{ kind: 'CONSENT_REVOKED', consentRef }],
  }
}

/** Verifies a self-signed, short-lived token of the bank whose audience is this endpoint. */
async function verifyBankJwt(
  token: string | undefined,
  { url, audience }: ReceivedEvent,
  registration: Registration,
  { clock, keys }: EventTools,
): Promise<JWTPayload> {
  const events = eventSenderOf(registration)
  const findKey: JWTVerifyGetKey = async (header, jws) => keyFinderOf(await keys.find(events, header.kid))(header, jws)
  const now = clock.now()
  const clockToleranceSeconds = clockToleranceSecondsOf(events)
  const { payload } = await jwtVerify(token ?? '', findKey, {
    issuer: events.issuer,
    subject: events.issuer,
    audience: [url, audience],
    algorithms: ALGORITHMS,
    requiredClaims: ['jti', 'exp'],
    currentDate: now,
    clockTolerance: clockToleranceSeconds,
  }).catch((error: unknown) => rejectFailedCheck('signature, issuer, audience or time', error))
  if (typeof payload.jti !== 'string' || payload.jti.length === 0 || payload.jti.length > 200)
    throw contentRejected('jti')
  const latestExpiryMs = now.getTime() + MAX_LIFETIME_MS + clockToleranceSeconds * SECOND_MS
  if (payload.exp! * SECOND_MS > latestExpiryMs) throw contentRejected('exp')
  return payload
}
