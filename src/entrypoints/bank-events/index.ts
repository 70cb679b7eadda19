import { asGatewayError } from '../../kernel/errors.ts'
import { jsonReply, route, type HttpReply, type Route } from '../../kernel/http.ts'
import type { World } from '../../kernel/world.ts'
import type { Alerts } from '../../modules/alerts/index.ts'

const CONTENT_TYPES = new Set(['application/secevent+jwt', 'application/jwt'])
const MAX_BYTES = 16_384

/** Where banks push their signed events (RFC 8935). 202 means: stored, and never needed again. */
export const bankEventRoutes = ({
  alerts,
  world,
  issuer,
}: {
  alerts: Alerts
  world: World
  issuer: string
}): Route[] => [
  route('POST', '/bank-events/{connectorId}', async (request): Promise<HttpReply> => {
    const connectorId = request.params['connectorId'] ?? ''
    const contentType = (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase()
    if (!CONTENT_TYPES.has(contentType))
      return refuse(415, 'invalid_request', 'the body must be a Security Event Token')
    const token = (await request.body(MAX_BYTES)).trim()
    try {
      await alerts.receive(connectorId, token, `${issuer}/bank-events/${connectorId}`)
      return { status: 202 }
    } catch (thrown) {
      const error = asGatewayError(thrown)
      world.log.info('event.refused', { requestId: request.requestId, code: error.code })
      if (error.code === 'NOT_FOUND') return refuse(404, 'invalid_request', 'there is nothing here')
      if (error.code === 'EVENT_REJECTED') return refuse(400, 'invalid_request', 'the token is not acceptable')
      throw thrown
    }
  }),
]

const refuse = (status: number, err: string, description: string): HttpReply => jsonReply(status, { err, description })
