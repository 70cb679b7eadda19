import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, DEFAULT_METRICS_PORT, type Config } from './config.ts'
import { adminRoutes } from './entrypoints/admin/index.ts'
import { bankEventRoutes } from './entrypoints/bank-events/index.ts'
import { bankKeyRoutes } from './entrypoints/bank-keys/index.ts'
import { consoleRoutes, type Lifecycle } from './entrypoints/console/index.ts'
import { explorerRoutes } from './entrypoints/explorer/index.ts'
import { createGraphql } from './entrypoints/graphql/index.ts'
import { createHttpServer, type HttpServer } from './entrypoints/http-server.ts'
import { createRequestMeter, metricsRoutes } from './entrypoints/metrics/index.ts'
import { createOauth, newOauthSecrets, type OauthStore } from './entrypoints/oauth/index.ts'
import { sandboxControlRoutes } from './entrypoints/sandbox-control/index.ts'
import { publicEventKey } from './modules/deliveries/index.ts'
import { createAccessLimits, type LimitedEntrypoint } from './kernel/access-limits.ts'
import { localOrigin } from './kernel/addresses.ts'
import { createTrustedProxyCheck } from './kernel/client-address.ts'
import { createClientCertificateReader } from './kernel/client-certificate.ts'
import type { Services } from './services.ts'
import type { ClockMonitor } from './storage/clock-monitor.ts'
import { getOrCreateSharedSecret } from './storage/shared-secrets.ts'

/** The public listener with GraphQL, OAuth, the pages and the events of banks. A worker only serves its health checks. */
export async function createPublicListener(
  config: Config,
  services: Services,
  store: OauthStore,
  lifecycle: () => Lifecycle,
) {
  const { world, database, seal, issuer, metrics, rejectedEvents } = services
  const { accounts, alerts, auditLog, banks, clients, consents, deliveries, enrollment, jobs } = services
  const createLimits = (entrypoint: LimitedEntrypoint) =>
    createAccessLimits(entrypoint, world.clock, services.rateLimitedRequests)
  const oauth = createOauth({
    ...services,
    secrets: await getOrCreateSharedSecret(database, seal, 'oauth', () => newOauthSecrets(world.randomness)),
    store,
    otherPublicKeys: [publicEventKey(services.eventKey)],
    limits: createLimits('oauth'),
    tokenLimits: createLimits('tokens'),
  })
  const graphql = createGraphql({
    ...services,
    services: { accounts, alerts, auditLog, banks, clients, consents, deliveries, jobs },
    typeDefs: readFileSync(join(import.meta.dirname, '../schema.graphql'), 'utf8'),
    maxConcurrentRequests: config.maxConcurrentRequests,
    authenticate: oauth.authenticate,
    isStillAuthorized: oauth.isStillAuthorized,
    checkPresence: oauth.presenceOf,
  })
  const hasSandbox = config.sandboxMode !== 'OFF'
  const readSandboxClient = () => readFileSync(join(config.dataDir, 'clients/explorer.json'), 'utf8')
  const isTrustedProxy = createTrustedProxyCheck(config.trustedProxies)
  const readClientCertificate = createClientCertificateReader(config.clientCertificateHeader, isTrustedProxy)
  const console = consoleRoutes({ issuer, ping: () => database.ping(), lifecycle })
  const gatewayRoutes = [
    ...graphql.routes,
    ...oauth.routes,
    ...bankEventRoutes({
      alerts,
      world,
      issuer,
      limits: createLimits('events'),
      rejectedEvents,
      readClientCertificate,
    }),
    ...bankKeyRoutes({ banks, limits: createLimits('keys') }),
    ...adminRoutes({ enrollment, quotas: clients.quotas, world, issuer }),
    ...explorerRoutes({ sandboxClient: hasSandbox ? readSandboxClient : undefined }),
    ...(hasSandbox && config.profile === 'sandbox'
      ? sandboxControlRoutes({ authenticate: oauth.authenticate, accounts })
      : []),
    ...console,
  ]
  const listener = createHttpServer({
    routes: config.role === 'worker' ? console : gatewayRoutes,
    world,
    onRequest: createRequestMeter(metrics),
    issuer,
    isTrustedProxy,
    keepAliveMs: config.keepAliveMs,
  })
  return { listener, graphql }
}

/** The listener of `/metrics`, which is not public. */
export function createMetricsListener(config: Config, services: Services, clockMonitor: ClockMonitor): HttpServer {
  const { resealer } = services
  return createHttpServer({
    routes: metricsRoutes({
      ...services,
      clockOffsetMs: () => clockMonitor.offsetMs(),
      columnsToReseal: () => resealer.countRemainingColumns(),
    }),
    world: services.world,
    issuer: localOrigin(config.metricsHost, config.metricsPort ?? DEFAULT_METRICS_PORT),
    allowsAnyHost: true,
    isTrustedProxy: createTrustedProxyCheck(config.trustedProxies),
    keepAliveMs: config.keepAliveMs,
  })
}

/**
 * Starts the metrics listener; returns its port. If the default port is in use, a sandbox takes any free port, so that two can
 * run on one machine. In production, where metrics are collected from a known port, that is an error.
 */
export async function listenForMetrics(listener: HttpServer, config: Config): Promise<number> {
  const { metricsHost: host, metricsPort, profile } = config
  const port = metricsPort ?? DEFAULT_METRICS_PORT
  try {
    return await listener.listen(port, host)
  } catch (error) {
    const code: unknown = error instanceof Error && Reflect.get(error, 'code')
    if (code !== 'EADDRINUSE' && code !== 'EACCES' && code !== 'EADDRNOTAVAIL') throw error
    if (code === 'EADDRINUSE' && metricsPort === undefined && profile === 'sandbox') return listener.listen(0, host)
    throw new ConfigError([
      code === 'EADDRNOTAVAIL'
        ? 'METRICS_HOST: is not an address of this machine'
        : `METRICS_PORT: ${port} is in use or not allowed; set another port, or 0 for any free one`,
    ])
  }
}
