import type { HttpResponse, HttpRequest } from '../../kernel/http.ts'
import type { Caller } from '../../kernel/request-context.ts'
import type { Clients } from '../../modules/clients/index.ts'

/** Cross-origin access to the API from browsers. Only pages on the origins of a registered client have it, for that client. */
export interface Cors {
  /** Responds to a preflight request (Fetch, 3.2.2). */
  preflight(request: HttpRequest): Promise<HttpResponse>
  /** The headers that let the page read the response. Without them if the origin does not belong to the caller's client. */
  headersFor(request: HttpRequest, caller: Caller): Promise<Record<string, string>>
}

const PREFLIGHT_HEADERS = {
  'access-control-allow-methods': 'GET, POST',
  'access-control-allow-headers':
    'authorization, content-type, dpop, guichet-customer-present, guichet-unauthorized, last-event-id',
  'access-control-max-age': '600',
}
const EXPOSED_HEADERS = 'x-request-id, retry-after, www-authenticate'

/** Creates the CORS rules from the origins of the clients' redirect URIs. Never allows `*` or credentials. */
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
