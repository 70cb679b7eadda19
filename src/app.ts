import type { Config } from './config.ts'
import type { Lifecycle } from './entrypoints/console/index.ts'
import { clientMetadata, createOauthStore, type OauthStore } from './entrypoints/oauth/index.ts'
import { createWorker } from './entrypoints/worker.ts'
import { localOrigin } from './kernel/addresses.ts'
import { CLOCK_TOLERANCE_SECONDS, SECOND_MS } from './kernel/clock.ts'
import { expiredBefore } from './kernel/retention.ts'
import { runShutdown, type ShutdownStep } from './kernel/shutdown.ts'
import type { World } from './kernel/world.ts'
import { createMetricsListener, createPublicListener, listenForMetrics } from './listeners.ts'
import { bankEndpointsOf } from './modules/banks/index.ts'
import { createServices, type Services } from './services.ts'
import { createClockMonitor } from './storage/clock-monitor.ts'
import type { Database } from './storage/database.ts'
import { getOrCreateSharedSecret } from './storage/shared-secrets.ts'

/** How long open requests may take to finish when the process stops accepting connections. */
const REQUEST_GRACE_MS = 5_000
/** How long a connection stays open then, although no request arrives on it. At most the time for draining. */
const MAX_IDLE_CLOSE_MS = 2_000

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

  const { clients, banks, consents, deliveries, alerts, accounts, ledger, mail, outbox } = services
  return {
    services: { clients, banks, consents, deliveries, alerts, accounts, ledger, mail, outbox, signals },
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
     * Finishes work in progress, then stops everything. Requests are accepted for `drainMs` more, unless this is a worker. Each
     * step has a timeout; together they take at most `drainMs` and 21 s. Returns false if a step failed or was abandoned.
     */
    stop(): Promise<boolean> {
      lifecycle = 'STOPPING'
      // Nobody sends requests to a worker.
      const drainMs = config.role === 'worker' ? 0 : config.drainMs
      const limits = { idleMs: Math.min(drainMs, MAX_IDLE_CLOSE_MS), graceMs: REQUEST_GRACE_MS }
      const drained = (name: string, run: ShutdownStep['run']): ShutdownStep =>
        step(name, drainMs + 7_000, () => world.timers.sleep(drainMs).then(run))
      return runShutdown(
        [
          [
            drained('listener', () => {
              graphql.endStreams()
              return listener.close(limits)
            }),
            drained('metrics', () => metricsListener.close(limits)),
            ...(config.role === 'gateway' ? [] : [step('worker', 6_000, () => worker.stop())]),
          ],
          ...shutdownOfServices(services, async () => {
            rejectedEvents.stop()
            rateLimitedRequests.stop()
            clockMonitor.stop()
            if (config.role !== 'worker') await graphql.stop()
          }),
        ],
        world,
      )
    },
  }
}
/** A gateway as `createApp` builds it. */
export type App = Awaited<ReturnType<typeof createApp>>

function createBackgroundWorker(config: Config, services: Services, store: OauthStore) {
  const { world, clients, accounts, alerts, banks, consents, deliveries, ledger, mail, outbox, idempotency } = services
  return createWorker({
    ...services,
    runsScheduledCertification: config.scheduledCertification,
    deleteGrantTokens: (id) => store.deleteGrant(id),
    endSessions: (customerId) => store.endSessions(customerId),
    purges: {
      delivery_attempt: () => deliveries.deleteExpiredAttempts(),
      delivery: () => deliveries.deleteExpired(),
      alert: () => alerts.deleteExpired(),
      alert_detail_view: () => alerts.deleteExpiredDetailViews(),
      bank_event: () => alerts.deleteExpiredEvents(),
      ledger_entry: () => ledger.deleteExpired(),
      outbox_message: () => outbox.deleteProcessed(),
      mail_message: () => mail.deleteOld(),
      client_notice: () => clients.notices.deleteOld(),
      client_usage: () => clients.usage.sweep(),
      quota_window: () => clients.quotas.sweep(),
      idempotency_record: () => idempotency.deleteOlderThan(expiredBefore('idempotency_record', world.clock.now())),
      oauth_artifact: () => store.deleteExpired('oauth_artifact'),
      used_proof: () => store.deleteExpired('used_proof'),
      bank_sign_in: () => consents.jobs.deleteEndedSignIns(),
      snapshot: () => accounts.deleteStaleClaims(),
      disclosure: () => accounts.deleteExpiredDisclosures(),
      webhook_secret: () => deliveries.deleteEndedSecrets(),
      bank_call_count: () => banks.health.sweep('bank_call_count'),
      bank_failure_count: () => banks.health.sweep('bank_failure_count'),
      response_issue: () => banks.health.sweep('response_issue'),
      bank_event_count: () => banks.eventCounts.sweep(),
    },
  })
}

const step = (name: string, timeoutMs: number, run: ShutdownStep['run']): ShutdownStep => ({ name, timeoutMs, run })

/** What ends once nothing new arrives: work in progress first, then the connections that it needs. */
const shutdownOfServices = (
  { world, accounts, consents, banks, clients, signals, deliveries }: Services,
  stopEntrypoints: () => Promise<void>,
) => [
  [
    step('entrypoints', 6_000, stopEntrypoints),
    step('accounts', 12_000, () => accounts.waitUntilIdle()),
    step('consents', 12_000, () => consents.waitUntilIdle()),
  ],
  [
    step('health', 2_000, () => banks.health.flush()),
    step('event counts', 2_000, () => banks.eventCounts.flush()),
    step('usage', 2_000, () => clients.usage.flush()),
    step('signals', 2_000, () => signals.stop()),
    // Interrupted attempts release their deliveries.
    step('http', 2_000, () => world.http.close().then(() => deliveries.waitUntilIdle())),
  ],
]
