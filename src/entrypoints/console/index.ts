import { html, renderPage } from '../../kernel/html.ts'
import { jsonResponse, route, type HttpResponse, type Route } from '../../kernel/http.ts'

/** Whether this process takes requests: it does not yet, does, or soon will not. */
export type Lifecycle = 'STARTING' | 'READY' | 'STOPPING'

/** What the front door and the life signs need. */
export interface ConsoleDependencies {
  readonly issuer: string
  /** Throws where the database does not answer. */
  readonly ping: () => Promise<void>
  readonly lifecycle: () => Lifecycle
}

/** For browsers, the front door; for whoever runs it, life signs. */
export const consoleRoutes = (dependencies: ConsoleDependencies): Route[] => [
  route('GET', '/', () => homePage(dependencies.issuer)),
  // Browsers ask for it by themselves.
  route('GET', '/favicon.ico', () => ({ status: 204 })),
  route('GET', '/livez', () => jsonResponse(200, { status: 'alive' })),
  route('GET', '/readyz', async () => {
    const life = dependencies.lifecycle()
    if (life !== 'READY') return jsonResponse(503, { status: life.toLowerCase() })
    return dependencies.ping().then(
      () => jsonResponse(200, { status: 'ready' }),
      () => jsonResponse(503, { status: 'database unavailable' }),
    )
  }),
]

const homePage = (issuer: string): HttpResponse =>
  renderPage(
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
      <p><a href="/livez">livez</a>, <a href="/readyz">readyz</a></p>`,
  )
