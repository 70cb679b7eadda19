import { route, type Route } from '../../kernel/http.ts'
import type { EventCounter } from '../../kernel/event-counter.ts'
import type { Banks, OperationHealth } from '../../modules/banks/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'

/** Dependencies of the metrics. */
export interface MetricsDependencies {
  readonly issuer: string
  readonly outbox: Outbox
  readonly banks: Banks
  /** The number of columns that may hold values sealed with an older key. */
  readonly columnsToReseal: () => Promise<number>
  /** How far this process's clock is ahead of the database's, in milliseconds. */
  readonly clockOffsetMs: () => Promise<number>
  readonly rejectedEvents: EventCounter
  readonly rateLimitedRequests: EventCounter
}

/** Metrics in the Prometheus text format. Served on a separate port, so that no proxy exposes them. */
export const metricsRoutes = (dependencies: MetricsDependencies): Route[] => [
  route('GET', '/metrics', async () => {
    const readings = { ...dependencies, bankHealth: await readBankHealth(dependencies.banks) }
    return {
      status: 200,
      headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
      body: (await Promise.all(METRICS.map((metric) => formatMetric(metric, readings)))).join(''),
    }
  }),
]

/** The dependencies with the banks' health, which is read once for all metrics. */
interface Readings extends MetricsDependencies {
  readonly bankHealth: readonly (OperationHealth & { readonly bankId: string })[]
}

async function readBankHealth(banks: Banks): Promise<Readings['bankHealth']> {
  const readConnectorHealth = async ({ id, bankId }: { readonly id: string; readonly bankId: string }) =>
    (await banks.health.operationHealth(id)).map((health) => ({ ...health, bankId }))
  return (await Promise.all((await banks.activeConnectors()).map(readConnectorHealth))).flat()
}

interface Metric {
  readonly name: string
  /** Default: `gauge`. */
  readonly type?: 'gauge' | 'counter'
  readonly help: string
  readonly values: (readings: Readings) => Promise<readonly (readonly [labels: string, value: number])[]>
}

const HEALTH_VALUES = { HEALTHY: 0, DEGRADED: 1, DOWN: 2 } as const

/** Label values need no escaping: they are IDs and constants of the gateway. */
const METRICS: readonly Metric[] = [
  {
    name: 'guichet_info',
    help: 'Always 1; the label names the gateway.',
    values: ({ issuer }) => Promise.resolve([[`{issuer="${issuer}"}`, 1]]),
  },
  {
    name: 'guichet_outbox_pending_messages',
    help: 'Pending messages of the outbox, counted up to 10000.',
    values: async ({ outbox }) => [['', await outbox.countPending()]],
  },
  {
    name: 'guichet_reseal_pending_columns',
    help: 'Columns that may hold values sealed with an older key; at 0 the older keys can be removed.',
    values: async ({ columnsToReseal }) => [['', await columnsToReseal()]],
  },
  {
    name: 'guichet_bank_events_rejected_total',
    type: 'counter',
    help: 'Bank events that were rejected, by code and, if it is known, connector.',
    values: ({ rejectedEvents }) =>
      Promise.resolve(
        rejectedEvents
          .totals()
          .map(([{ code, connectorId }, count]) => [`{code="${code}",connector="${connectorId ?? ''}"}`, count]),
      ),
  },
  {
    name: 'guichet_requests_rate_limited_total',
    type: 'counter',
    help: 'Requests rejected with 429 by the limits of their address or client, by entrypoint.',
    values: ({ rateLimitedRequests }) =>
      Promise.resolve(rateLimitedRequests.totals().map(([{ route }, count]) => [`{entrypoint="${route}"}`, count])),
  },
  {
    name: 'guichet_clock_offset_seconds',
    help: 'Offset of the clock of this process from that of the database; positive if ahead. Tokens allow 10 s.',
    values: async ({ clockOffsetMs }) => [['', (await clockOffsetMs()) / 1_000]],
  },
  {
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of this process.',
    values: () => Promise.resolve([['', process.memoryUsage.rss()]]),
  },
  {
    name: 'guichet_bank_accepts_new_consents',
    help: '1 if the bank accepts new consents, 0 if its last nightly certification failed.',
    values: async ({ banks }) =>
      (await banks.activeConnectors()).map(({ bankId, acceptsNewConsents }) => [
        `{bank="${bankId}"}`,
        acceptsNewConsents ? 1 : 0,
      ]),
  },
  {
    name: 'guichet_bank_health',
    help: 'Health of each kind of bank call in the last 15 minutes: 0 healthy, 1 degraded, 2 down.',
    values: ({ bankHealth }) =>
      Promise.resolve(
        bankHealth.map(({ bankId, operation, status }) => [
          `{bank="${bankId}",operation="${operation}"}`,
          HEALTH_VALUES[status],
        ]),
      ),
  },
  {
    name: 'guichet_bank_call_failures',
    help: 'Bank calls in the last 15 minutes that did not reach the bank, by cause.',
    values: ({ bankHealth }) =>
      Promise.resolve(
        bankHealth.flatMap(({ bankId, operation, failureCauses }) =>
          failureCauses.map(
            ({ cause, count }) =>
              [`{bank="${bankId}",operation="${operation}",failure_cause="${cause}"}`, count] as const,
          ),
        ),
      ),
  },
]

async function formatMetric({ name, type = 'gauge', help, values }: Metric, readings: Readings): Promise<string> {
  const lines = (await values(readings)).map(([labels, value]) => `${name}${labels} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}
