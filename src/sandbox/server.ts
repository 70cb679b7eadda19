import { createServer, type IncomingMessage, type Server } from 'node:http'

/** A request to a sandbox server, with its body read. */
export interface SandboxRequest {
  readonly method: string
  readonly url: URL
  readonly params: Readonly<Record<string, string>>
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly form: URLSearchParams
}

/** The response of a handler. */
export interface SandboxResponse {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: string
}

/** Serves one route. */
export type Handler = (request: SandboxRequest) => SandboxResponse | Promise<SandboxResponse>
/** Handlers by `METHOD /path/{name}`. */
export type Routes = Readonly<Record<string, Handler>>

/** A response with a JSON body. */
export const json = (status: number, value: unknown, headers: Record<string, string> = {}): SandboxResponse => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(value),
})

/** A redirect to `location` with GET (303). */
export const redirect = (location: string): SandboxResponse => ({ status: 303, headers: { location } })

/** Thrown by a handler to send an error response. */
export class HttpError extends Error {
  readonly response: SandboxResponse
  constructor(response: SandboxResponse) {
    super(`HTTP ${response.status}`)
    this.response = response
  }
}

const MAX_BODY_BYTES = 262_144

/** Serves `routes` on `host:port`; resolves with the server once it listens. */
export function serve(routes: () => Routes, host: string, port: number): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    void handleRequest(routes(), incoming).then((response) => {
      outgoing.writeHead(response.status, { 'cache-control': 'no-store', ...response.headers })
      outgoing.end(response.body)
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => resolve(server))
  })
}

async function handleRequest(routes: Routes, incoming: IncomingMessage): Promise<SandboxResponse> {
  try {
    const url = new URL(incoming.url ?? '/', 'http://sandbox')
    const method = incoming.method ?? 'GET'
    for (const [route, handler] of Object.entries(routes)) {
      const params = matchRoute(route, method, url.pathname)
      if (!params) continue
      const body = await readBody(incoming)
      return await handler({ method, url, params, headers: incoming.headers, body, form: new URLSearchParams(body) })
    }
    return json(404, { error: 'not_found' })
  } catch (error) {
    if (error instanceof SyntaxError) return json(400, { error: 'malformed_json' })
    return error instanceof HttpError ? error.response : json(500, { error: 'server_error' })
  }
}

function matchRoute(route: string, method: string, pathname: string): Record<string, string> | undefined {
  const [routeMethod, template] = route.split(' ') as [string, string]
  if (routeMethod !== method) return undefined
  const names: string[] = []
  const pattern = template.replace(/\{(\w+)\}/g, (_placeholder, name: string) => {
    names.push(name)
    return '([^/]+)'
  })
  const matched = new RegExp(`^${pattern}$`).exec(pathname)
  return matched
    ? Object.fromEntries(names.map((name, index) => [name, decodeURIComponent(matched[index + 1]!)]))
    : undefined
}

async function readBody(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY_BYTES) throw new HttpError(json(413, { error: 'too_large' }))
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
