import type { App } from './app.ts'
import type { OutboundHttp } from './kernel/outbound-http.ts'
import { hasForbiddenAddress } from './modules/banks/index.ts'

/**
 * Lists, for the operator, what in the database must not be used in production: ACTIVE clients with bearer tokens, and live
 * banks and webhook endpoints at addresses that only a sandbox may reach. Empty if there is nothing.
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
