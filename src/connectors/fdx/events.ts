import { constants, verify } from 'node:crypto'
import { httpbis } from 'http-message-signatures'
import type { JWK } from 'jose'
import type { z } from 'zod'
import { digest } from '../../kernel/ids.ts'
import { startOfHour } from '../../kernel/clock.ts'
import type { AlertSeverity } from '../../kernel/alert-vocabulary.ts'
import { parseJson, skipByteOrderMark } from '../../kernel/wire.ts'
import type { BankEvent, EventPayload, EventTools, ReceivedEvent } from '../bank-event.ts'
import type { Registration } from '../connector.ts'
import { keyObjectOf } from '../key-sets.ts'
import { clockToleranceSecondsOf } from '../event-rules.ts'
import { validateEventTime } from '../event-time.ts'
import { eventSenderOf, eventRejected, rejectFailedCheck, SET_TYPES } from '../security-events.ts'
import { ignored, readSharedEvents, toAlert } from '../shared-signals.ts'
import { FDX_ALERT_TYPES } from '../signal-types.ts'
import { notificationSchema } from './wire.ts'

const MAX_AGE_S = 300
/** The components that the signature must cover, so that it is bound to the URL and the body. */
const REQUIRED_COMPONENTS = ['@method', '@target-uri', 'content-digest']

/**
 * Reads a Security Event Token or an FDX notification (6.x, POST /notifications). FDX notifications are plain JSON, so they
 * must have an HTTP message signature (RFC 9421) of a registered key, or without one come over a TLS connection with a registered
 * client certificate. Throws `EVENT_REJECTED`.
 */
export async function readFdxEvent(
  received: ReceivedEvent,
  registration: Registration,
  tools: EventTools,
): Promise<BankEvent> {
  if (SET_TYPES.has(received.contentType)) return readSharedEvents(received, registration, tools)
  if (received.contentType !== 'application/json') throw eventRejected('content type')
  if (isSigned(received)) await verifySignature(received, registration, tools)
  else verifyClientCertificate(received, registration, tools)
  const parsed = notificationSchema.safeParse(parseJson(skipByteOrderMark(received.body)))
  if (!parsed.success) throw eventRejected('notification')
  const sender = eventSenderOf(registration)
  const payload = toPayload(parsed.data, tools.clock.now(), clockToleranceSecondsOf(sender))
  return { issuer: sender.issuer, jti: parsed.data.notificationId, payloads: [payload] }
}

/** The severities of a notification that are more urgent than its type. */
const RAISED_SEVERITIES: Readonly<Record<string, AlertSeverity>> = { EMERGENCY: 'URGENT', ALERT: 'URGENT' }

/** Subtypes and free-text fields are not read. */
function toPayload(
  { type, sentOn, severity, notificationPayload: subject }: z.output<typeof notificationSchema>,
  now: Date,
  clockToleranceSeconds: number,
): EventPayload {
  if (type === 'CONSENT_REVOKED' && subject?.idType === 'CONSENT' && subject.id)
    return { kind: 'CONSENT_REVOKED', consentRef: subject.id }
  const meaning = Object.hasOwn(FDX_ALERT_TYPES, type) ? FDX_ALERT_TYPES[type] : undefined
  if (!meaning) return ignored('UNKNOWN_TYPE', type)
  if (subject?.idType !== 'ACCOUNT' || !subject.id) return ignored('UNKNOWN_SUBJECT', type)
  const raised = Object.hasOwn(RAISED_SEVERITIES, severity ?? '') ? RAISED_SEVERITIES[severity!] : undefined
  const stated = { ...meaning, severity: raised ?? meaning.severity }
  return toAlert({ kind: 'ACCOUNT', refs: [subject.id] }, stated, parseSentAt(sentOn, now, clockToleranceSeconds))
}

/** The hour in which it was sent. If the time has no zone or is out of range, the hour in which it arrived. */
function parseSentAt(text: string | undefined, now: Date, clockToleranceSeconds: number): Date {
  const statedAt = /(Z|[+-]\d{2}:?\d{2})$/.test(text ?? '') ? new Date(text!) : undefined
  return (statedAt && validateEventTime(statedAt, now, clockToleranceSeconds)) ?? startOfHour(now)
}

/** A signature that is present must be valid: a registered certificate does not replace it. */
const isSigned = ({ headers }: ReceivedEvent): boolean => 'signature' in headers || 'signature-input' in headers

function verifyClientCertificate(
  { clientCertificate }: ReceivedEvent,
  registration: Registration,
  { clock }: EventTools,
): void {
  const { clientCertificates = [] } = eventSenderOf(registration)
  if (!clientCertificate) throw eventRejected('neither a signature nor a client certificate')
  const { thumbprint, notBefore, notAfter } = clientCertificate
  if (!clientCertificates.includes(thumbprint)) throw eventRejected('client certificate')
  const now = clock.now()
  if (!(notBefore <= now && now <= notAfter)) throw eventRejected('validity of the client certificate')
}

async function verifySignature(
  received: ReceivedEvent,
  registration: Registration,
  { clock, keys }: EventTools,
): Promise<void> {
  const sender = eventSenderOf(registration)
  const { headers, body, url } = received
  if (headers['content-digest'] !== `sha-256=:${Buffer.from(digest(body), 'base64url').toString('base64')}:`)
    throw eventRejected('content digest')
  const clockToleranceSeconds = clockToleranceSecondsOf(sender)
  const isValid = await httpbis
    .verifyMessage(
      {
        all: true,
        requiredFields: REQUIRED_COMPONENTS,
        requiredParams: ['created', 'keyid'],
        // The library subtracts the tolerance from `created` before both comparisons.
        tolerance: clockToleranceSeconds,
        maxAge: MAX_AGE_S + clockToleranceSeconds,
        notAfter: clock.now(),
        async keyLookup({ keyid }) {
          const key = (await keys.find(sender, keyid)).keys.find(({ kid }) => kid === keyid)
          return key ? createVerifier(key) : null
        },
      },
      { method: 'POST', url, headers: { ...headers } },
    )
    .catch((error: unknown) => rejectFailedCheck('signature', error))
  if (isValid !== true) throw eventRejected('signature')
}

/** Allows one algorithm per key type, so that a signature cannot choose a weaker one. */
function createVerifier(jwk: JWK) {
  const key = keyObjectOf(jwk)
  const algorithms = {
    ec: { alg: 'ecdsa-p256-sha256', hash: 'sha256', options: { key, dsaEncoding: 'ieee-p1363' as const } },
    ed25519: { alg: 'ed25519', hash: null, options: { key } },
    rsa: {
      alg: 'rsa-pss-sha512',
      hash: 'sha512',
      options: { key, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: 64 },
    },
  }
  const algorithm = algorithms[key.asymmetricKeyType as keyof typeof algorithms]
  return {
    id: String(jwk.kid),
    algs: [algorithm.alg],
    verify: (data: Buffer, signature: Buffer) =>
      Promise.resolve(verify(algorithm.hash, data, algorithm.options, signature)),
  }
}
