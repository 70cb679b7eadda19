import { constants, createPublicKey, verify } from 'node:crypto'
import { httpbis } from 'http-message-signatures'
import { digest } from '../../kernel/ids.ts'
import { SECOND_MS, startOfHour, type Clock } from '../../kernel/clock.ts'
import type { AlertType } from '../../kernel/alert-vocabulary.ts'
import { parseJson } from '../../kernel/wire.ts'
import type { BankEvent, DeliveredEvent, Registration } from '../connector.ts'
import { believable, readAlertOnly, rejected, SET_TYPES } from '../security-events.ts'
import { notification } from './wire.ts'

/** What an FDX notification is to us: an alert, the end of a consent, or nothing. Its subtype and free fields are not read. */
const ALERTS: Readonly<Record<string, AlertType>> = {
  ACCOUNT_TAKEOVER: 'ACCOUNT_TAKEOVER_SUSPECTED',
  RISK: 'UNUSUAL_ACTIVITY_REVIEW',
  ADDRESS_CHANGED: 'CONTACT_DETAILS_CHANGED',
  PHONE_CHANGED: 'CONTACT_DETAILS_CHANGED',
  MFA_TARGET_CHANGED: 'AUTHENTICATION_CHANGED',
}
const MAX_AGE_S = 300
const SKEW_S = 30
/** What must be under the signature, so that neither body nor address can be another's. */
const SIGNED = ['@method', '@target-uri', 'content-digest']

/**
 * Reads a Security Event Token, or one of FDX's own notifications (6.x, POST /notifications). Those are unsigned JSON by
 * themselves, so they must come under an HTTP message signature (RFC 9421) of a registered key.
 */
export async function readFdxEvent(
  delivered: DeliveredEvent,
  registration: Registration,
  clock: Clock,
): Promise<BankEvent> {
  if (SET_TYPES.has(delivered.contentType)) return readAlertOnly(delivered, registration, clock)
  if (delivered.contentType !== 'application/json') throw rejected('content type')
  await checkSignature(delivered, registration, clock)
  const parsed = notification.safeParse(parseJson(delivered.body))
  if (!parsed.success) throw rejected('notification')
  const { notificationId: jti, type, sentOn, notificationPayload: about } = parsed.data
  const { issuer } = registration.events
  const alert = Object.hasOwn(ALERTS, type) ? ALERTS[type] : undefined
  if (type === 'CONSENT_REVOKED' && about?.idType === 'CONSENT' && about.id)
    return { issuer, jti, notice: { kind: 'CONSENT_REVOKED', consentRef: about.id } }
  if (!alert || about?.idType !== 'ACCOUNT' || !about.id) return { issuer, jti, notice: { kind: 'IGNORED' } }
  return {
    issuer,
    jti,
    notice: {
      kind: 'ALERT',
      accountRefs: [about.id],
      type: alert,
      severity: 'WARNING',
      ask: 'REVIEW_WITH_BANK',
      occurredAt: sentAt(sentOn, clock.now()),
    },
  }
}

/** The hour in which it was sent. A time without a zone is not guessed at: then it is when we heard of it. */
function sentAt(text: string | undefined, now: Date): Date {
  const zoned = /(Z|[+-]\d{2}:?\d{2})$/.test(text ?? '') ? new Date(text!) : undefined
  return (zoned && believable(zoned, now)) ?? startOfHour(now)
}

async function checkSignature(delivered: DeliveredEvent, { events }: Registration, clock: Clock): Promise<void> {
  const { headers, body, url } = delivered
  if (headers['content-digest'] !== `sha-256=:${Buffer.from(digest(body), 'base64url').toString('base64')}:`)
    throw rejected('content digest')
  const now = clock.now()
  const good = await httpbis
    .verifyMessage(
      {
        all: true,
        requiredFields: SIGNED,
        requiredParams: ['created', 'keyid'],
        maxAge: MAX_AGE_S,
        tolerance: SKEW_S,
        notAfter: new Date(now.getTime() + SKEW_S * SECOND_MS),
        keyLookup: ({ keyid }) => {
          const key = events.keys.keys.find(({ kid }) => kid === keyid)
          return Promise.resolve(key ? verifierOf(key) : null)
        },
      },
      { method: 'POST', url, headers: { ...headers } },
    )
    .catch((error: unknown) => {
      throw rejected('signature', error)
    })
  if (good !== true) throw rejected('signature')
}

/** One algorithm for each kind of key, so that a signature cannot choose a weaker one. */
function verifierOf(jwk: Record<string, unknown>) {
  const key = createPublicKey({ key: jwk, format: 'jwk' })
  const kinds = {
    ec: { alg: 'ecdsa-p256-sha256', hash: 'sha256', options: { key, dsaEncoding: 'ieee-p1363' as const } },
    ed25519: { alg: 'ed25519', hash: null, options: { key } },
    rsa: {
      alg: 'rsa-pss-sha512',
      hash: 'sha512',
      options: { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 },
    },
  }
  const kind = kinds[key.asymmetricKeyType as keyof typeof kinds]
  return {
    id: String(jwk['kid']),
    algs: [kind.alg],
    verify: (data: Buffer, signature: Buffer) => Promise.resolve(verify(kind.hash, data, kind.options, signature)),
  }
}
