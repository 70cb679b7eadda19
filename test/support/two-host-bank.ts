import { generateKeyPairSync } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'

/** How the bank begins a sign-in: by its authorization endpoint, or by a link of its own (Berlin Group, `scaRedirect`). */
export type SignIn = 'OAUTH' | 'REDIRECT'

/**
 * A Berlin Group bank on three origins, as banks are: its API and token endpoint on the first, an authorization endpoint
 * on the second that redirects, and the pages of the sign-in on the third, on another site. The pages allow their forms to
 * lead to the bank itself and to the gateway, and nowhere else.
 */
export interface TwoHostBank {
  readonly registration: Record<string, unknown>
  /** The origin of the pages on which the customer signs in. */
  readonly pages: string
  /** What the metadata names as the authorization endpoint. */
  authorizationEndpoint: string
  close(): Promise<void>
}

const KEY = { ...generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({ format: 'jwk' }), kid: 'e' }

type Handler = (
  request: IncomingMessage,
  url: URL,
) => { status: number; headers?: Record<string, string>; body?: string }

export async function startTwoHostBank(id: string, name: string, gateway: string, sca: SignIn): Promise<TwoHostBank> {
  const json = (value: unknown, status = 200) => ({
    status,
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(value),
  })
  let linkBack = ''
  let consents = 0
  const api = await serve('127.0.0.1', ({ method, headers }, { pathname }) => {
    if (pathname.includes('/.well-known/'))
      return json({
        issuer: api.origin,
        token_endpoint: `${api.origin}/token`,
        authorization_endpoint: bank.authorizationEndpoint,
      })
    if (pathname === '/token')
      return json({ access_token: 'a'.repeat(20), token_type: 'Bearer', expires_in: 600, refresh_token: 'r' })
    if (pathname === '/psd2/v1/consents' && method === 'POST') {
      linkBack = String(headers['tpp-redirect-uri'])
      return json(
        {
          consentStatus: 'received',
          consentId: `c-${++consents}`,
          _links: { scaRedirect: { href: `${pages.origin}/sign-in` } },
        },
        201,
      )
    }
    if (/^\/psd2\/v1\/consents\/c-\d+\/status$/.test(pathname)) return json({ consentStatus: 'valid' })
    if (pathname === '/psd2/v1/accounts')
      return json({ accounts: [{ resourceId: 'a1', iban: 'DE02120300000000202051', currency: 'EUR' }] })
    return { status: 404 }
  })
  const front = await serve('127.0.0.1', (_request, { search }) => ({
    status: 302,
    headers: { location: `${pages.origin}/sign-in${search}` },
  }))
  // The back address comes with the request, or as it was given when the consent was created.
  const pages = await serve('localhost', ({ method }, { pathname, searchParams }) => {
    if (pathname !== '/sign-in') return { status: 404 }
    const back = new URL(searchParams.get('redirect_uri') ?? linkBack)
    if (searchParams.has('state')) back.searchParams.set('state', searchParams.get('state')!)
    back.searchParams.set('code', 'c')
    if (method === 'POST') return { status: 303, headers: { location: back.href } }
    return {
      status: 200,
      headers: {
        'content-type': 'text/html',
        'content-security-policy': `default-src 'none'; form-action 'self' ${gateway}`,
      },
      body: '<!doctype html><title>Sign in</title><h1>Sign in</h1><form method="post"><button>Agree</button></form>',
    }
  })
  const bank: TwoHostBank = {
    registration: {
      bank: { id, name, country: 'DE' },
      authorizationServer: api.origin,
      authorizationOrigins: [front.origin, pages.origin],
      apiBase: `${api.origin}/psd2`,
      clientId: 'guichet',
      events: { issuer: api.origin, keys: { keys: [KEY] } },
      version: '1.3.11',
      cardAccounts: false,
      sca,
    },
    pages: pages.origin,
    authorizationEndpoint: `${front.origin}/authorize`,
    close: async () => {
      await Promise.all([api.close(), front.close(), pages.close()])
    },
  }
  return bank
}

/** Serves on a free port of the host; every answer is written by `handle`. */
export async function serve(
  host: '127.0.0.1' | 'localhost',
  handle: Handler,
): Promise<{ origin: string; requests: string[]; close: () => Promise<void> }> {
  const requests: string[] = []
  const server: Server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const url = new URL(request.url ?? '/', `http://${host}`)
    requests.push(`${request.method ?? ''} ${request.url ?? ''}`)
    request.resume()
    const { status, headers = {}, body = '' } = handle(request, url)
    response.writeHead(status, { 'cache-control': 'no-store', ...headers }).end(body)
  })
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const address = server.address()
  return {
    origin: `http://${host}:${typeof address === 'object' && address ? address.port : 0}`,
    requests,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}
