import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Agent, buildConnector, type Dispatcher } from 'undici'
import { createAddressLookup, type AddressLookup } from './address-lookup.ts'
import { acceptableUrl, addressFault, mayConnectTo, type EgressRules } from './addresses.ts'
import { GatewayError } from './errors.ts'
import { ADDRESS_NOT_ALLOWED_CODE, failureCauseOf } from './failure-causes.ts'

/** One request to an address that somebody else chose. */
export interface OutboundRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Total time until the last byte of the answer, in milliseconds. */
  readonly timeoutMs: number
  /** Time until its first byte, in milliseconds; the total where it is not given. */
  readonly firstByteMs?: number
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
  readonly identity?: { readonly certificate: string; readonly key: string } | undefined
}

/** How the gateway reaches addresses that others chose. Redirects are never followed. */
export interface OutboundHttp {
  /** Throws `ADDRESS_NOT_ALLOWED`, `BANK_TIMEOUT` or `BANK_UNAVAILABLE` with its `failureCause`; an answer of any status is returned. */
  send(request: OutboundRequest): Promise<OutboundResponse>
  /** True where a request may be sent to this URL. */
  accepts(url: string): boolean
  /** Why no registration may hold this URL, as rules that read on from the name of its field; nothing where it may. */
  addressFault(url: string): string | undefined
  /** The same under the same rules with connections of its own, so that nobody waits behind another's. Ends with this one. */
  pool(options: PoolOptions): OutboundHttp
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 2_000
const CONNECTIONS = 64

/**
 * The real thing: every address that `resolve` gives is checked at each connect, so a name that changes its mind gains
 * nothing, nor does one that has an address inside among others.
 */
export function createOutboundHttp(
  rules: EgressRules,
  resolve: AddressLookup = createAddressLookup(),
  { connections = CONNECTIONS, identity, authorities }: PoolOptions & { authorities?: string } = {},
): OutboundHttp {
  const pools: OutboundHttp[] = []
  const agent = new Agent({
    connect: endingAtFirstError(
      buildConnector({
        lookup: guardedLookup(rules, resolve),
        timeout: CONNECT_TIMEOUT_MS,
        ...(identity && { cert: identity.certificate, key: identity.key }),
        ...(authorities && { ca: authorities }),
      }),
    ),
    connections,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    maxHeaderSize: 16_384,
  })
  return {
    accepts: (url) => acceptableUrl(url, rules) !== undefined,
    addressFault: (url) => addressFault(url, rules),
    pool(own) {
      const made = createOutboundHttp(rules, resolve, { ...own, ...(authorities && { authorities }) })
      pools.push(made)
      return made
    },
    async close() {
      await Promise.all([agent.destroy(), ...pools.map((pool) => pool.close())])
    },
    send: (asked) => {
      const url = acceptableUrl(asked.url, rules)
      return url ? exchange(agent, url, asked) : Promise.reject(new GatewayError('ADDRESS_NOT_ALLOWED'))
    },
  }
}

/** One exchange past the streams that `request` would make of it: banks' answers are short, and read to the end anyway. */
function exchange(
  agent: Agent,
  { origin, pathname, search }: URL,
  { method, headers, body, timeoutMs, firstByteMs = timeoutMs, maxBytes }: OutboundRequest,
): Promise<OutboundResponse> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let size = 0
    let head: Pick<OutboundResponse, 'status' | 'headers'> | undefined
    let controller: Dispatcher.DispatchController | undefined
    let failure: GatewayError | undefined

    function fail(error: GatewayError): void {
      failure ??= error
      clearTimeout(whole)
      clearTimeout(first)
      reject(failure)
      controller?.abort(failure)
    }
    // A request starts once it has a connection.
    const late = (): void =>
      fail(new GatewayError('BANK_TIMEOUT', { failureCause: controller ? 'RESPONSE_TIMEOUT' : 'CONNECT_TIMEOUT' }))
    const whole = setTimeout(late, timeoutMs)
    const first = firstByteMs < timeoutMs ? setTimeout(late, firstByteMs) : undefined

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
        onResponseStart(_controller, status, fields) {
          if (status < 200) return
          clearTimeout(first)
          head = { status, headers: flat(fields) }
        },
        onResponseData(_controller, chunk) {
          size += chunk.length
          if (size > maxBytes) fail(tooLarge())
          else chunks.push(chunk)
        },
        onResponseEnd() {
          clearTimeout(whole)
          resolve({ ...head!, text: Buffer.concat(chunks).toString('utf8') })
        },
        onResponseError(_controller, error) {
          fail(new GatewayError('BANK_UNAVAILABLE', { cause: error, failureCause: failureCauseOf(error) }))
        },
      },
    )
  })
}

const tooLarge = (): GatewayError =>
  new GatewayError('BANK_RESPONSE_INVALID', { internal: 'answer too large', failureCause: 'RESPONSE_TOO_LARGE' })

const notAllowed = (): Error => Object.assign(new Error('address not allowed'), { code: ADDRESS_NOT_ALLOWED_CODE })

/**
 * In TLS 1.3 a server refuses a client's certificate after the handshake (RFC 8446, 4.4.2.4), by an alert and the end of the
 * connection. Without this, undici would report the end only.
 */
const endingAtFirstError =
  (connect: buildConnector.connector): buildConnector.connector =>
  (options, callback) => {
    connect(options, (...made) => {
      const [, socket] = made
      socket?.once('error', () => socket.destroy())
      callback(...made)
    })
  }

function guardedLookup(rules: EgressRules, resolve: AddressLookup): LookupFunction {
  return (hostname, options, callback) => {
    // Literals never reach a resolver, but undici may still ask for them.
    if (ipaddr.isValid(hostname) && !mayConnectTo(hostname, rules)) return void callback(notAllowed(), '')
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return void callback(error, '')
      const first = addresses[0]
      if (!first || addresses.some(({ address }) => !mayConnectTo(address, rules)))
        return void callback(notAllowed(), '')
      if (options.all) return void callback(null, addresses)
      callback(null, first.address, first.family)
    })
  }
}

const flat = (headers: Record<string, string | string[] | undefined>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
    ),
  )
