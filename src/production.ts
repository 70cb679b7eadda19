import type { App } from './app.ts'
import type { OutboundHttp } from './kernel/outbound-http.ts'
import { holdsForbiddenAddress } from './modules/banks/index.ts'

/**
 * What the database holds that production must not run with, for a person to read: clients that take bearer tokens, and
 * banks or webhooks at addresses that only a sandbox may reach. Empty where all is well.
 */
export async function productionProblems({ services }: App, http: OutboundHttp): Promise<string[]> {
  const { clients, banks, deliveries } = services
  const bearers = (await clients.allClients()).filter(
    ({ status: state, tokenBinding }) => state === 'ACTIVE' && tokenBinding === 'BEARER',
  )
  const connectors = (await banks.allConnectors()).filter(
    (connector) => connector.status === 'LIVE' && holdsForbiddenAddress(connector, http),
  )
  const endpoints = (await deliveries.listActiveEndpoints()).filter(({ url }) => http.urlFault(url) !== undefined)
  return [
    ...bearers.map(({ id }) => `client ${id} takes bearer tokens: suspend it`),
    ...connectors.map(
      ({ id, bankId }) => `connector ${id} of ${bankId} is at an address that may not be used: suspend it`,
    ),
    ...endpoints.map(({ id }) => `webhook endpoint ${id} is at an address that may not be used`),
  ]
}
