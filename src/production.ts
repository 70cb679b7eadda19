import type { App } from './app.ts'
import type { OutboundHttp } from './kernel/outbound-http.ts'
import { hasForbiddenAddress } from './modules/banks/index.ts'

/**
 * Lists the entries of the database that are not allowed in production, each with its remedy: active clients with bearer tokens,
 * and active connectors and webhook endpoints with addresses that are allowed only in a sandbox.
 */
export async function productionProblems({ services }: App, http: OutboundHttp): Promise<string[]> {
  const { clients, banks, deliveries } = services
  const bearers = (await clients.allClients()).filter(
    ({ status, tokenBinding }) => status === 'ACTIVE' && tokenBinding === 'BEARER',
  )
  const connectors = (await banks.allConnectors()).filter(
    (connector) => connector.status === 'ACTIVE' && hasForbiddenAddress(connector, http),
  )
  const endpoints = (await deliveries.listActiveEndpoints()).filter(({ url }) => http.urlFault(url) !== undefined)
  return [
    ...bearers.map(({ id }) => `client ${id} uses bearer tokens: suspend it`),
    ...connectors.map(
      ({ id, bankId }) => `connector ${id} of ${bankId} has an address that is not allowed in production: suspend it`,
    ),
    ...endpoints.map(({ id }) => `webhook endpoint ${id} has an address that is not allowed in production: disable it`),
  ]
}
