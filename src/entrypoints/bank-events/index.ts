import { asGatewayError } from '../../kernel/errors.ts'
import { jsonReply, route, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'
import type { World } from '../../kernel/world.ts'
import type { Alerts } from '../../modules/alerts/index.ts'

/** What an accepted event is answered with: RFC 8935 has 202, the standards' own notifications 204. */
const ACCEPTED: Readonly<Record<string, number>> = {
  'application/secevent+jwt': 202,
  'application/jwt': 202,
  'application/json': 204,
  'application/x-www-form-urlencoded': 204,
}
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
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i

/** What the addresses for banks stand on. */
interface BankEventDependencies {
  readonly alerts: Alerts
  readonly world: World
  readonly issuer: string
}

/** Where banks deliver their events, each in its standard's own way. Accepted means: stored, and never needed again. */
export const bankEventRoutes = (dependencies: BankEventDependencies): Route[] =>
  PATHS.map((path) => route('POST', `/bank-events/{connectorId}${path}`, (request) => take(request, dependencies)))

async function take(request: HttpRequest, { alerts, world, issuer }: BankEventDependencies): Promise<HttpReply> {
  const connectorId = request.params['connectorId'] ?? ''
  const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
  const status = ACCEPTED[contentType]
  if (!status) return refuse(415, 'invalid_request', 'the body is of no type that events come as')
  const given = request.headers[INTERACTION]
  const played = typeof given === 'string' && UUID.test(given) ? { [INTERACTION]: given } : {}
  const headers = Object.fromEntries(
    Object.entries(request.headers).flatMap(([name, value]) => (typeof value === 'string' ? [[name, value]] : [])),
  )
  try {
    await alerts.receive(connectorId, {
      contentType,
      headers,
      body: await request.body(MAX_BYTES),
      url: `${issuer}${request.url.pathname}`,
      audience: `${issuer}/bank-events/${connectorId}`,
    })
    return { status, headers: played }
  } catch (thrown) {
    const error = asGatewayError(thrown)
    world.log.info('event.refused', { requestId: request.requestId, code: error.code })
    if (error.code === 'NOT_FOUND') return refuse(404, 'invalid_request', 'there is nothing here')
    if (error.code === 'EVENT_REJECTED') return refuse(400, 'invalid_request', 'the event is not acceptable')
    throw thrown
  }
}

const refuse = (status: number, err: string, description: string): HttpReply => jsonReply(status, { err, description })
