import { html, page } from '../../kernel/html.ts'
import { jsonReply, route, type HttpReply, type Route } from '../../kernel/http.ts'
import type { Banks } from '../../modules/banks/index.ts'
import type { Outbox } from '../../modules/outbox/index.ts'

/** Whether this process takes requests: it does not yet, does, or soon will not. */
export type Life = 'STARTING' | 'READY' | 'STOPPING'

/** What the front door and the life signs need. */
export interface ConsoleDependencies {
  readonly issuer: string
  readonly outbox: Outbox
  readonly banks: Banks
  /** How many values are still sealed with an older key. */
  readonly sealedBefore: () => Promise<number>
  /** Throws where the database does not answer. */
  readonly ping: () => Promise<void>
  readonly life: () => Life
}

/** For browsers, the front door; for whoever runs it, life signs. */
export const consoleRoutes = (dependencies: ConsoleDependencies): Route[] => [
  route('GET', '/', () => frontDoor(dependencies.issuer)),
  // Browsers ask for it by themselves.
  route('GET', '/favicon.ico', () => ({ status: 204 })),
  route('GET', '/livez', () => jsonReply(200, { status: 'alive' })),
  route('GET', '/readyz', async () => {
    const life = dependencies.life()
    if (life !== 'READY') return jsonReply(503, { status: life.toLowerCase() })
    return dependencies.ping().then(
      () => jsonReply(200, { status: 'ready' }),
      () => jsonReply(503, { status: 'database unavailable' }),
    )
  }),
  route('GET', '/metrics', async () => ({
    status: 200,
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    body: (await Promise.all(METRICS.map((metric) => written(metric, dependencies)))).join(''),
  })),
]

const frontDoor = (issuer: string): HttpReply =>
  page(
    'Guichet',
    html`<h1>Guichet</h1>
      <p>
        An open-banking gateway: a bank customer opts in, and a messaging platform may show them their balances and warn
        them of fraud where they already chat. What they bought is never asked for, stored or passed on.
      </p>
      <h2>Bank customers</h2>
      <p><a href="/sharing">What you share</a>, and how to stop it</p>
      <h2>Platforms, bank partners and admins</h2>
      <p><a href="/explorer">Explorer</a>: ask the graph from this page</p>
      <p>One GraphQL API at <code>${issuer}/graphql</code>, with tokens of the
        <a href="/.well-known/openid-configuration">authorization server</a>;
        <a href="/.well-known/oauth-protected-resource">what it protects</a>, its <a href="/.well-known/jwks.json">keys</a></p>
      <h2>Operators</h2>
      <p><a href="/livez">livez</a>, <a href="/readyz">readyz</a>, <a href="/metrics">metrics</a></p>`,
  )

interface Metric {
  readonly name: string
  readonly help: string
  readonly values: (dependencies: ConsoleDependencies) => Promise<readonly (readonly [labels: string, value: number])[]>
}

const HEALTH = { HEALTHY: 0, DEGRADED: 1, DOWN: 2 } as const

/** What can be watched. Labels are ids and words of our own. */
const METRICS: readonly Metric[] = [
  {
    name: 'guichet_outbox_open',
    help: 'Promises that are not kept yet.',
    values: async ({ outbox }) => [['', await outbox.open()]],
  },
  {
    name: 'guichet_sealed_before',
    help: 'Values that are sealed with an older key; at 0 the older keys can be taken away.',
    values: async ({ sealedBefore }) => [['', await sealedBefore()]],
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
]

/** In the text format of Prometheus. */
async function written({ name, help, values }: Metric, dependencies: ConsoleDependencies): Promise<string> {
  const lines = (await values(dependencies)).map(([labels, value]) => `${name}${labels} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} gauge\n${lines.join('')}`
}
