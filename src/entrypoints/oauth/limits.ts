import type { IncomingMessage } from 'node:http'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { asGatewayError, type GatewayError } from '../../kernel/errors.ts'
import { html, page } from '../../kernel/html.ts'
import { jsonReply, type HttpReply, type HttpRequest, type Route } from '../../kernel/http.ts'

/** Requests whose client has proven who it is. A client ID that is only named counts for nothing. */
const proven = new WeakMap<IncomingMessage, string>()

/** Notes that the request's client has proven who it is. */
export const setProven = (request: IncomingMessage, clientId: string): void => void proven.set(request, clientId)

/** The same route, with a limit for those who prove nothing, and one for each client that does. */
export const limited = (limits: AccessLimits, { handle, ...route }: Route): Route => ({
  ...route,
  async handle(request) {
    const { customerIp, raw } = request
    try {
      limits.enter(customerIp)
    } catch (thrown) {
      return refuse(request, asGatewayError(thrown))
    }
    let status = 500
    try {
      const reply = await handle(request)
      status = reply === 'HANDED_OVER' ? raw.response.statusCode : reply.status
      return reply
    } catch (thrown) {
      status = asGatewayError(thrown).facts.status
      throw thrown
    } finally {
      const clientId = proven.get(raw.request)
      if (clientId !== undefined) limits.prove(customerIp, clientId)
      else if (status >= 400 && status < 500 && status !== 429) limits.fail(customerIp)
    }
  },
})

/** In the shape that whoever asks can read: a browser a page, an OAuth client the error of RFC 6749, 5.2. */
function refuse({ url, headers }: HttpRequest, error: GatewayError): HttpReply {
  const retryAfterS = error.retryAfterS ?? 1
  const retryAfter = { 'retry-after': String(retryAfterS) }
  if (headers.accept?.includes('text/html')) {
    const reply = page(
      'Too many requests',
      html`<h1>Too many requests</h1>
        <p>Too many requests came from your network. Please try again in ${retryAfterS} seconds.</p>`,
      { status: 429 },
    )
    return { ...reply, headers: { ...reply.headers, ...retryAfter } }
  }
  if (!url.pathname.startsWith('/oauth/')) throw error
  return jsonReply(429, { error: 'temporarily_unavailable', error_description: tooMany(retryAfterS) }, retryAfter)
}

/** The description of an OAuth error for a limit. */
export const tooMany = (retryAfterS: number): string => `too many requests; try again in ${retryAfterS} s`
