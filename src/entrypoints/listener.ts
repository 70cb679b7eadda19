import type { Socket } from 'node:net'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isInside } from '../kernel/addresses.ts'
import { clientAddress, type IsTrustedProxy } from '../kernel/client-address.ts'
import { asGatewayError, GatewayError } from '../kernel/errors.ts'
import { readBody, type HttpReply, type HttpRequest, type Route } from '../kernel/http.ts'
import { newId } from '../kernel/ids.ts'
import { traceOf, withRequestId } from '../kernel/log.ts'
import { parseTarget } from '../kernel/request-target.ts'
import type { World } from '../kernel/world.ts'
import { createPipelining } from './pipelining.ts'
import { canBeSkipped, endLingering } from './unread-body.ts'
import { OPERATOR_PATHS, requestLine, type RequestLine } from './request-line.ts'

/** What is served, and as whom. */
export interface ListenerOptions {
  readonly routes: readonly Route[]
  readonly world: World
  /** The proxies that are believed about where a request came from. */
  readonly isTrustedProxy: IsTrustedProxy
  /** The origin that everybody uses; a request for another host is refused, unless any is served. */
  readonly issuer: string
  readonly servesAnyHost?: boolean
  /** How long an idle connection stays open, in milliseconds; node adds a second of its own. Longer than any proxy keeps it. */
  readonly keepAliveMs: number
}

/** A listener with its beginning and its end. */
export interface Listener {
  listen(port: number, host: string): Promise<number>
  /** Stops taking connections, lets requests under way finish for at most `graceMs`, then cuts the rest. */
  close(graceMs: number): Promise<void>
}

const LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  // How often the two above are looked after; node's own half minute would leave slow senders that long.
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 8_192,
}
/** When to try again after a 503 that does not say it itself. */
const RETRY_AFTER_S = 5
const SAFE_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  // Not no-referrer: with it browsers send `Origin: null` with our own forms.
  'referrer-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
}

const HTTPS_HEADERS: Readonly<Record<string, string>> = {
  'strict-transport-security': 'max-age=63072000; includeSubDomains',
}

/** The one HTTP listener: finds the route, gives each request an id, and turns whatever is thrown into one shape. */
export function createListener({
  routes,
  world,
  issuer,
  servesAnyHost = false,
  isTrustedProxy,
  keepAliveMs,
}: ListenerOptions): Listener {
  const table = routes.map((entry) => ({ ...entry, pattern: patternOf(entry.path) }))
  const origin = new URL(issuer)
  const safeHeaders = Object.entries(
    origin.protocol === 'https:' ? { ...SAFE_HEADERS, ...HTTPS_HEADERS } : SAFE_HEADERS,
  )

  async function answer(raw: HttpRequest['raw'], requestId: string, line: RequestLine): Promise<HttpReply> {
    const { request } = raw
    const url = parseTarget(request.url ?? '/', issuer)
    if (!url) return problem(new GatewayError('MALFORMED_REQUEST'), requestId)
    if (!servesAnyHost && request.headers.host !== origin.host && !OPERATOR_PATHS.has(url.pathname))
      return problem(new GatewayError('MALFORMED_REQUEST'), requestId, 421)
    const method = request.method ?? 'GET'
    const matching = table.filter(({ pattern }) => pattern.test(url.pathname))
    const found = matching.find(
      ({ methods }) => methods.includes(method) || (method === 'HEAD' && methods.includes('GET')),
    )
    if (!found)
      return matching.length > 0 ? notAllowed(matching, requestId) : problem(new GatewayError('NOT_FOUND'), requestId)
    line.route = found.path
    return found.handle({
      method,
      url,
      params: paramsOf(found.pattern, url.pathname),
      headers: request.headers,
      requestId,
      customerIp: customerIpOf(request),
      body: (maxBytes) => readBody(request, maxBytes),
      raw,
    })
  }

  /** A proxy that is not trusted gives everybody its own address, and its limits with it. */
  let warnedOfProxy = false
  function customerIpOf({ socket, headers }: IncomingMessage): string {
    const forwardedFor = headers['x-forwarded-for']?.toString()
    const address = clientAddress(socket.remoteAddress, forwardedFor, isTrustedProxy)
    if (forwardedFor !== undefined && !warnedOfProxy && isInside(address) && !isTrustedProxy(address)) {
      warnedOfProxy = true
      world.log.warn('proxy.not_trusted')
    }
    return address
  }

  async function serve(request: IncomingMessage, response: ServerResponse, requestId: string): Promise<void> {
    const line = requestLine(request, response, requestId, world)
    response.setHeader('x-request-id', requestId)
    if (closing) response.setHeader('connection', 'close')
    for (const [name, value] of safeHeaders) response.setHeader(name, value)
    let reply: HttpReply
    try {
      reply = await answer({ request, response }, requestId, line)
    } catch (thrown) {
      const error = asGatewayError(thrown)
      reply = problem(error, requestId)
    }
    if (reply !== 'HANDED_OVER' && !response.headersSent) {
      write(request, response, reply)
    }
    if (reply !== 'HANDED_OVER') line.error = reply.error
    line.write()
    // What was not read of a body would be taken for the next request.
    if (request.complete) return
    request.resume()
    if (reply !== 'HANDED_OVER' || canBeSkipped(request)) return
    ending.add(request.socket)
    if (response.writableFinished) request.socket.destroySoon()
    else response.once('finish', () => request.socket.destroySoon())
  }

  function write(request: IncomingMessage, response: ServerResponse, reply: Exclude<HttpReply, 'HANDED_OVER'>): void {
    const { body = '', ascii } = reply
    const isHead = request.method === 'HEAD'
    const closes = !request.complete && (reply.status === 413 || !canBeSkipped(request))
    if (closes) {
      ending.add(request.socket)
      response.setHeader('connection', 'close')
    }
    // A 503 says when to try again (RFC 9110, 15.6.4).
    if (reply.status === 503 && reply.headers?.['retry-after'] === undefined)
      response.setHeader('retry-after', String(reply.error?.retryAfterS ?? RETRY_AFTER_S))
    // A HEAD of what is never complete has no length to tell.
    if (!isHead || reply.body !== undefined)
      response.setHeader('content-length', ascii ? body.length : Buffer.byteLength(body))
    response.writeHead(reply.status, reply.headers)
    if (closes) endLingering(request, response, Buffer.from(isHead ? '' : body))
    else if (isHead) response.end()
    else response.end(body, ascii ? 'latin1' : 'utf8')
  }

  /** Connections that close after the answer which is on its way: no later request on them is served. */
  const ending = new WeakSet<Socket>()
  const inTurn = createPipelining()
  /** Clients that keep a connection open are told with each answer not to send more on it. */
  let closing = false
  function receive(request: IncomingMessage, response: ServerResponse): void {
    inTurn(request.socket, response, () => {
      if (ending.has(request.socket)) return
      const requestId = newId('req', world.randomness)
      void withRequestId(requestId, () =>
        serve(request, response, requestId).catch((error: unknown) => {
          world.log.error('request.broken', { trace: traceOf(error) })
          response.destroy()
        }),
      )
    })
  }
  const server: Server = createServer({ ...LIMITS, keepAliveTimeout: keepAliveMs }, receive)
  server.maxRequestsPerSocket = 10_000
  // An unknown expectation need not be met (RFC 9110, 10.1.1); node would refuse it without a line in the log.
  server.on('checkExpectation', receive)
  server.on('connect', (request: IncomingMessage, socket: Socket) => refuseTunnel(request, socket, world))

  return {
    listen: (port, host) =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          const address = server.address()
          resolve(typeof address === 'object' && address ? address.port : port)
        })
      }),
    close: (graceMs) =>
      new Promise((resolve) => {
        closing = true
        const cut = setTimeout(() => server.closeAllConnections(), graceMs)
        // A connection whose last answer went out meanwhile would be kept open for the next request.
        const idle = setInterval(() => server.closeIdleConnections(), 50)
        server.close(() => {
          clearTimeout(cut)
          clearInterval(idle)
          resolve()
        })
        server.closeIdleConnections()
      }),
  }
}

/** The one shape of an error outside GraphQL and OAuth: a code, its public message, and the id to ask about it by. */
function problem(error: GatewayError, requestId: string, status = error.facts.status): HttpReply {
  const { code, facts, retryAfterS } = error
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ...(retryAfterS !== undefined && { 'retry-after': String(retryAfterS) }),
    },
    body: JSON.stringify({ error: { code, message: facts.message, requestId } }),
    error,
  }
}

/** A 405 says which methods there are (RFC 9110, 15.5.6). */
function notAllowed(matching: readonly Route[], requestId: string): HttpReply {
  const methods = new Set(matching.flatMap((one) => one.methods))
  if (methods.has('GET')) methods.add('HEAD')
  const reply = problem(new GatewayError('METHOD_NOT_ALLOWED'), requestId)
  return reply === 'HANDED_OVER' ? reply : { ...reply, headers: { ...reply.headers, allow: [...methods].join(', ') } }
}

/** A tunnel through the gateway leads nowhere; its one line is that of any other request. */
function refuseTunnel(_request: IncomingMessage, socket: Socket, { log, randomness }: World): void {
  const requestId = newId('req', randomness)
  const { status } = new GatewayError('METHOD_NOT_ALLOWED').facts
  log.info('request', {
    requestId,
    route: 'unmatched',
    method: 'CONNECT',
    status,
    durationMs: 0,
    code: 'METHOD_NOT_ALLOWED',
  })
  socket.on('error', () => undefined)
  socket.end(`HTTP/1.1 ${status} Method Not Allowed\r\nx-request-id: ${requestId}\r\nconnection: close\r\n\r\n`)
}

function patternOf(path: string): RegExp {
  const source = path.replace(/\*$/, '.*').replace(/\{(\w+)\}/g, '(?<$1>[^/]{1,200})')
  return new RegExp(`^${source}$`)
}

const paramsOf = (pattern: RegExp, pathname: string): Record<string, string> => ({ ...pattern.exec(pathname)?.groups })
