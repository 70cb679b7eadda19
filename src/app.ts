import type { Config } from './config.ts'
import type { Lifecycle } from './entrypoints/console/index.ts'
import { clientMetadata, createOauthStore, type OauthStore } from './entrypoints/oauth/index.ts'
import { createWorker } from './entrypoints/worker.ts'
import { localOrigin } from './kernel/addresses.ts'
import { subtractMs, CLOCK_TOLERANCE_SECONDS, DAY_MS, SECOND_MS } from './kernel/clock.ts'
import { runShutdown, type ShutdownStep } from './kernel/shutdown.ts'
import type { World } from './kernel/world.ts'
import { createMetricsListener, createPublicListener, listenForMetrics } from './listeners.ts'
import { bankEndpointsOf } from './modules/banks/index.ts'
import { createServices, type Services } from './services.ts'
import { createClockMonitor } from './storage/clock-monitor.ts'
import type { Database } from './storage/database.ts'
import { getOrCreateSharedSecret } from './storage/shared-secrets.ts'

/** How long open requests may take to finish when the process stops. */
const REQUEST_GRACE_MS = 5_000

/** The composition root: builds the services, the listeners and the worker. Starts nothing. */
export async function createApp(config: Config, world: World, database: Database) {
  const services = await createServices(config, world, database)
  const { issuer, seal, resealer, enrollment, rejectedEvents, rateLimitedRequests, metrics, signals } = services
  const store = createOauthStore({
    ...services,
    clock: world.clock,
    findClientMetadata: (id) => clientMetadata(services.clients, id),
  })
  let lifecycle: Lifecycle = 'STARTING'
  const { listener, graphql } = await createPublicListener(config, services, store, () => lifecycle)
  const clockMonitor = createClockMonitor({ database, world, toleranceMs: CLOCK_TOLERANCE_SECONDS * SECOND_MS })
  const metricsListener = createMetricsListener(config, services, clockMonitor)
  const worker = createBackgroundWorker(config, services, store)
  let metricsUrl: string | undefined

  const { clients, banks, consents, deliveries, alerts, accounts, ledger, outbox } = services
  return {
    services: { clients, banks, consents, deliveries, alerts, accounts, ledger, outbox, signals },
    /** Reseals values that are sealed with older keys. */
    reseal: resealer,
    /** A secret that all processes share; created at the first call. */
    sharedSecret: <T>(name: string, create: () => Promise<T>): Promise<T> =>
      getOrCreateSharedSecret(database, seal, name, create),
    /** Whether somebody can administer the gateway. If there are no clients, opens the enrollment of the first admin. */
    administration: () =>
      // The label is part of the secret, so its spelling stays.
      enrollment.openOrDescribe((salt) => config.bootstrapSecret ?? seal.digest('admin-enrolment', salt)),
    /** The address of the metrics on this machine; undefined before the start. */
    metricsUrl: () => metricsUrl,
    issuer,
    /** The redirect URI of the explorer. */
    explorerRedirectUri: `${issuer}/explorer`,
    /** The gateway's redirect URI and event address for a connector's bank. */
    bankEndpoints: (connectorId: string) => bankEndpointsOf(issuer, connectorId),
    /** Starts listening, then runs `beforeReady`, then reports ready. Returns the port. */
    async start(beforeReady: () => Promise<void> = () => Promise.resolve()): Promise<number> {
      metrics.measureNode()
      await signals.start()
      rejectedEvents.start()
      rateLimitedRequests.start()
      clockMonitor.start()
      await resealer.start()
      if (config.role !== 'worker') await graphql.start()
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
      return runShutdown(
        [
          [
            step('listener', 6_000, () => listener.close(REQUEST_GRACE_MS)),
            step('metrics', 6_000, () => metricsListener.close(REQUEST_GRACE_MS)),
            ...(config.role === 'worker' ? [] : [step('graphql', 6_000, () => graphql.stop())]),
            ...(config.role === 'gateway' ? [] : [step('worker', 6_000, () => worker.stop())]),
          ],
          ...shutdownOfServices(services),
        ],
        world,
      )
    },
  }
}
/** A gateway as `createApp` builds it. */
export type App = Awaited<ReturnType<typeof createApp>>

function createBackgroundWorker(config: Config, services: Services, store: OauthStore) {
  const { world, clients, accounts, banks, consents, idempotency } = services
  return createWorker({
    ...services,
    runsScheduledCertification: config.scheduledCertification,
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
}

const step = (name: string, timeoutMs: number, run: ShutdownStep['run']): ShutdownStep => ({ name, timeoutMs, run })

/** What ends once nothing new arrives: work in progress first, then the connections that it needs. */
const shutdownOfServices = ({ world, accounts, consents, banks, clients, signals, deliveries }: Services) => [
  [step('accounts', 12_000, () => accounts.waitUntilIdle()), step('consents', 12_000, () => consents.waitUntilIdle())],
  [
    step('health', 2_000, () => banks.health.flush()),
    step('usage', 2_000, () => clients.usage.flush()),
    step('signals', 2_000, () => signals.stop()),
    // Interrupted attempts release their deliveries.
    step('http', 2_000, () => world.http.close().then(() => deliveries.waitUntilIdle())),
  ],
]
