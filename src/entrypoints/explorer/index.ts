import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { GatewayError } from '../../kernel/errors.ts'
import { route, type HttpResponse, type Route } from '../../kernel/http.ts'

/** What the explorer needs. */
export interface ExplorerDependencies {
  /**
   * The sandbox client by which the page signs in and signs its requests, private key and all, as JSON; nothing outside
   * the sandbox, where the page takes a token that is pasted into it.
   */
  readonly sandboxClient: (() => string) | undefined
}

/** Nothing from anywhere else, nothing inline, in nobody's frame. */
const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

const assetRoute = (name: string, type: string): Route => {
  const body = readFileSync(join(import.meta.dirname, name), 'utf8')
  const headers = { 'content-type': `${type}; charset=utf-8`, 'content-security-policy': CONTENT_SECURITY_POLICY }
  const path = name === 'page.html' ? '/explorer' : `/explorer/${name}`
  return route('GET', path, (): HttpResponse => ({ status: 200, headers, body }))
}

/** A page to ask the graph from: it signs in as a platform does, and shows only what its token may see. */
export const explorerRoutes = ({ sandboxClient }: ExplorerDependencies): Route[] => [
  assetRoute('page.html', 'text/html'),
  assetRoute('browser.mjs', 'text/javascript'),
  assetRoute('style.css', 'text/css'),
  route('GET', '/explorer/client.json', () => {
    if (!sandboxClient) throw new GatewayError('NOT_FOUND')
    return { status: 200, headers: { 'content-type': 'application/json; charset=utf-8' }, body: sandboxClient() }
  }),
]
