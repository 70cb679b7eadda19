import { html, page } from '../../kernel/html.ts'
import { jsonReply, route, type HttpReply, type Route } from '../../kernel/http.ts'
import type { Outbox } from '../../modules/outbox/index.ts'

/** Whether this process takes requests: it does not yet, does, or soon will not. */
export type Life = 'STARTING' | 'READY' | 'STOPPING'

/** What the front door and the life signs need. */
export interface ConsoleDependencies {
  readonly issuer: string
  readonly outbox: Outbox
  /** How many values are still sealed with an older key. */
  readonly sealedBefore: () => Promise<number>
  /** Throws where the database does not answer. */
  readonly ping: () => Promise<void>
  readonly life: () => Life
}

/** For browsers, the front door; for whoever runs it, life signs. */
export const consoleRoutes = ({ issuer, outbox, sealedBefore, ping, life }: ConsoleDependencies): Route[] => [
  route('GET', '/', () => frontDoor(issuer)),
  // Browsers ask for it by themselves.
  route('GET', '/favicon.ico', () => ({ status: 204 })),
  route('GET', '/livez', () => jsonReply(200, { status: 'alive' })),
  route('GET', '/readyz', async () => {
    if (life() !== 'READY') return jsonReply(503, { status: life().toLowerCase() })
    return ping().then(
      () => jsonReply(200, { status: 'ready' }),
      () => jsonReply(503, { status: 'database unavailable' }),
    )
  }),
  route('GET', '/metrics', async () => ({
    status: 200,
    headers: { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' },
    body: [
      '# HELP guichet_outbox_open Promises that are not kept yet.',
      '# TYPE guichet_outbox_open gauge',
      `guichet_outbox_open ${await outbox.open()}`,
      '# HELP guichet_sealed_before Values that are sealed with an older key; at 0 the older keys can be taken away.',
      '# TYPE guichet_sealed_before gauge',
      `guichet_sealed_before ${await sealedBefore()}`,
      '# HELP guichet_memory_bytes Resident memory of this process.',
      '# TYPE guichet_memory_bytes gauge',
      `guichet_memory_bytes ${process.memoryUsage.rss()}`,
      '',
    ].join('\n'),
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
