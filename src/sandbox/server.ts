import { createServer, type IncomingMessage, type Server } from 'node:http'

/** A request as the pretend banks' handlers see it. */
export interface SandboxRequest {
  readonly method: string
  readonly url: URL
  readonly params: Readonly<Record<string, string>>
  readonly headers: IncomingMessage['headers']
  readonly body: string
  readonly form: URLSearchParams
}

export interface SandboxReply {
  readonly status: number
  readonly headers?: Record<string, string>
  readonly body?: string
}

export type Handler = (request: SandboxRequest) => SandboxReply | Promise<SandboxReply>
/** `METHOD /path/{name}` and what answers it. */
export type Routes = Readonly<Record<string, Handler>>

export const json = (status: number, value: unknown, headers: Record<string, string> = {}): SandboxReply => ({
  status,
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(value),
})

export const redirect = (location: string): SandboxReply => ({ status: 303, headers: { location } })

/** A refusal that a handler throws. */
export class Refusal extends Error {
  readonly reply: SandboxReply
  constructor(reply: SandboxReply) {
    super(`refused with ${reply.status}`)
    this.reply = reply
  }
}

const MAX_BODY = 262_144

/** Serves `routes` on `host:port`; resolves with the server once it listens. */
export function serve(routes: () => Routes, host: string, port: number): Promise<Server> {
  const server = createServer((incoming, outgoing) => {
    void answer(routes(), incoming).then((reply) => {
      outgoing.writeHead(reply.status, { 'cache-control': 'no-store', ...reply.headers })
      outgoing.end(reply.body)
    })
  })
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => resolve(server))
  })
}

async function answer(routes: Routes, incoming: IncomingMessage): Promise<SandboxReply> {
  try {
    const url = new URL(incoming.url ?? '/', 'http://sandbox')
    const method = incoming.method ?? 'GET'
    for (const [route, handler] of Object.entries(routes)) {
      const params = match(route, method, url.pathname)
      if (!params) continue
      const body = await read(incoming)
      return await handler({ method, url, params, headers: incoming.headers, body, form: new URLSearchParams(body) })
    }
    return json(404, { error: 'not_found' })
  } catch (error) {
    if (error instanceof SyntaxError) return json(400, { error: 'malformed_json' })
    return error instanceof Refusal ? error.reply : json(500, { error: 'server_error' })
  }
}

function match(route: string, method: string, pathname: string): Record<string, string> | undefined {
  const [wanted, template] = route.split(' ') as [string, string]
  if (wanted !== method) return undefined
  const names: string[] = []
  const pattern = template.replace(/\{(\w+)\}/g, (_place, name: string) => {
    names.push(name)
    return '([^/]+)'
  })
  const found = new RegExp(`^${pattern}$`).exec(pathname)
  return found
    ? Object.fromEntries(names.map((name, index) => [name, decodeURIComponent(found[index + 1]!)]))
    : undefined
}

async function read(incoming: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of incoming as AsyncIterable<Buffer>) {
    size += chunk.length
    if (size > MAX_BODY) throw new Refusal(json(413, { error: 'too_large' }))
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}
