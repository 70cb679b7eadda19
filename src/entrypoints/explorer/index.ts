import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GatewayError } from '../../kernel/errors.ts'
import { route, type HttpResponse, type Route } from '../../kernel/http.ts'

/** Dependencies of the explorer. */
export interface ExplorerDependencies {
  /**
   * Returns the sandbox client with which the page signs in and signs its requests, including its private key, as JSON.
   * Undefined outside the sandbox, where the page needs a pasted token.
   */
  readonly sandboxClient: (() => string) | undefined
}

/** Allows no content of other origins, no inline scripts or styles, and no embedding in frames. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const assetRoute = (name: string, type: string): Route => {
  const body = readFileSync(join(import.meta.dirname, name), 'utf8')
  const headers = { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': CONTENT_SECURITY_POLICY }
  const path = name === 'page.html' ? '/explorer' : `/explorer/${name}`
  return route('GET', path, (): HttpResponse => ({ status: 200, headers, body }))
}

/** The routes of the explorer: a page that signs in like a platform and executes operations. */
export const explorerRoutes = ({ sandboxClient }: ExplorerDependencies): Route[] => [
  assetRoute('page.html', 'text/html'),
  assetRoute('browser.mjs', 'text/javascript'),
  assetRoute('style.css', 'text/css'),
  route('GET', '/explorer/client.json', () => {
    if (!sandboxClient) throw new GatewayError('NOT_FOUND')
    return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8' }, body: sandboxClient() }
  }),
]
