import type { AccessLimits } from '../../kernel/access-limits.ts'
import { asGatewayError, GatewayError, type ErrorCode } from '../../kernel/errors.ts'
import { route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import { traceOf } from '../../kernel/log.ts'
import type { Tally } from '../../kernel/tally.ts'
import type { World } from '../../kernel/world.ts'
import type { Alerts } from '../../modules/alerts/index.ts'
import { createAdmission, type Admission } from './admission.ts'

/** What an accepted event is answered with: RFC 8935 has 202, the standards' own notifications 204. */
const ACCEPTED: ReadonlyMap<string, number> = new Map([
  ['application/secevent+jwt', 202],
  ['application/jwt', 202],
  ['application/json', 204],
  ['application/x-www-form-urlencoded', 204],
])
/** Below a connector's own address, where a standard fixes the rest of the path itself. */
const PATHS = [
  '',
  '/event-notifications', // Open Banking
  '/notifications', // FDX
  '/arrangements/revoke', // CDR
]
const MAX_BYTES = 16_384
/** A header by which bank and gateway find the same delivery in both logs; played back where it is one of theirs. */
const INTERACTION = 'x-fapi-interaction-id'
/** When to send an event again that could not be stored. */
const RETRY_AFTER_S = 5
/** Refusals that more of the same sender would not change; the others are ours, or of one who has left. */
const SENDERS_FAULT: ReadonlySet<ErrorCode> = new Set(['NOT_FOUND', 'EVENT_REJECTED', 'PAYLOAD_TOO_LARGE'])
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** What the addresses for banks depend on. */
interface BankEventDependencies {
  readonly alerts: Alerts
  readonly world: World
  readonly issuer: string
  readonly limits: AccessLimits
  readonly refusedEvents: Tally
}
interface Intake extends BankEventDependencies {
  readonly admission: Admission
}

/**
 * Where banks deliver their events, each in its standard's own way. An accepted event is stored and need not be sent again.
 * What cannot be stored now is refused with 503 and `Retry-After`, and never with a status that a bank takes as final.
 */
export function bankEventRoutes(dependencies: BankEventDependencies): Route[] {
  const intake = { ...dependencies, admission: createAdmission() }
  return PATHS.map((path) => route('POST', `/bank-events/{connectorId}${path}`, (request) => take(request, intake)))
}

/** The cheap refusals come first: nothing is read or waited for that cannot be accepted. */
async function take(request: HttpRequest, intake: Intake): Promise<HttpReply> {
  const { alerts, world, issuer, admission, limits, refusedEvents } = intake
  // An event is its bank's only once its signature is verified: until then only the address can be held to anything.
  limits.check(request.customerIp)
  const connectorId = request.params['connectorId'] ?? ''
  const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  const status = ACCEPTED.get(contentType)
  if (!status) {
    limits.fail(request.customerIp)
    refusedEvents.count({ code: 'UNSUPPORTED_MEDIA_TYPE' })
    return refuse(415, 'the body is of no type that events come as', new GatewayError('UNSUPPORTED_MEDIA_TYPE'))
  }
  const given = request.headers[INTERACTION]
  const played = typeof given === 'string' && UUID.test(given) ? { [INTERACTION]: given } : {}
  const headers = Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  )
  try {
    if (!(await admission.ask(alerts.hears(connectorId)))) throw new GatewayError('NOT_FOUND')
    admission.check(connectorId)
    const body = await request.body(MAX_BYTES)
    const url = `${issuer}${request.url.pathname}`
    const audience = `${issuer}/bank-events/${connectorId}`
    await admission.admit(connectorId, request.raw.response, () =>
      alerts.receive(connectorId, { contentType, headers, body, url, audience }),
    )
    return { status, headers: played }
  } catch (thrown) {
    const error = asGatewayError(thrown)
    // An id that is no connector's was made up by the sender, and is not kept. A certification run asks its bank for a forged event.
    if (error.code !== 'EVENT_REJECTED' || !alerts.expectsForgery(connectorId))
      refusedEvents.count({ code: error.code, ...(error.code !== 'NOT_FOUND' && { connectorId }) })
    if (SENDERS_FAULT.has(error.code)) limits.fail(request.customerIp)
    if (error.code === 'NOT_FOUND') return refuse(404, 'there is nothing here', error)
    if (error.code === 'EVENT_REJECTED') return refuse(400, 'the event is not acceptable', error)
    if (error.facts.category !== 'INTERNAL') throw error
    // Whatever it was, nothing was acknowledged: the bank has to send the event again.
    world.log.error('event.failed', { requestId: request.requestId, connectorId, trace: traceOf(error) })
    throw new GatewayError('OVERLOADED', { cause: error, retryAfterS: RETRY_AFTER_S })
  }
}

/** A refusal as RFC 8935 has it (2.3). */
const refuse = (status: number, description: string, error: GatewayError): HttpReply => ({
  status,
  headers: { 'content-type': 'application/json; charset=utf-8' },
  body: JSON.stringify({ err: 'invalid_request', description }),
  error,
})
