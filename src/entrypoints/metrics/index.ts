import { route, type Route } from '../../kernel/http.ts'
import type { Tally } from '../../kernel/tally.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'

/** What the metrics are read from. */
export interface MetricsDependencies {
  readonly issuer: string
  readonly outbox: Outbox
  readonly banks: Banks
  /** In how many columns values may still be sealed with an older key. */
  readonly sealedBefore: () => Promise<number>
  /** How far this process's clock is ahead of the database's, in milliseconds. */
  readonly clockOffsetMs: () => Promise<number>
  readonly refusedEvents: Tally
  readonly limitedRequests: Tally
}

/** What can be watched, in the text format of Prometheus. Served on a port of its own, so that no proxy passes it on. */
export const metricsRoutes = (dependencies: MetricsDependencies): Route[] => [
  route('GET', '/metrics', async () => ({
    status: 200,
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    body: (await Promise.all(METRICS.map((metric) => written(metric, dependencies)))).join(''),
  })),
]

interface Metric {
  readonly name: string
  /** A gauge where nothing is stated. */
  readonly type?: 'gauge' | 'counter'
  readonly help: string
  readonly values: (dependencies: MetricsDependencies) => Promise<readonly (readonly [labels: string, value: number])[]>
}

const HEALTH = { HEALTHY: 0, DEGRADED: 1, DOWN: 2 } as const

/** Labels are ids and words of our own. */
const METRICS: readonly Metric[] = [
  {
    name: 'guichet_info',
    help: 'Always 1; the label names the gateway.',
    values: ({ issuer }) => Promise.resolve([[`{issuer="${issuer}"}`, 1]]),
  },
  {
    name: 'guichet_outbox_open',
    help: 'Messages that are open; 10000 stands for more.',
    values: async ({ outbox }) => [['', await outbox.open()]],
  },
  {
    name: 'guichet_sealed_before',
    help: 'Columns that may hold values sealed with an older key; at 0 the older keys can be taken away.',
    values: async ({ sealedBefore }) => [['', await sealedBefore()]],
  },
  {
    name: 'guichet_events_refused_total',
    type: 'counter',
    help: 'Events from banks, or in their name, that were refused, by code; with the connector where there is one.',
    values: ({ refusedEvents }) =>
      Promise.resolve(
        refusedEvents
          .totals()
          .map(([{ code, connectorId }, count]) => [`{code="${code}",connector="${connectorId ?? ''}"}`, count]),
      ),
  },
  {
    name: 'guichet_requests_limited_total',
    type: 'counter',
    help: 'Requests that were refused with 429 because of the limits of their address or client, by entrypoint.',
    values: ({ limitedRequests }) =>
      Promise.resolve(limitedRequests.totals().map(([{ route }, count]) => [`{entrypoint="${route}"}`, count])),
  },
  {
    name: 'guichet_clock_offset_seconds',
    help: 'How far the clock of this process is ahead of the one of the database. Tokens allow 10 s.',
    values: async ({ clockOffsetMs }) => [['', (await clockOffsetMs()) / 1_000]],
  },
  {
    name: 'guichet_memory_bytes',
    help: 'Resident memory of this process.',
    values: () => Promise.resolve([['', process.memoryUsage.rss()]]),
  },
  {
    name: 'guichet_bank_new_consents',
    help: '1 where the bank takes new consents, 0 while its last nightly certification failed.',
    values: async ({ banks }) =>
      (await banks.taking()).map(({ bankId, newConsents }) => [`{bank="${bankId}"}`, newConsents ? 1 : 0]),
  },
  {
    name: 'guichet_bank_health',
    help: 'Each kind of call in the last 15 minutes: 0 healthy, 1 degraded, 2 down.',
    values: async ({ banks }) =>
      (
        await Promise.all(
          (await banks.taking()).map(async ({ id, bankId }) =>
            (await banks.health.of(id)).map(
              ({ operation, state }) => [`{bank="${bankId}",operation="${operation}"}`, HEALTH[state]] as const,
            ),
          ),
        )
      ).flat(),
  },
  {
    name: 'guichet_bank_failures',
    help: 'Calls in the last 15 minutes that did not reach the bank, by cause.',
    values: async ({ banks }) =>
      (
        await Promise.all(
          (await banks.taking()).map(async ({ id, bankId }) =>
            (await banks.health.of(id)).flatMap(({ operation, failureCauses }) =>
              failureCauses.map(
                ({ cause, count }) =>
                  [`{bank="${bankId}",operation="${operation}",failure_cause="${cause}"}`, count] as const,
              ),
            ),
          ),
        )
      ).flat(),
  },
]

/** In the text format of Prometheus. */
async function written(
  { name, type = 'gauge', help, values }: Metric,
  dependencies: MetricsDependencies,
): Promise<string> {
  const lines = (await values(dependencies)).map(([labels, value]) => `${name}${labels} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}
