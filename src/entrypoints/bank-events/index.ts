import type { AccessLimits } from '../../kernel/access-limits.ts'
import { toGatewayError, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { ReadClientCertificate } from '../../kernel/client-certificate.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import type { World } from '../../kernel/world.ts'
import { RETRY_AFTER_SECONDS } from '../../kernel/retry-after.ts'
import type { Alerts } from '../../modules/alerts/index.ts'
import { bankEndpointsOf } from '../../modules/banks/index.ts'
import { createAdmission, type Admission } from './admission.ts'
import { createSenderLimit, type SenderLimit } from './sender-limit.ts'

/** The status for an accepted event: 202 for security event tokens (RFC 8935), 204 for the standards' own notifications. */
const STATUS_BY_CONTENT_TYPE: ReadonlyMap<string, number> = new Map([
  ['application/secevent+jwt', 202],
  ['application/jwt', 202],
  ['application/json', 204],
  ['application/x-www-form-urlencoded', 204],
])
/** Paths below a connector's address; some standards fix the path themselves. */
const PATH_SUFFIXES = [
  '',
  '/event-notifications', // Open Banking
  '/notifications', // FDX
  '/arrangements/revoke', // CDR
]
const MAX_BODY_BYTES = 16_384
/** A header that identifies a delivery in the logs of bank and gateway. Returned if it is a UUID. */
const INTERACTION_ID_HEADER = 'x-fapi-interaction-id'
/** Codes that count as failures of the sender. The others are faults of the gateway or closed connections. */
const SENDER_FAULT_CODES: ReadonlySet<ErrorCode> = new Set([
  'UNSUPPORTED_MEDIA_TYPE',
  'EVENT_REJECTED',
  'PAYLOAD_TOO_LARGE',
])
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** Dependencies of the bank event routes. */
interface BankEventDependencies {
  readonly alerts: Alerts
  readonly world: World
  readonly issuer: string
  readonly limits: AccessLimits
  readonly rejectedEvents: EventCounter
  readonly readClientCertificate: ReadClientCertificate
}
interface IntakeDependencies extends BankEventDependencies {
  readonly admission: Admission
  readonly senderLimit: SenderLimit
}

/**
 * Routes to which banks deliver events, each in the way of its standard. An accepted event is stored; the bank need not resend
 * it. An event that cannot be stored now gets 503 with `Retry-After`, never a status that a bank treats as final.
 */
export function bankEventRoutes(dependencies: BankEventDependencies): Route[] {
  const intake = {
    ...dependencies,
    admission: createAdmission(dependencies.world.timers),
    senderLimit: createSenderLimit(dependencies.world),
  }
  return PATH_SUFFIXES.map((path) =>
    route('POST', `/bank-events/{connectorId}${path}`, (request) => receiveEvent(request, intake)),
  )
}

/** Cheap checks come first: the body is read only if the event can be accepted. */
async function receiveEvent(request: HttpRequest, intake: IntakeDependencies): Promise<HttpResponse> {
  const { alerts, world, issuer, admission, senderLimit, limits, rejectedEvents } = intake
  const { remoteAddress } = request
  const connectorId = request.params['connectorId'] ?? ''
  const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  const status = STATUS_BY_CONTENT_TYPE.get(contentType)
  const interactionId = request.headers[INTERACTION_ID_HEADER]
  const interactionHeaders =
    typeof interactionId === 'string' && UUID.test(interactionId) ? { [INTERACTION_ID_HEADER]: interactionId } : {}
  const headers = Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  )
  let isKnown = false
  try {
    isKnown = await admission.awaitLookup(alerts.acceptsEvents(connectorId))
    // Until the signature is verified, the sender is not known. Failures at one connector must not refuse the events of another one.
    if (isKnown) await senderLimit.count(connectorId, remoteAddress)
    else limits.checkAddress(remoteAddress)
    if (!status) throw new GatewayError('UNSUPPORTED_MEDIA_TYPE')
    if (!isKnown) throw new GatewayError('NOT_FOUND')
    admission.check(connectorId)
    const body = await request.body(MAX_BODY_BYTES)
    const url = `${issuer}${request.url.pathname}`
    const { eventsUrl: audience } = bankEndpointsOf(issuer, connectorId)
    const clientCertificate = intake.readClientCertificate(request.raw.request)
    await admission.admit(connectorId, request.raw.response, () =>
      alerts.receive(connectorId, { contentType, headers, body, url, audience, clientCertificate }),
    )
    return { status, headers: interactionHeaders }
  } catch (thrown) {
    const error = toGatewayError(thrown)
    // Until it is found, a connector ID is arbitrary text of the sender and must become neither a label nor a log field.
    const knownConnector = isKnown ? { connectorId } : {}
    // Certification requests forged events.
    if (error.code !== 'EVENT_REJECTED' || !alerts.expectsForgedEvent(connectorId))
      rejectedEvents.increment({ code: error.code, ...knownConnector })
    // A known connector gets NOT_FOUND if it was suspended just now, which is no fault of the bank.
    if (!isKnown && (error.code === 'NOT_FOUND' || error.code === 'UNSUPPORTED_MEDIA_TYPE'))
      limits.recordFailure(remoteAddress)
    else if (isKnown && (error.countsAgainstSender ?? SENDER_FAULT_CODES.has(error.code)))
      senderLimit.recordFailure(connectorId, remoteAddress)
    if (error.code === 'UNSUPPORTED_MEDIA_TYPE') return errorReply(415, 'unsupported content type', error)
    if (error.code === 'NOT_FOUND') return errorReply(404, 'unknown connector', error)
    if (error.code === 'EVENT_REJECTED') return errorReply(400, 'the event is invalid', error)
    if (error.definition.category !== 'INTERNAL') throw error
    // Nothing was acknowledged, so the bank must resend the event.
    world.log.error('bank_event.write_failed', {
      requestId: request.requestId,
      ...knownConnector,
      trace: errorTrace(error),
    })
    throw new GatewayError('OVERLOADED', { cause: error, retryAfterSeconds: RETRY_AFTER_SECONDS.eventNotStored })
  }
}

/** An error response as in RFC 8935, 2.3. */
const errorReply = (status: number, description: string, error: GatewayError): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8' },
  body: JSON.stringify({ err: error.eventErrorCode ?? 'invalid_request', description }),
  error,
})
