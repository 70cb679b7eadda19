import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Agent, buildConnector, type Dispatcher } from 'undici'
import { createAddressLookup, type AddressLookup } from './address-lookup.ts'
import { parseAllowedUrl, urlFault, canConnectTo, type EgressRules } from './addresses.ts'
import { GatewayError } from './errors.ts'
import { ADDRESS_NOT_ALLOWED_CODE, findFailureCause } from './failure-causes.ts'

/** One request to an address that somebody else chose. */
export interface OutboundRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Total time until the last byte of the answer, in milliseconds. */
  readonly timeoutMs: number
  /** Time until its first byte, in milliseconds; the total where it is not given. */
  readonly firstByteTimeoutMs?: number
  /** Most bytes of the answer's body that are read; one more fails the request. */
  readonly maxBytes: number
}

/** The whole answer, read within the request's limits. */
export interface OutboundResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

/** What a pool of connections has of its own. */
export interface PoolOptions {
  readonly connections?: number
  /** What is shown in mutual TLS, both in PEM. */
  readonly clientIdentity?: { readonly certificate: string; readonly key: string } | undefined
}

/** How the gateway reaches addresses that others chose. Redirects are never followed. */
export interface OutboundHttp {
  /** Throws `ADDRESS_NOT_ALLOWED`, `BANK_TIMEOUT` or `BANK_UNAVAILABLE` with its `failureCause`; an answer of any status is returned. */
  send(request: OutboundRequest): Promise<OutboundResponse>
  /** True where a request may be sent to this URL. */
  isAllowedUrl(url: string): boolean
  /** Why no registration may hold this URL, as rules that read on from the name of its field; nothing where it may. */
  urlFault(url: string): string | undefined
  /** The same under the same rules with connections of its own, so that nobody waits behind another's. Ends with this one. */
  pool(options: PoolOptions): OutboundHttp
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 2_000
const DEFAULT_CONNECTIONS = 64

/**
 * The real thing: every address that `resolve` gives is checked at each connect, so a name that changes its mind gains
 * nothing, nor does one that has an address inside among others.
 */
export function createOutboundHttp(
  rules: EgressRules,
  lookup: AddressLookup = createAddressLookup(),
  { connections = DEFAULT_CONNECTIONS, clientIdentity, caCertificates }: PoolOptions & { caCertificates?: string } = {},
): OutboundHttp {
  const pools: OutboundHttp[] = []
  const agent = new Agent({
    connect: closeOnFirstError(
      buildConnector({
        lookup: guardedLookup(rules, lookup),
        timeout: CONNECT_TIMEOUT_MS,
        ...(clientIdentity && { cert: clientIdentity.certificate, key: clientIdentity.key }),
        ...(caCertificates && { ca: caCertificates }),
      }),
    ),
    connections,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    maxHeaderSize: 16_384,
  })
  return {
    isAllowedUrl: (url) => parseAllowedUrl(url, rules) !== undefined,
    urlFault: (url) => urlFault(url, rules),
    pool(options) {
      const childPool = createOutboundHttp(rules, lookup, { ...options, ...(caCertificates && { caCertificates }) })
      pools.push(childPool)
      return childPool
    },
    async close() {
      await Promise.all([agent.destroy(), ...pools.map((pool) => pool.close())])
    },
    send: (request) => {
      const url = parseAllowedUrl(request.url, rules)
      return url ? dispatchRequest(agent, url, request) : Promise.reject(new GatewayError('ADDRESS_NOT_ALLOWED'))
    },
  }
}

/** One exchange past the streams that `request` would make of it: banks' answers are short, and read to the end anyway. */
function dispatchRequest(
  agent: Agent,
  { origin, pathname, search }: URL,
  { method, headers, body, timeoutMs, firstByteTimeoutMs = timeoutMs, maxBytes }: OutboundRequest,
): Promise<OutboundResponse> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    let responseHead: Pick<OutboundResponse, 'status' | 'headers'> | undefined
    let controller: Dispatcher.DispatchController | undefined
    let failure: GatewayError | undefined

    function fail(error: GatewayError): void {
      failure ??= error
      clearTimeout(totalTimer)
      clearTimeout(firstByteTimer)
      reject(failure)
      controller?.abort(failure)
    }
    // A request starts once it has a connection.
    const onTimeout = (): void =>
      fail(new GatewayError('BANK_TIMEOUT', { failureCause: controller ? 'RESPONSE_TIMEOUT' : 'CONNECT_TIMEOUT' }))
    const totalTimer = setTimeout(onTimeout, timeoutMs)
    const firstByteTimer = firstByteTimeoutMs < timeoutMs ? setTimeout(onTimeout, firstByteTimeoutMs) : undefined

    agent.dispatch(
      // Deadlines are ours: undici's come up to a second late.
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
          clearTimeout(firstByteTimer)
          responseHead = { status, headers: flattenHeaders(rawHeaders) }
        },
        onResponseData(_controller, chunk) {
          size += chunk.length
          if (size > maxBytes) fail(responseTooLargeError())
          else chunks.push(chunk)
        },
        onResponseEnd() {
          clearTimeout(totalTimer)
          resolve({ ...responseHead!, text: Buffer.concat(chunks).toString('utf8') })
        },
        onResponseError(_controller, error) {
          fail(new GatewayError('BANK_UNAVAILABLE', { cause: error, failureCause: findFailureCause(error) }))
        },
      },
    )
  })
}

const responseTooLargeError = (): GatewayError =>
  new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'answer too large', failureCause: 'RESPONSE_TOO_LARGE' })

const addressNotAllowedError = (): Error =>
  Object.assign(new Error('address not allowed'), { code: ADDRESS_NOT_ALLOWED_CODE })

/**
 * In TLS 1.3 a server refuses a client's certificate after the handshake (RFC 8446, 4.4.2.4), by an alert and the end of the
 * connection. Without this, undici would report the end only.
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
    // Literals never reach a resolver, but undici may still ask for them.
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
