import type { Socket } from 'node:net'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isInternalAddress } from '../kernel/addresses.ts'
import { resolveClientAddress, type IsTrustedProxy } from '../kernel/client-address.ts'
import { toGatewayError, GatewayError } from '../kernel/errors.ts'
import { readBody, type HttpResponse, type HttpRequest, type Route } from '../kernel/http.ts'
import { newId } from '../kernel/ids.ts'
import { errorTrace, withRequestId } from '../kernel/log.ts'
import { parseRequestTarget } from '../kernel/request-target.ts'
import type { World } from '../kernel/world.ts'
import { RETRY_AFTER_SECONDS, retryAfterHeader } from '../kernel/retry-after.ts'
import { createConnectionDrain, type DrainLimits } from './connection-drain.ts'
import { createPipelineQueue } from './pipelining.ts'
import { canDrain, endLingering } from './lingering-close.ts'
import { OPERATOR_PATHS, createRequestLog, type MeasuredRequest, type RequestLog } from './request-log.ts'

/** Options of an HTTP server. */
export interface HttpServerOptions {
  readonly routes: readonly Route[]
  readonly world: World
  /** Whether the proxy at an address is trusted to name the client's address. */
  readonly isTrustedProxy: IsTrustedProxy
  /** Is called once for each request, when its response begins. */
  readonly onRequest?: (request: MeasuredRequest) => void
  /** The public origin. A request for another host gets 421, unless `allowsAnyHost` is true. */
  readonly issuer: string
  readonly allowsAnyHost?: boolean
  /** How long an idle connection stays open, in milliseconds; must exceed the proxies' own timeout. Node adds a second. */
  readonly keepAliveMs: number
}

/** An HTTP server that can be started and stopped. */
export interface HttpServer {
  /** Starts listening; returns the port. */
  listen(port: number, host: string): Promise<number>
  /** Stops accepting connections, and closes the open ones within the limits, idle ones first. */
  close(limits: DrainLimits): Promise<void>
}

const SERVER_LIMITS = {
  headersTimeout: 10_000,
  requestTimeout: 15_000,
  // How often node checks the two timeouts above. Its default of 30 s would extend them by that much.
  connectionsCheckingInterval: 1_000,
  maxHeaderSize: 8_192,
}
const SECURITY_HEADERS: Readonly<Record<string, string>> = {
  'x-content-type-options': 'nosniff',
  // Not no-referrer, with which browsers send `Origin: null` with our own forms.
  'referrer-policy': 'same-origin',
  'x-frame-options': 'DENY',
  'cross-origin-opener-policy': 'same-origin',
  'cache-control': 'no-store',
}

const HTTPS_HEADERS: Readonly<Record<string, string>> = {
  'strict-transport-security': 'max-age=63072000; includeSubDomains',
}

/** Creates an HTTP server. It assigns each request an ID, finds the route, and turns errors into a uniform JSON response. */
export function createHttpServer({
  routes,
  world,
  onRequest: measure,
  issuer,
  allowsAnyHost = false,
  isTrustedProxy,
  keepAliveMs,
}: HttpServerOptions): HttpServer {
  const compiledRoutes = routes.map((entry) => ({ ...entry, pattern: compilePath(entry.path) }))
  /** The routes of each literal path: most requests go to one of them. */
  const literalRoutes = new Map(
    compiledRoutes.filter(({ path }) => !/[{*]/.test(path)).map(({ path }) => [path, findRoutes(path)] as const),
  )
  function findRoutes(pathname: string): typeof compiledRoutes {
    return compiledRoutes.filter(({ pattern }) => pattern.test(pathname))
  }
  const origin = new URL(issuer)
  const securityHeaders = Object.entries(
    origin.protocol === 'https:' ? { ...SECURITY_HEADERS, ...HTTPS_HEADERS } : SECURITY_HEADERS,
  )

  async function dispatch(raw: HttpRequest['raw'], requestId: string, requestLog: RequestLog): Promise<HttpResponse> {
    const { request } = raw
    const url = parseRequestTarget(request.url ?? '/', issuer)
    if (!url) return errorReply(new GatewayError('MALFORMED_REQUEST'), requestId)
    if (!allowsAnyHost && request.headers.host !== origin.host && !OPERATOR_PATHS.has(url.pathname))
      return errorReply(new GatewayError('MALFORMED_REQUEST'), requestId, 421)
    const method = request.method ?? 'GET'
    const matching = literalRoutes.get(url.pathname) ?? findRoutes(url.pathname)
    const matched = matching.find(
      ({ methods }) => methods.includes(method) || (method === 'HEAD' && methods.includes('GET')),
    )
    if (!matched)
      return matching.length > 0
        ? methodNotAllowedReply(matching, requestId)
        : errorReply(new GatewayError('NOT_FOUND'), requestId)
    requestLog.route = matched.path
    return matched.handle({
      method,
      url,
      params: paramsOf(matched.pattern, url.pathname),
      headers: request.headers,
      requestId,
      remoteAddress: clientIpOf(request),
      body: (maxBytes) => readBody(request, maxBytes),
      raw,
    })
  }

  /** Behind an untrusted proxy all clients have the proxy's address and share its limits, so this is logged once. */
  let hasWarnedAboutProxy = false
  function clientIpOf({ socket, headers }: IncomingMessage): string {
    const forwardedFor = headers['x-forwarded-for']?.toString()
    const address = resolveClientAddress(socket.remoteAddress, forwardedFor, isTrustedProxy)
    if (forwardedFor !== undefined && !hasWarnedAboutProxy && isInternalAddress(address) && !isTrustedProxy(address)) {
      hasWarnedAboutProxy = true
      world.log.warn('proxy.untrusted')
    }
    return address
  }

  async function serve(request: IncomingMessage, response: ServerResponse, requestId: string): Promise<void> {
    const requestLog = createRequestLog(request, response, requestId, world, measure)
    response.setHeader('x-request-id', requestId)
    for (const [name, value] of securityHeaders) response.setHeader(name, value)
    let reply: HttpResponse
    try {
      reply = await dispatch({ request, response }, requestId, requestLog)
    } catch (thrown) {
      const error = toGatewayError(thrown)
      reply = errorReply(error, requestId)
    }
    if (reply !== 'HIJACKED' && !response.headersSent) {
      writeReply(request, response, reply)
    }
    if (reply !== 'HIJACKED') requestLog.error = reply.error
    requestLog.write()
    // Unread bytes of a body would be parsed as the next request.
    if (request.complete) return
    request.resume()
    if (reply !== 'HIJACKED' || canDrain(request)) return
    closingSockets.add(request.socket)
    if (response.writableFinished) request.socket.destroySoon()
    else response.once('finish', () => request.socket.destroySoon())
  }

  function writeReply(
    request: IncomingMessage,
    response: ServerResponse,
    reply: Exclude<HttpResponse, 'HIJACKED'>,
  ): void {
    const { body = '', isAscii } = reply
    const isHead = request.method === 'HEAD'
    const closesConnection = !request.complete && (reply.status === 413 || !canDrain(request))
    if (closesConnection) {
      closingSockets.add(request.socket)
      response.setHeader('connection', 'close')
    }
    // A 503 states when to retry (RFC 9110, 15.6.4).
    if (reply.status === 503 && reply.headers?.['retry-after'] === undefined)
      response.setHeader('retry-after', String(reply.error?.retryAfterSeconds ?? RETRY_AFTER_SECONDS.unavailable))
    // A HEAD response without a body has no known length.
    if (!isHead || reply.body !== undefined)
      response.setHeader('content-length', isAscii ? body.length : Buffer.byteLength(body))
    response.writeHead(reply.status, reply.headers)
    if (closesConnection) endLingering(request, response, Buffer.from(isHead ? '' : body), world.timers)
    else if (isHead) response.end()
    else response.end(body, isAscii ? 'latin1' : 'utf8')
  }

  const server: Server = createServer({ ...SERVER_LIMITS, keepAliveTimeout: keepAliveMs })
  const connections = createConnectionDrain(server, world.timers)
  /** Connections that close after the current response. Later requests on them are not served. */
  const closingSockets = new WeakSet<Socket>()
  const enqueue = createPipelineQueue()
  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    connections.track(request, response)
    enqueue(request.socket, response, () => {
      if (closingSockets.has(request.socket)) return
      const requestId = newId('req', world.randomness)
      void withRequestId(requestId, () =>
        serve(request, response, requestId).catch((error: unknown) => {
          world.log.error('request.aborted', { trace: errorTrace(error) })
          response.destroy()
        }),
      )
    })
  }
  server.on('request', onRequest)
  server.maxRequestsPerSocket = 10_000
  // An unknown expectation may be ignored (RFC 9110, 10.1.1); node would reject it without a log line.
  server.on('checkExpectation', onRequest)
  server.on('connect', (request: IncomingMessage, socket: Socket) => rejectConnect(request, socket, world))

  return {
    listen: (port, host) =>
      new Promise((resolve, reject) => {
        server.once('error', reject)
        server.listen(port, host, () => {
          const address = server.address()
          resolve(typeof address === 'object' && address ? address.port : port)
        })
      }),
    close: (limits) => connections.drain(limits),
  }
}

/** The error response outside GraphQL and OAuth: code, public message and request ID. */
function errorReply(error: GatewayError, requestId: string, status = error.definition.httpStatus): HttpResponse {
  const { code, definition, retryAfterSeconds } = error
  return {
    status,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      ...retryAfterHeader(retryAfterSeconds),
    },
    body: JSON.stringify({ error: { code, message: definition.message, requestId } }),
    error,
  }
}

/** A 405 with the allowed methods (RFC 9110, 15.5.6). */
function methodNotAllowedReply(matching: readonly Route[], requestId: string): HttpResponse {
  const methods = new Set(matching.flatMap((entry) => entry.methods))
  if (methods.has('GET')) methods.add('HEAD')
  const reply = errorReply(new GatewayError('METHOD_NOT_ALLOWED'), requestId)
  return reply === 'HIJACKED' ? reply : { ...reply, headers: { ...reply.headers, allow: [...methods].join(', ') } }
}

/** Rejects CONNECT with 405, and logs it like any other request. */
function rejectConnect(_request: IncomingMessage, socket: Socket, { log, randomness }: World): void {
  const requestId = newId('req', randomness)
  const { httpStatus } = new GatewayError('METHOD_NOT_ALLOWED').definition
  log.info('request', {
    requestId,
    route: 'unmatched',
    method: 'CONNECT',
    status: httpStatus,
    durationMs: 0,
    code: 'METHOD_NOT_ALLOWED',
  })
  socket.on('error', () => undefined)
  socket.end(`HTTP/1.1 ${httpStatus} Method Not Allowed\r\nx-request-id: ${requestId}\r\nconnection: close\r\n\r\n`)
}

function compilePath(path: string): RegExp {
  const source = path.replace(/\*$/, '.*').replace(/\{(\w+)\}/g, '(?<$1>[^/]{1,200})')
  return new RegExp(`^${source}$`)
}

const paramsOf = (pattern: RegExp, pathname: string): Record<string, string> => ({ ...pattern.exec(pathname)?.groups })
