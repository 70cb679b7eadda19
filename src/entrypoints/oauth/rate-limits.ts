import type { IncomingMessage } from 'node:http'
import type { AccessLimits } from '../../kernel/access-limits.ts'
import { toGatewayError, type GatewayError } from '../../kernel/errors.ts'
import { html, renderPage } from '../../kernel/html.ts'
import { jsonResponse, type HttpResponse, type HttpRequest, type Route } from '../../kernel/http.ts'
import { RETRY_AFTER_SECONDS, retryAfterHeader } from '../../kernel/retry-after.ts'

/** The authenticated client of each request. A `client_id` without proof does not count. */
const authenticatedClients = new WeakMap<IncomingMessage, string>()

/** Records that the client of this request has authenticated. */
export const markClientAuthenticated = (request: IncomingMessage, clientId: string): void =>
  void authenticatedClients.set(request, clientId)

/** Wraps a route with a limit per address for unauthenticated requests and a limit per authenticated client. */
export const withRateLimits = (limits: AccessLimits, { handle, ...route }: Route): Route => ({
  ...route,
  async handle(request) {
    const { remoteAddress, raw } = request
    try {
      limits.admit(remoteAddress)
    } catch (thrown) {
      return rateLimitReply(request, toGatewayError(thrown))
    }
    let status = 500
    try {
      const reply = await handle(request)
      status = reply === 'HIJACKED' ? raw.response.statusCode : reply.status
      return reply
    } catch (thrown) {
      status = toGatewayError(thrown).definition.httpStatus
      throw thrown
    } finally {
      const clientId = authenticatedClients.get(raw.request)
      if (clientId !== undefined) limits.attributeToClient(remoteAddress, clientId)
      else if (status >= 400 && status < 500 && status !== 429) limits.recordFailure(remoteAddress)
    }
  },
})

/** The 429 response: a page for browsers, the error of RFC 6749, 5.2, for OAuth clients. */
function rateLimitReply({ url, headers }: HttpRequest, error: GatewayError): HttpResponse {
  const retryAfterSeconds = error.retryAfterSeconds ?? RETRY_AFTER_SECONDS.retryable
  const retryAfter = retryAfterHeader(retryAfterSeconds)
  if (headers.accept?.includes('text/html')) {
    const reply = renderPage(
      'Too many requests',
      html`<h1>Too many requests</h1>
        <p>Too many requests came from your network. Please try again in ${retryAfterSeconds} seconds.</p>`,
      { status: 429 },
    )
    return { ...reply, headers: { ...reply.headers, ...retryAfter } }
  }
  if (!url.pathname.startsWith('/oauth/')) throw error
  return jsonResponse(
    429,
    { error: 'temporarily_unavailable', error_description: tooManyRequestsText(retryAfterSeconds) },
    retryAfter,
  )
}

/** The `error_description` for a request over the limit. */
export const tooManyRequestsText = (retryAfterSeconds: number): string =>
  `too many requests; try again in ${retryAfterSeconds} s`
