import { createLocalJWKSet, jwtVerify, type JWTPayload } from 'jose'
import { MINUTE_MS, type Clock } from '../../kernel/clock.ts'
import { verificationKeys } from '../../kernel/public-keys.ts'
import type { BankEvent, DeliveredEvent, Registration } from '../connector.ts'
import { readAlertOnly, rejected, SET_TYPES } from '../security-events.ts'

const ALGORITHMS = ['PS256', 'ES256']
const MAX_LIFE_MS = 10 * MINUTE_MS

/**
 * Reads a Security Event Token, or the one event that the standard has itself: the revocation of a sharing arrangement,
 * a form with a signed `cdr_arrangement_jwt` under a bearer token that the bank signed for itself (1.36, "CDR
 * Arrangement Revocation Endpoint").
 */
export async function readCdrEvent(
  delivered: DeliveredEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  if (SET_TYPES.has(delivered.contentType)) return readAlertOnly(delivered, registration, clock)
  if (delivered.contentType !== 'application/x-www-form-urlencoded') throw rejected('content type')
  const bearer = /^Bearer ([\w.-]+)$/i.exec(delivered.headers['authorization'] ?? '')?.[1]
  await verified(bearer, delivered, registration, clock)
  const arrangement = new URLSearchParams(delivered.body).get('cdr_arrangement_jwt') ?? undefined
  const { jti, cdr_arrangement_id: consentRef } = await verified(arrangement, delivered, registration, clock)
  if (typeof consentRef !== 'string' || !/^[\x21-\x7e]{1,128}$/.test(consentRef)) throw rejected('arrangement id')
  return {
    issuer: registration.events.issuer,
    jti: `arrangement:${String(jti)}`,
    notice: { kind: 'CONSENT_REVOKED', consentRef },
  }
}

/** A token that the bank signed for itself, meant for this address, short of life. */
async function verified(
  token: string | undefined,
  { url, audience }: DeliveredEvent,
  { events }: Registration,
  clock: Clock,
): Promise<JWTPayload> {
  const keys = createLocalJWKSet(verificationKeys(events.keys))
  const now = clock.now()
  const { payload } = await jwtVerify(token ?? '', keys, {
    issuer: events.issuer,
    subject: events.issuer,
    audience: [url, audience],
    algorithms: ALGORITHMS,
    requiredClaims: ['jti', 'exp'],
    currentDate: now,
  }).catch((error: unknown) => {
    throw rejected('signature, issuer, audience or time', error)
  })
  if (typeof payload.jti !== 'string' || payload.jti.length === 0 || payload.jti.length > 200) throw rejected('jti')
  if (payload.exp! * 1_000 > now.getTime() + MAX_LIFE_MS) throw rejected('exp')
  return payload
}
