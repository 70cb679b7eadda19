import type { AccessLimits } from '../../kernel/access-limits.ts'
import { toGatewayError, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { route, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import type { World } from '../../kernel/world.ts'
import type { Alerts } from '../../modules/alerts/index.ts'
import { createAdmission, type Admission } from './admission.ts'

/** What an accepted event is answered with: RFC 8935 has 202, the standards' own notifications 204. */
const STATUS_BY_CONTENT_TYPE: ReadonlyMap<string, number> = new Map([
  ['application/secevent+jwt', 202],
  ['application/jwt', 202],
  ['application/json', 204],
  ['application/x-www-form-urlencoded', 204],
])
/** Below a connector's own address, where a standard fixes the rest of the path itself. */
const PATH_SUFFIXES = [
  '',
  '/event-notifications', // Open Banking
  '/notifications', // FDX
  '/arrangements/revoke', // CDR
]
const MAX_BODY_BYTES = 16_384
/** A header by which bank and gateway find the same delivery in both logs; played back where it is one of theirs. */
const INTERACTION_ID_HEADER = 'x-fapi-interaction-id'
/** When to send an event again that could not be stored. */
const RETRY_AFTER_SECONDS = 5
/** Refusals that more of the same sender would not change; the others are ours, or of one who has left. */
const SENDER_FAULT_CODES: ReadonlySet<ErrorCode> = new Set(['NOT_FOUND', 'EVENT_REJECTED', 'PAYLOAD_TOO_LARGE'])
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** What the addresses for banks depend on. */
interface BankEventDependencies {
  readonly alerts: Alerts
  readonly world: World
  readonly issuer: string
  readonly limits: AccessLimits
  readonly rejectedEvents: EventCounter
}
interface IntakeDependencies extends BankEventDependencies {
  readonly admission: Admission
}

/**
 * Where banks deliver their events, each in its standard's own way. An accepted event is stored and need not be sent again.
 * What cannot be stored now is refused with 503 and `Retry-After`, and never with a status that a bank takes as final.
 */
export function bankEventRoutes(dependencies: BankEventDependencies): Route[] {
  const intake = { ...dependencies, admission: createAdmission() }
  return PATH_SUFFIXES.map((path) =>
    route('POST', `/bank-events/{connectorId}${path}`, (request) => receiveEvent(request, intake)),
  )
}

/** The cheap refusals come first: nothing is read or waited for that cannot be accepted. */
async function receiveEvent(request: HttpRequest, intake: IntakeDependencies): Promise<HttpResponse> {
  const { alerts, world, issuer, admission, limits, rejectedEvents } = intake
  // An event is its bank's only once its signature is verified: until then only the address can be held to anything.
  limits.checkAddress(request.remoteAddress)
  const connectorId = request.params['connectorId'] ?? ''
  const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  const status = STATUS_BY_CONTENT_TYPE.get(contentType)
  if (!status) {
    limits.recordFailure(request.remoteAddress)
    rejectedEvents.increment({ code: 'UNSUPPORTED_MEDIA_TYPE' })
    return errorReply(415, 'the body is of no type that events come as', new GatewayError('UNSUPPORTED_MEDIA_TYPE'))
  }
  const interactionId = request.headers[INTERACTION_ID_HEADER]
  const interactionHeaders =
    typeof interactionId === 'string' && UUID.test(interactionId) ? { [INTERACTION_ID_HEADER]: interactionId } : {}
  const headers = Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  )
  try {
    if (!(await admission.awaitLookup(alerts.acceptsEvents(connectorId)))) throw new GatewayError('NOT_FOUND')
    admission.check(connectorId)
    const body = await request.body(MAX_BODY_BYTES)
    const url = `${issuer}${request.url.pathname}`
    const audience = `${issuer}/bank-events/${connectorId}`
    await admission.admit(connectorId, request.raw.response, () =>
      alerts.receive(connectorId, { contentType, headers, body, url, audience }),
    )
    return { status, headers: interactionHeaders }
  } catch (thrown) {
    const error = toGatewayError(thrown)
    // An id that is no connector's was made up by the sender, and is not kept. A certification run asks its bank for a forged event.
    if (error.code !== 'EVENT_REJECTED' || !alerts.expectsForgedEvent(connectorId))
      rejectedEvents.increment({ code: error.code, ...(error.code !== 'NOT_FOUND' && { connectorId }) })
    if (SENDER_FAULT_CODES.has(error.code)) limits.recordFailure(request.remoteAddress)
    if (error.code === 'NOT_FOUND') return errorReply(404, 'there is nothing here', error)
    if (error.code === 'EVENT_REJECTED') return errorReply(400, 'the event is not acceptable', error)
    if (error.definition.category !== 'INTERNAL') throw error
    // Whatever it was, nothing was acknowledged: the bank has to send the event again.
    world.log.error('bank_event.write_failed', { requestId: request.requestId, connectorId, trace: errorTrace(error) })
    throw new GatewayError('OVERLOADED', { cause: error, retryAfterSeconds: RETRY_AFTER_SECONDS })
  }
}

/** A refusal as RFC 8935 has it (2.3). */
const errorReply = (status: number, description: string, error: GatewayError): HttpResponse => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8' },
  body: JSON.stringify({ err: 'invalid_request', description }),
  error,
})
