import type { HttpResponse, HttpRequest } from '../../kernel/http.ts'
import type { Caller } from '../../kernel/request-context.ts'
import type { Clients } from '../../modules/clients/index.ts'

/** Which pages of other origins may call the graph from a browser: those of registered clients, each for itself. */
export interface Cors {
  /** Answers a browser's question before its request (Fetch, 3.2.2). */
  preflight(request: HttpRequest): Promise<HttpResponse>
  /** What lets the page read the answer: nothing where the origin is not the caller's. */
  headersFor(request: HttpRequest, caller: Caller): Promise<Record<string, string>>
}

const PREFLIGHT_HEADERS = {
  'access-control-allow-methods': 'GET, POST',
  'access-control-allow-headers':
    'authorization, content-type, dpop, guichet-customer-present, guichet-unauthorized, last-event-id',
  'access-control-max-age': '600',
}
const EXPOSED_HEADERS = 'x-request-id, retry-after, www-authenticate'

/** By the origins of the clients' registered redirect addresses. Never `*`, and never with cookies. */
export const createCors = (clients: Clients): Cors => ({
  async preflight({ headers: { origin } }) {
    const isAllowed = origin !== undefined && (await clients.origins()).has(origin)
    return {
      status: 204,
      headers: { vary: 'origin', ...(isAllowed && { 'access-control-allow-origin': origin, ...PREFLIGHT_HEADERS }) },
    }
  },

  async headersFor({ headers: { origin } }, caller) {
    if (origin === undefined) return {}
    const allowedOrigins =
      caller.kind === 'ANONYMOUS' ? await clients.origins() : await clients.originsOf(caller.clientId)
    return {
      vary: 'origin',
      ...(allowedOrigins.has(origin) && {
        'access-control-allow-origin': origin,
        'access-control-expose-headers': EXPOSED_HEADERS,
      }),
    }
  },
})
