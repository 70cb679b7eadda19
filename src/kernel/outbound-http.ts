import type { LookupFunction } from 'node:net'
import { getCACertificates, type TLSSocket } from 'node:tls'
import ipaddr from 'ipaddr.js'
import { Agent, buildConnector, type Dispatcher } from 'undici'
import { systemTimers, type Timers } from './clock.ts'
import { createAddressLookup, type AddressLookup } from './address-lookup.ts'
import { parseAllowedUrl, urlFault, canConnectTo, type EgressRules } from './addresses.ts'
import { GatewayError } from './errors.ts'
import { ADDRESS_NOT_ALLOWED_CODE, findFailureCause } from './failure-causes.ts'
import { OutboundError } from './outbound-error.ts'
import { createBodyReader, type BodyReader } from './response-body.ts'

/** One request to an address that another party chose. */
export interface OutboundRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Time limit until the last byte of the response, in milliseconds. */
  readonly timeoutMs: number
  /** Time limit until the response begins, in milliseconds; `timeoutMs` by default. */
  readonly firstByteTimeoutMs?: number
  /** A response body with more bytes, before or after decoding, fails the request. */
  readonly maxBytes: number
  /**
   * Whether status and headers of the response suffice, of any status or of those for which it is true. Then `text` is not
   * decoded, and it is empty if the body is too large or not complete in time, which closes the connection and does not fail the
   * request.
   */
  readonly ignoresBody?: boolean | ((status: number) => boolean)
}

/** A complete response, with its content encoding (gzip, deflate or br) removed. Headers with several values are joined by commas. */
export interface OutboundResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

/** The options of a connection pool. */
export interface PoolOptions {
  readonly connections?: number
  /** Time limit for a connection with its TLS handshake, in milliseconds; 2,000 by default. */
  readonly connectTimeoutMs?: number
  /** The client certificate and key for mutual TLS, both in PEM. */
  readonly clientIdentity?: { readonly certificate: string; readonly key: string } | undefined
  /** Certificate authorities that are trusted besides the machine's own, in PEM. */
  readonly trustAnchors?: readonly string[] | undefined
}

/** The options of a client. */
interface ClientOptions extends PoolOptions {
  /** The certificate authorities to trust, in PEM, in place of the machine's own. */
  readonly caCertificates?: string
  readonly timers?: Timers
}

/** An HTTP client for addresses that others choose. It never follows redirects. */
export interface OutboundHttp {
  /**
   * Returns a response of any status. Throws `ADDRESS_NOT_ALLOWED` without sending anything if the rules forbid the URL, and
   * an `OutboundError` if there is no complete response.
   */
  send(request: OutboundRequest): Promise<OutboundResponse>
  /**
   * When the certificate of an https server ends, by a handshake with the same rules and trust as a request; null for http. Throws as
   * `send` does.
   */
  certificateExpiry(url: string): Promise<Date | null>
  /** Whether requests to this URL are allowed. */
  isAllowedUrl(url: string): boolean
  /** The violated rules, worded to follow the name of the field, or `undefined` if the URL may be registered. */
  urlFault(url: string): string | undefined
  /** A client with the same rules and its own connections, so that one bank cannot block another. Closed with this one. */
  pool(options: PoolOptions): OutboundHttp
  close(): Promise<void>
}

const DEFAULT_CONNECT_TIMEOUT_MS = 2_000
const DEFAULT_CONNECTIONS = 64

/**
 * Creates the client. Every address that `lookup` returns is checked at each connect, which defeats DNS rebinding. A name with
 * any forbidden address is refused.
 */
export function createOutboundHttp(
  rules: EgressRules,
  lookup: AddressLookup = createAddressLookup(),
  {
    connections = DEFAULT_CONNECTIONS,
    connectTimeoutMs = DEFAULT_CONNECT_TIMEOUT_MS,
    clientIdentity,
    trustAnchors,
    caCertificates,
    timers = systemTimers,
  }: ClientOptions = {},
): OutboundHttp {
  const pools: OutboundHttp[] = []
  const connectOptions = {
    lookup: guardedLookup(rules, lookup),
    timeout: connectTimeoutMs,
    ...(clientIdentity && { cert: clientIdentity.certificate, key: clientIdentity.key }),
    ...trustedAuthorities(caCertificates, trustAnchors),
  }
  const agent = new Agent({
    connect: closeOnFirstError(buildConnector(connectOptions)),
    connections,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    maxHeaderSize: 16_384,
  })
  return {
    isAllowedUrl: (url) => parseAllowedUrl(url, rules) !== undefined,
    urlFault: (url) => urlFault(url, rules),
    pool(options) {
      const childPool = createOutboundHttp(rules, lookup, {
        ...options,
        timers,
        ...(caCertificates && { caCertificates }),
      })
      pools.push(childPool)
      return childPool
    },
    certificateExpiry(url) {
      const allowed = parseAllowedUrl(url, rules)
      if (!allowed) return Promise.reject(new GatewayError('ADDRESS_NOT_ALLOWED'))
      // A resumed session would not verify the certificate again.
      return readCertificateExpiry(buildConnector({ ...connectOptions, maxCachedSessions: 0 }), allowed)
    },
    async close() {
      await Promise.all([agent.destroy(), ...pools.map((pool) => pool.close())])
    },
    send: (request) => {
      const url = parseAllowedUrl(request.url, rules)
      return url
        ? dispatchRequest(agent, timers, url, request)
        : Promise.reject(new GatewayError('ADDRESS_NOT_ALLOWED'))
    },
  }
}

function readCertificateExpiry(
  connect: buildConnector.connector,
  { protocol, hostname, host, port }: URL,
): Promise<Date | null> {
  if (protocol === 'http:') return Promise.resolve(null)
  return new Promise((resolve, reject) => {
    connect({ protocol, hostname, host, port: port === '' ? '443' : port, servername: hostname }, (error, socket) => {
      if (error) return void reject(new OutboundError('OUTBOUND_UNREACHABLE', findFailureCause(error), error))
      resolve(new Date((socket as TLSSocket).getPeerCertificate().valid_to))
      socket.once('error', () => undefined).destroy()
    })
  })
}

/** The `ca` option of TLS, which replaces the machine's own authorities; absent if only those are trusted. */
function trustedAuthorities(
  caCertificates: string | undefined,
  trustAnchors: readonly string[] = [],
): { readonly ca?: string[] } {
  if (caCertificates === undefined && trustAnchors.length === 0) return {}
  return { ca: [...(caCertificates === undefined ? getCACertificates('default') : [caCertificates]), ...trustAnchors] }
}

/** Uses `dispatch` because `request` of undici would create streams; responses are short and are read to the end anyway. */
function dispatchRequest(
  agent: Agent,
  timers: Timers,
  { origin, pathname, search }: URL,
  { method, headers, body, timeoutMs, firstByteTimeoutMs = timeoutMs, maxBytes, ignoresBody }: OutboundRequest,
): Promise<OutboundResponse> {
  return new Promise((resolve, reject) => {
    let responseBody: BodyReader | undefined
    let controller: Dispatcher.DispatchController | undefined
    let failure: OutboundError | undefined
    /** The response, if it suffices without its body. */
    let sufficient: OutboundResponse | undefined

    function fail(error: OutboundError): void {
      failure ??= error
      totalTimer.clear()
      firstByteTimer?.clear()
      if (sufficient) resolve(sufficient)
      else reject(failure)
      responseBody?.abort()
      controller?.abort(failure)
    }
    // `controller` is set once the request has a connection.
    const onTimeout = (): void =>
      fail(new OutboundError('OUTBOUND_TIMEOUT', controller ? 'RESPONSE_TIMEOUT' : 'CONNECT_TIMEOUT'))
    const totalTimer = timers.setTimeout(onTimeout, timeoutMs)
    const firstByteTimer = firstByteTimeoutMs < timeoutMs ? timers.setTimeout(onTimeout, firstByteTimeoutMs) : undefined

    agent.dispatch(
      // undici's own timeouts can be a second late, so ours are used.
      {
        origin,
        path: pathname + search,
        method,
        headers: { ...headers },
        body: body ?? null,
        headersTimeout: 0,
        bodyTimeout: 0,
      },
      {
        onRequestStart(started) {
          controller = started
          if (failure) started.abort(failure)
        },
        onResponseStart(_controller, status, rawHeaders) {
          if (status < 200) return
          firstByteTimer?.clear()
          const responseHeaders = flattenHeaders(rawHeaders)
          const isSufficient = typeof ignoresBody === 'function' ? ignoresBody(status) : ignoresBody
          if (isSufficient) sufficient = { status, headers: responseHeaders, text: '' }
          responseBody = createBodyReader(isSufficient ? undefined : responseHeaders['content-encoding'], maxBytes, {
            onError: fail,
            onText(text) {
              totalTimer.clear()
              resolve({ status, headers: responseHeaders, text })
            },
          })
        },
        onResponseData(_controller, chunk) {
          responseBody!.write(chunk)
        },
        onResponseEnd() {
          responseBody!.end()
        },
        onResponseError(_controller, error) {
          fail(new OutboundError('OUTBOUND_UNREACHABLE', findFailureCause(error), error))
        },
      },
    )
  })
}

const addressNotAllowedError = (): Error =>
  Object.assign(new Error('address not allowed'), { code: ADDRESS_NOT_ALLOWED_CODE })

/**
 * In TLS 1.3 a server rejects a client certificate after the handshake (RFC 8446, 4.4.2.4), with an alert before it closes the
 * connection. Without this, undici would report only the closed connection.
 */
const closeOnFirstError =
  (connect: buildConnector.connector): buildConnector.connector =>
  (options, callback) => {
    connect(options, (...result) => {
      const [, socket] = result
      socket?.once('error', () => socket.destroy())
      callback(...result)
    })
  }

function guardedLookup(rules: EgressRules, lookup: AddressLookup): LookupFunction {
  return (hostname, options, callback) => {
    // undici also passes IP literals to the lookup.
    if (ipaddr.isValid(hostname) && !canConnectTo(hostname, rules)) return void callback(addressNotAllowedError(), '')
    lookup(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return void callback(error, '')
      const first = addresses[0]
      if (!first || addresses.some(({ address }) => !canConnectTo(address, rules)))
        return void callback(addressNotAllowedError(), '')
      if (options.all) return void callback(null, addresses)
      callback(null, first.address, first.family)
    })
  }
}

const flattenHeaders = (headers: Record<string, string | string[] | undefined>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
    ),
  )
