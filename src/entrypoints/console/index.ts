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
        An open-banking gateway: a bank customer opts in, and a messaging platform may show them their balances and warn
        them of fraud where they already chat. Guichet never requests, stores or passes on what they bought.
      </p>
      <h2>Bank customers</h2>
      <p><a href="/sharing">What you share</a>, and how to stop it</p>
      <h2>Platforms, bank partners and admins</h2>
      <p><a href="/explorer">Explorer</a>: query the API in the browser</p>
      <p>One GraphQL API at <code>${issuer}/graphql</code>, with tokens from the
        <a href="/.well-known/openid-configuration">authorization server</a>;
        <a href="/.well-known/oauth-protected-resource">resource metadata</a>, <a href="/.well-known/jwks.json">keys</a></p>
      <h2>Operators</h2>
      <p><a href="/livez">livez</a>, <a href="/readyz">readyz</a></p>`,
  )
