import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, DEFAULT_METRICS_PORT, type Config } from './config.ts'
import { adminRoutes } from './entrypoints/admin/index.ts'
import { bankEventRoutes } from './entrypoints/bank-events/index.ts'
import { consoleRoutes, type Lifecycle } from './entrypoints/console/index.ts'
import { explorerRoutes } from './entrypoints/explorer/index.ts'
import { createGraphql } from './entrypoints/graphql/index.ts'
import { createHttpServer, type HttpServer } from './entrypoints/http-server.ts'
import { metricsRoutes } from './entrypoints/metrics/index.ts'
import { clientMetadata, createOauth, newOauthSecrets, oauthStore } from './entrypoints/oauth/index.ts'
import { sandboxControlRoutes } from './entrypoints/sandbox-control/index.ts'
import { createWorker } from './entrypoints/worker.ts'
import { localOrigin } from './kernel/addresses.ts'
import { createTrustedProxyCheck } from './kernel/client-address.ts'
import { CLOCK_TOLERANCE_SECONDS, DAY_MS, addMs, SECOND_MS } from './kernel/clock.ts'
import { createAccessLimits, type LimitedEntrypoint } from './kernel/access-limits.ts'
import { runShutdown, type ShutdownStep } from './kernel/shutdown.ts'
import { createEventCounter } from './kernel/event-counter.ts'
import type { World } from './kernel/world.ts'
import { createAccounts } from './modules/accounts/index.ts'
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

/** How long requests under way may take to end when the process stops. */
const REQUEST_GRACE_MS = 5_000

/** Every dependency in order, from the database up to what listens. Reads downwards. */
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

  const rejectedEvents = createEventCounter(world.log, 'bank_events.rejected')
  const rateLimitedRequests = createEventCounter(world.log, 'requests.rate_limited')
  const createLimits = (entrypoint: LimitedEntrypoint) =>
    createAccessLimits(entrypoint, world.clock, rateLimitedRequests)

  const ledger = createLedger({ database, world })
  const auditLog = createAuditLog({ database, seal })
  const outbox = createOutbox({ database, world })
  const idempotency = createIdempotency(database, world.clock)
  const bearerAllowed = config.profile === 'sandbox'
  const clients = createClients({ database, world, ledger, outbox, idempotency, isBearerAllowed: bearerAllowed })
  const enrolment = createAdminEnrolment({ database, world, ledger, outbox, isBearerAllowed: bearerAllowed })
  const banks = createBanks({ database, world, seal, ledger, outbox, idempotency, issuer })
  const consents = createConsents({ database, world, seal, banks, ledger, outbox })
  const deliveries = createDeliveries({ database, world, seal, clients, consents, ledger, idempotency })
  const alerts = createAlerts({ database, world, seal, banks, consents, ledger, outbox, rejectedEvents })
  const accounts = createAccounts({ database, world, seal, banks, consents, ledger, outbox })

  const secrets = await getOrCreateSharedSecret(database, seal, 'oauth', () => newOauthSecrets(world.randomness))
  const store = oauthStore({
    database,
    clock: world.clock,
    outbox,
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
    outbox,
    limits: createLimits('oauth'),
    tokenLimits: createLimits('tokens'),
  })
  const graphql = createGraphql({
    typeDefs: readFileSync(join(import.meta.dirname, '../schema.graphql'), 'utf8'),
    services: { accounts, alerts, auditLog, banks, clients, consents, deliveries },
    ledger,
    outbox,
    world,
    issuer,
    maxConcurrentRequests: config.maxConcurrentRequests,
    authenticate: oauth.authenticate,
    isStillAuthorized: oauth.isStillAuthorized,
    checkPresence: oauth.presenceOf,
  })
  let life: Lifecycle = 'STARTING'
  const console = consoleRoutes({ issuer, ping: () => database.ping(), lifecycle: () => life })
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
          ...adminRoutes({ enrollment: enrolment, quotas: clients.quotas, world, issuer }),
          ...explorer,
          ...sandboxControl,
          ...console,
        ]
      : console,
    world,
    issuer,
    isTrustedProxy,
    keepAliveMs: config.keepAliveMs,
  })
  const clockMonitor = createClockMonitor({ database, world, toleranceMs: CLOCK_TOLERANCE_SECONDS * SECOND_MS })
  const metricsListener = createHttpServer({
    routes: metricsRoutes({
      issuer,
      clockOffsetMs: () => clockMonitor.offsetMs(),
      outbox,
      banks,
      columnsToReseal: () => resealer.countRemainingColumns(),
      rejectedEvents,
      rateLimitedRequests,
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
    alerts,
    consents,
    deliveries,
    banks,
    runsNightlyCertification: config.nightlyCertification,
    reseal: resealer,
    deleteGrantTokens: (id) => store.deleteGrant(id),
    endSessions: (customerId) => store.endSessions(customerId),
    cleanups: [
      () => store.deleteExpired(),
      () => clients.quotas.sweep(),
      () => clients.usage.sweep(),
      () => accounts.deleteExpiredDisclosures(),
      () => accounts.deleteStaleClaims(),
      () => banks.health.sweep(),
      () => consents.deleteEndedSignIns(),
      () => idempotency.deleteOlderThan(addMs(world.clock.now(), -DAY_MS)),
    ],
  })

  return {
    services: { clients, banks, consents, deliveries, alerts, accounts, ledger, outbox },
    /** Moves what is sealed with older keys to the newest. */
    reseal: resealer,
    /** A secret that all processes share, made at the first asking. */
    sharedSecret: <T>(name: string, create: () => Promise<T>): Promise<T> =>
      getOrCreateSharedSecret(database, seal, name, create),
    /** Who can administer; opens the enrolment of the first admin where there is no client at all. */
    administration: () =>
      enrolment.openOrDescribe((salt) => config.bootstrapSecret ?? seal.digest('admin-enrolment', salt)),
    /** Where the metrics are read on this machine, once started. */
    metricsUrl: () => metricsUrl,
    issuer,
    /** Where the explorer's customers come back to. */
    explorerRedirectUri: `${issuer}/explorer`,
    /** The two addresses that a bank must know of the gateway. */
    bankEndpoints: (connectorId: string) => ({
      redirectUri: `${issuer}/bank/callback`,
      eventsUrl: `${issuer}/bank-events/${connectorId}`,
    }),
    /** Starts listening and does what must be done before it counts as ready; returns the port. */
    async start(beforeReady: () => Promise<void> = () => Promise.resolve()): Promise<number> {
      await outbox.start()
      rejectedEvents.start()
      rateLimitedRequests.start()
      clockMonitor.start()
      await resealer.start()
      if (isGateway) await graphql.start()
      if (config.role !== 'gateway') await worker.start()
      metricsUrl = `${localOrigin(config.metricsHost, await listenForMetrics(metricsListener, config))}/metrics`
      const port = await listener.listen(config.port, config.host)
      await beforeReady()
      life = 'READY'
      return port
    },
    /**
     * Lets what is under way finish, then stops all of it. Ends within the bounds of its steps, together 20 s, whatever
     * hangs. Returns false if something had to be abandoned or failed.
     */
    stop(): Promise<boolean> {
      life = 'STOPPING'
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
            step('outbox', 2_000, () => outbox.stop()),
            // Attempts that this cuts off let go of their deliveries.
            step('http', 2_000, () => world.http.close().then(() => deliveries.whenIdle())),
          ],
        ],
        world.log,
      )
    },
  }
}
/** A gateway that was put together. */
export type App = Awaited<ReturnType<typeof createApp>>

/** Two sandboxes on one machine both start; in production, where somebody collects the metrics, a taken port is a mistake. */
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
        ? 'METRICS_HOST: is no address of this machine'
        : `METRICS_PORT: ${port} is in use or not allowed; name another one, or 0 for any that is free`,
    ])
  }
}
