import type { OutboundRequest } from '../kernel/outbound-http.ts'
import type { Registration, Standard } from './connector.ts'
import { createEndpointCheck } from './endpoints.ts'

/** A rule of the standard that a request breaks. */
export type RequestFault = 'REQUEST_NOT_ALLOWED' | 'HEADER_MISSING'

/** Headers about the customer, which are sent only while the customer is present. */
const PRESENCE_HEADERS = new Set([
  'x-fapi-customer-ip-address',
  'x-customer-user-agent',
  'x-cds-client-headers',
  'psu-ip-address',
  'psu-user-agent',
])

/**
 * Creates the check of what was sent to a bank. A request is to an allowed endpoint of the authorization server, or is one of the
 * operations of the standard with every header that the standard's description lists.
 */
export function createRequestCheck<R extends Registration>(
  standard: Standard<R>,
  registration: R,
): (request: Pick<OutboundRequest, 'method' | 'url' | 'headers'>) => RequestFault | undefined {
  const servers = standard.resourceServers(registration)
  const checkEndpoint = createEndpointCheck(registration, servers)
  const { headers } = standard.describe(registration)
  const operations = servers.flatMap(({ baseUrl, operations: allowed }) =>
    Object.entries(allowed).flatMap(([name, [method, template]]) =>
      headers[name] ? [{ method, pattern: patternOf(baseUrl, template), headers: headers[name] }] : [],
    ),
  )
  return ({ method, url, headers: sent = {} }) => {
    if (checkEndpoint(url) === undefined) return undefined
    const { origin, pathname } = new URL(url)
    const operation = operations.find((each) => each.method === method && each.pattern.test(`${origin}${pathname}`))
    if (!operation) return 'REQUEST_NOT_ALLOWED'
    const names = new Set(Object.keys(sent).map((name) => name.toLowerCase()))
    const isComplete = operation.headers.every((name) => names.has(name) || PRESENCE_HEADERS.has(name))
    return isComplete ? undefined : 'HEADER_MISSING'
  }
}

/** Matches the addresses of a path template; a placeholder is one segment. */
function patternOf(baseUrl: string, template: string): RegExp {
  const escaped = `${baseUrl.replace(/\/$/, '')}${template}`.replace(/[.*+?^$()|[\]\\]/g, '\\$&')
  return new RegExp(`^${escaped.replace(/\{\w+\}/g, '[^/]+')}$`)
}
