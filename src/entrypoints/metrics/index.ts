import { SECOND_MS, type Timer } from '../../kernel/clock.ts'
import { createEventCounter } from '../../kernel/event-counter.ts'
import { route, type Route } from '../../kernel/http.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Metrics } from '../../kernel/metrics.ts'
import type { World } from '../../kernel/world.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Deliveries } from '../../modules/deliveries/index.ts'
import type { Jobs } from '../../modules/jobs/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'
import type { Database } from '../../storage/database.ts'

/** Dependencies of the metrics. */
export interface MetricsDependencies {
  readonly metrics: Metrics
  readonly world: Pick<World, 'clock' | 'log' | 'timers'>
  readonly issuer: string
  readonly database: Pick<Database, 'poolStats'>
  readonly outbox: Outbox
  readonly jobs: Pick<Jobs, 'list'>
  readonly deliveries: Deliveries
  readonly banks: Banks
  /** The number of columns that may hold values sealed with an older key. */
  readonly columnsToReseal: () => Promise<number>
  /** How far this process's clock is ahead of the database's, in milliseconds. */
  readonly clockOffsetMs: () => Promise<number>
}

/** How long a scrape waits for a value from the database. Collectors wait 10 s by default. */
const READ_TIMEOUT_MS = 2_000
const HEALTH_VALUES = { HEALTHY: 0, DEGRADED: 1, DOWN: 2 } as const

/** Metrics in the Prometheus text format. Served on a separate port, so that no proxy exposes them. */
export function metricsRoutes(dependencies: MetricsDependencies): Route[] {
  const { metrics, world, issuer } = dependencies
  metrics.info.set({ issuer }, 1)
  const readings = databaseReadings(dependencies)
  return [
    route('GET', '/metrics', async () => {
      await Promise.all(readings.map((reading) => update(reading, world)))
      setPoolMetrics(dependencies)
      return {
        status: 200,
        headers: { 'content-type': metrics.registry.contentType },
        body: await metrics.registry.metrics(),
      }
    }),
  ]
}

/** Counts rejected bank events and rate-limited requests in the metrics, and logs their sums once a minute. */
export const createEventCounters = (metrics: Metrics, world: Pick<World, 'log' | 'timers'>) => ({
  rejectedEvents: createEventCounter(world, 'bank_events.rejected', ({ code = '', connectorId = '' }) =>
    metrics.rejectedBankEvents.inc({ code, connector: connectorId }),
  ),
  rateLimitedRequests: createEventCounter(world, 'requests.rate_limited', ({ route: entrypoint = '' }) =>
    metrics.rateLimitedRequests.inc({ entrypoint }),
  ),
})

/** Measures the requests of an HTTP server. `route` must be a path pattern, because each value is a time series. */
export const createRequestMeter =
  (metrics: Metrics) =>
  (request: { readonly route: string; readonly status: number; readonly durationMs: number }): void =>
    metrics.httpRequestDuration.observe(
      { route: request.route, status: `${Math.floor(request.status / 100)}xx` },
      request.durationMs / SECOND_MS,
    )

/** Gauges whose values are read from the database at each scrape. `read` returns what sets them. */
interface Reading {
  /** Removes the values of the last scrape. */
  readonly clear: () => void
  readonly read: () => Promise<() => void>
}

const databaseReadings = (dependencies: MetricsDependencies): Reading[] => {
  const { metrics, outbox, deliveries, columnsToReseal, clockOffsetMs } = dependencies
  const single = (gauge: Metrics['clockOffset'], value: () => Promise<number>): Reading => ({
    // `reset` would set it to 0.
    clear: () => gauge.remove(),
    async read() {
      const current = await value()
      return () => gauge.set(current)
    },
  })
  return [
    single(metrics.outboxPendingMessages, () => outbox.countPending()),
    single(metrics.deliveriesDue, () => deliveries.countDue()),
    single(metrics.resealPendingColumns, columnsToReseal),
    single(metrics.clockOffset, async () => (await clockOffsetMs()) / SECOND_MS),
    bankReading(dependencies),
    jobReading(dependencies),
  ]
}

const jobReading = ({ metrics, jobs, world }: MetricsDependencies): Reading => ({
  clear: () => metrics.jobFailingSeconds.reset(),
  async read() {
    const listed = await jobs.list()
    const nowMs = world.clock.now().getTime()
    return () => {
      for (const { name, failingSince } of listed)
        metrics.jobFailingSeconds.set(
          { job: name },
          // Clocks of processes differ by seconds.
          failingSince ? Math.max(1, (nowMs - failingSince.getTime()) / SECOND_MS) : 0,
        )
    }
  },
})

const bankReading = ({ metrics, banks }: MetricsDependencies): Reading => ({
  clear() {
    const { bankAcceptsNewConsents, bankHealth, bankCallFailures, bankCertificateExpiry } = metrics
    for (const gauge of [bankAcceptsNewConsents, bankHealth, bankCallFailures, bankCertificateExpiry]) gauge.reset()
  },
  async read() {
    const connectors = await banks.activeConnectors()
    const health = await Promise.all(connectors.map(({ id }) => banks.health.operationHealth(id)))
    const expiries = await banks.certificateExpiries()
    return () => {
      for (const { connectorId: connector, use, expiresAt } of expiries)
        metrics.bankCertificateExpiry.set({ connector, use }, expiresAt.getTime() / SECOND_MS)
      connectors.forEach(({ bankId: bank, acceptsNewConsents }, index) => {
        metrics.bankAcceptsNewConsents.set({ bank }, acceptsNewConsents ? 1 : 0)
        for (const { operation, status, failureCauses } of health[index]!) {
          metrics.bankHealth.set({ bank, operation }, HEALTH_VALUES[status])
          for (const { cause, count } of failureCauses)
            metrics.bankCallFailures.set({ bank, operation, failure_cause: cause }, count)
        }
      })
    }
  },
})

/**
 * Sets the gauges of a reading. If it fails or takes too long, they have no value in this scrape: metrics of the process
 * are most needed while the database does not respond.
 */
async function update({ clear, read }: Reading, { log, timers }: MetricsDependencies['world']): Promise<void> {
  let timer: Timer | undefined
  const timeout = new Promise<undefined>((resolve) => {
    timer = timers.setTimeout(() => resolve(undefined), READ_TIMEOUT_MS)
  })
  let setValues: (() => void) | undefined
  try {
    setValues = await Promise.race([read(), timeout])
  } catch (error) {
    log.debug('metrics.read_failed', { trace: errorTrace(error) })
  } finally {
    timer?.clear()
  }
  clear()
  setValues?.()
}

function setPoolMetrics({ metrics, database }: MetricsDependencies): void {
  for (const { pool, total, idle, waiting } of database.poolStats()) {
    metrics.databaseConnections.set({ pool, state: 'idle' }, idle)
    metrics.databaseConnections.set({ pool, state: 'busy' }, total - idle)
    metrics.databaseQueriesWaiting.set({ pool }, waiting)
  }
}
