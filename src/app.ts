import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, DEFAULT_METRICS_PORT, type Config } from './config.ts'
import { adminRoutes } from './entrypoints/admin/index.ts'
import { bankEventRoutes } from './entrypoints/bank-events/index.ts'
import { consoleRoutes, type Lifecycle } from './entrypoints/console/index.ts'
import { explorerRoutes } from './entrypoints/explorer/index.ts'
import { createGraphql } from './entrypoints/graphql/index.ts'
import { createHttpServer, type HttpServer } from './entrypoints/http-server.ts'
import { createEventCounters, createRequestMeter, metricsRoutes } from './entrypoints/metrics/index.ts'
import { clientMetadata, createOauth, newOauthSecrets, createOauthStore } from './entrypoints/oauth/index.ts'
import { sandboxControlRoutes } from './entrypoints/sandbox-control/index.ts'
import { createWorker } from './entrypoints/worker.ts'
import { localOrigin } from './kernel/addresses.ts'
import { createTrustedProxyCheck } from './kernel/client-address.ts'
import { subtractMs, CLOCK_TOLERANCE_SECONDS, DAY_MS, SECOND_MS } from './kernel/clock.ts'
import { createAccessLimits, type LimitedEntrypoint } from './kernel/access-limits.ts'
import { runShutdown, type ShutdownStep } from './kernel/shutdown.ts'
import { createMetrics } from './kernel/metrics.ts'
import type { World } from './kernel/world.ts'
import { consentHandlers, createAccounts } from './modules/accounts/index.ts'
import { createAlerts } from './modules/alerts/index.ts'
import { createBanks } from './modules/banks/index.ts'
import { createAdminEnrolment, createClients } from './modules/clients/index.ts'
import { createConsents } from './modules/consents/index.ts'
import { createDeliveries } from './modules/deliveries/index.ts'
import { createAuditLog, createLedger } from './modules/ledger/index.ts'
import { createOutbox } from './modules/outbox/index.ts'
import { createClockMonitor } from './storage/clock-monitor.ts'
import type { Database } from './storage/database.ts'
import { createIdempotency } from './storage/idempotency.ts'
import { createResealer } from './storage/reseal.ts'
import { createSeal } from './storage/seal.ts'
import { getOrCreateSharedSecret } from './storage/shared-secrets.ts'
import { createSignals } from './storage/signals.ts'

/** How long open requests may take to finish when the process stops. */
const REQUEST_GRACE_MS = 5_000

/** The composition root: builds every dependency in order, from the database to the listeners. Starts nothing. */
export async function createApp(config: Config, world: World, database: Database) {
  const { issuer } = config
  const bootstrapSeal = createSeal(config.sealingKeys)
  const seal = createSeal(
    config.sealingKeys,
    await getOrCreateSharedSecret(database, bootstrapSeal, 'digest-key', () =>
      Promise.resolve(bootstrapSeal.derivedDigestKey),
    ),
  )
  const resealer = createResealer(database, seal)

  const metrics = createMetrics()
  database.onPoolWait((pool, waitMs) => metrics.databaseWaitDuration.observe({ pool }, waitMs / SECOND_MS))
  const { rejectedEvents, rateLimitedRequests } = createEventCounters(metrics, world)
  const createLimits = (entrypoint: LimitedEntrypoint) =>
    createAccessLimits(entrypoint, world.clock, rateLimitedRequests)

  const ledger = createLedger({ database, world })
  const auditLog = createAuditLog({ database, seal })
  const outbox = createOutbox({ database, world })
  const signals = createSignals(database)
  const idempotency = createIdempotency(database, world.clock)
  const isBearerAllowed = config.profile === 'sandbox'
  const clients = createClients({ database, world, ledger, outbox, signals, idempotency, isBearerAllowed })
  const enrollment = createAdminEnrolment({ database, world, ledger, signals, isBearerAllowed })
  const banks = createBanks({ database, world, seal, ledger, signals, idempotency, issuer, metrics })
  const consents = createConsents({ database, world, seal, banks, ledger, outbox, signals, handlers: consentHandlers })
  const alerts = createAlerts({ database, world, seal, banks, consents, ledger, outbox, signals, rejectedEvents })
  const deliveries = createDeliveries({
    database,
    world,
    seal,
    alerts,
    clients,
    consents,
    ledger,
    idempotency,
    metrics,
  })
  const accounts = createAccounts({ database, world, seal, banks, consents, ledger, signals, metrics })

  const secrets = await getOrCreateSharedSecret(database, seal, 'oauth', () => newOauthSecrets(world.randomness))
  const store = createOauthStore({
    database,
    clock: world.clock,
    signals,
    consents,
    findClientMetadata: (id) => clientMetadata(clients, id),
  })
  const oauth = createOauth({
    issuer,
    secrets,
    store,
    seal,
    world,
    banks,
    clients,
    consents,
    ledger,
    signals,
    limits: createLimits('oauth'),
    tokenLimits: createLimits('tokens'),
  })
  const graphql = createGraphql({
    typeDefs: readFileSync(join(import.meta.dirname, '../schema.graphql'), 'utf8'),
    services: { accounts, alerts, auditLog, banks, clients, consents, deliveries },
    ledger,
    signals,
    world,
    metrics,
    issuer,
    maxConcurrentRequests: config.maxConcurrentRequests,
    authenticate: oauth.authenticate,
    isStillAuthorized: oauth.isStillAuthorized,
    checkPresence: oauth.presenceOf,
  })
  let lifecycle: Lifecycle = 'STARTING'
  const console = consoleRoutes({ issuer, ping: () => database.ping(), lifecycle: () => lifecycle })
  const explorer = explorerRoutes({
    sandboxClient:
      config.sandboxMode === 'OFF'
        ? undefined
        : () => readFileSync(join(config.dataDir, 'clients/explorer.json'), 'utf8'),
  })
  const sandboxControl =
    config.profile === 'sandbox' && config.sandboxMode !== 'OFF'
      ? sandboxControlRoutes({ authenticate: oauth.authenticate, accounts })
      : []
  const isGateway = config.role !== 'worker'
  const isTrustedProxy = createTrustedProxyCheck(config.trustedProxies)
  const listener = createHttpServer({
    routes: isGateway
      ? [
          ...graphql.routes,
          ...oauth.routes,
          ...bankEventRoutes({ alerts, world, issuer, limits: createLimits('events'), rejectedEvents }),
          ...adminRoutes({ enrollment, quotas: clients.quotas, world, issuer }),
          ...explorer,
          ...sandboxControl,
          ...console,
        ]
      : console,
    world,
    onRequest: createRequestMeter(metrics),
    issuer,
    isTrustedProxy,
    keepAliveMs: config.keepAliveMs,
  })
  const clockMonitor = createClockMonitor({ database, world, toleranceMs: CLOCK_TOLERANCE_SECONDS * SECOND_MS })
  const metricsListener = createHttpServer({
    routes: metricsRoutes({
      metrics,
      world,
      issuer,
      database,
      outbox,
      deliveries,
      banks,
      clockOffsetMs: () => clockMonitor.offsetMs(),
      columnsToReseal: () => resealer.countRemainingColumns(),
    }),
    world,
    issuer: localOrigin(config.metricsHost, config.metricsPort ?? DEFAULT_METRICS_PORT),
    allowsAnyHost: true,
    isTrustedProxy,
    keepAliveMs: config.keepAliveMs,
  })
  let metricsUrl: string | undefined
  const worker = createWorker({
    world,
    outbox,
    signals,
    alerts,
    consents,
    deliveries,
    banks,
    runsNightlyCertification: config.nightlyCertification,
    resealer,
    deleteGrantTokens: (id) => store.deleteGrant(id),
    endSessions: (customerId) => store.endSessions(customerId),
    cleanups: [
      () => store.deleteExpired(),
      () => clients.quotas.sweep(),
      () => clients.usage.sweep(),
      () => accounts.deleteExpiredDisclosures(),
      () => accounts.deleteStaleClaims(),
      () => banks.health.sweep(),
      () => consents.jobs.deleteEndedSignIns(),
      () => idempotency.deleteOlderThan(subtractMs(world.clock.now(), DAY_MS)),
    ],
  })

  return {
    services: { clients, banks, consents, deliveries, alerts, accounts, ledger, outbox, signals },
    /** Reseals values that are sealed with older keys. */
    reseal: resealer,
    /** A secret that all processes share; created at the first call. */
    sharedSecret: <T>(name: string, create: () => Promise<T>): Promise<T> =>
      getOrCreateSharedSecret(database, seal, name, create),
    /** Whether somebody can administer the gateway. If there are no clients, opens the enrolment of the first admin. */
    administration: () =>
      enrollment.openOrDescribe((salt) => config.bootstrapSecret ?? seal.digest('admin-enrolment', salt)),
    /** The address of the metrics on this machine; undefined before the start. */
    metricsUrl: () => metricsUrl,
    issuer,
    /** The redirect URI of the explorer. */
    explorerRedirectUri: `${issuer}/explorer`,
    /** The gateway's redirect URI and event address for a connector's bank. */
    bankEndpoints: (connectorId: string) => ({
      redirectUri: `${issuer}/bank/callback`,
      eventsUrl: `${issuer}/bank-events/${connectorId}`,
    }),
    /** Starts listening, then runs `beforeReady`, then reports ready. Returns the port. */
    async start(beforeReady: () => Promise<void> = () => Promise.resolve()): Promise<number> {
      metrics.measureNode()
      await signals.start()
      rejectedEvents.start()
      rateLimitedRequests.start()
      clockMonitor.start()
      await resealer.start()
      if (isGateway) await graphql.start()
      if (config.role !== 'gateway') await worker.start()
      metricsUrl = `${localOrigin(config.metricsHost, await listenForMetrics(metricsListener, config))}/metrics`
      const port = await listener.listen(config.port, config.host)
      await beforeReady()
      lifecycle = 'READY'
      return port
    },
    /**
     * Finishes work in progress, then stops everything. Each step has a timeout; together they take at most 20 s. Returns
     * false if a step failed or was abandoned.
     */
    stop(): Promise<boolean> {
      lifecycle = 'STOPPING'
      rejectedEvents.stop()
      rateLimitedRequests.stop()
      clockMonitor.stop()
      const step = (name: string, timeoutMs: number, run: ShutdownStep['run']): ShutdownStep => ({
        name,
        timeoutMs,
        run,
      })
      return runShutdown(
        [
          [
            step('listener', 6_000, () => listener.close(REQUEST_GRACE_MS)),
            step('metrics', 6_000, () => metricsListener.close(REQUEST_GRACE_MS)),
            ...(isGateway ? [step('graphql', 6_000, () => graphql.stop())] : []),
            ...(config.role === 'gateway' ? [] : [step('worker', 6_000, () => worker.stop())]),
          ],
          [
            step('accounts', 12_000, () => accounts.waitUntilIdle()),
            step('consents', 12_000, () => consents.waitUntilIdle()),
          ],
          [
            step('health', 2_000, () => banks.health.flush()),
            step('usage', 2_000, () => clients.usage.flush()),
            step('signals', 2_000, () => signals.stop()),
            // Interrupted attempts release their deliveries.
            step('http', 2_000, () => world.http.close().then(() => deliveries.waitUntilIdle())),
          ],
        ],
        world,
      )
    },
  }
}
/** A gateway as `createApp` builds it. */
export type App = Awaited<ReturnType<typeof createApp>>

/**
 * Starts the metrics listener; returns its port. If the default port is in use, a sandbox takes any free port, so that two can
 * run on one machine. In production, where metrics are collected from a known port, that is an error.
 */
async function listenForMetrics(listener: HttpServer, config: Config): Promise<number> {
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
