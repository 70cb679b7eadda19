import { html, renderPage } from '../../kernel/html.ts'
import { jsonResponse, route, type HttpResponse, type Route } from '../../kernel/http.ts'

/** Whether this process accepts requests. */
export type Lifecycle = 'STARTING' | 'READY' | 'STOPPING'

/** Dependencies of the home page and the health checks. */
export interface ConsoleDependencies {
  readonly issuer: string
  /** Throws if the database does not respond. */
  readonly ping: () => Promise<void>
  readonly lifecycle: () => Lifecycle
}

/** The home page, and the health checks for operators. */
export const consoleRoutes = (dependencies: ConsoleDependencies): Route[] => [
  route('GET', '/', () => homePage(dependencies.issuer)),
  // Browsers request it automatically.
  route('GET', '/favicon.ico', () => ({ status: 204 })),
  route('GET', '/livez', () => jsonResponse(200, { status: 'alive' })),
  route('GET', '/readyz', async () => {
    const lifecycle = dependencies.lifecycle()
    if (lifecycle !== 'READY') return jsonResponse(503, { status: lifecycle.toLowerCase() })
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
        An open-banking gateway. If a bank customer agrees, a messaging platform can show them their balances and warn
        them of fraud in the chat that they already use. Guichet never requests, stores or passes on what they bought.
      </p>
      <h2>Bank customers</h2>
      <p><a href="/sharing">See what you share, and stop sharing</a></p>
      <h2>Platforms, bank partners and admins</h2>
      <p><a href="/explorer">Send queries in the explorer</a></p>
      <dl>
        <dt>GraphQL API</dt>
        <dd><code>${issuer}/graphql</code></dd>
        <dt>Authorization</dt>
        <dd>
          <a href="/.well-known/openid-configuration">server metadata</a>,
          <a href="/.well-known/oauth-protected-resource">resource metadata</a>
        </dd>
        <dt>Public keys</dt>
        <dd><a href="/.well-known/jwks.json">JSON Web Key Set</a></dd>
      </dl>
      <h2>Operators</h2>
      <dl>
        <dt>Liveness</dt>
        <dd><a href="/livez">/livez</a></dd>
        <dt>Readiness</dt>
        <dd><a href="/readyz">/readyz</a></dd>
      </dl>`,
  )
