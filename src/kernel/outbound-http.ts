import { lookup } from 'node:dns'
import type { LookupFunction } from 'node:net'
import ipaddr from 'ipaddr.js'
import { Agent, request } from 'undici'
import { isAcceptableUrl, mayConnectTo, type EgressRules } from './addresses.ts'
import { GatewayError } from './errors.ts'

/** One request to an address that somebody else chose. */
export interface OutboundRequest {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE'
  readonly url: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: string
  /** Total time until the last byte of the answer, in milliseconds. */
  readonly timeoutMs: number
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
  /** Throws `ADDRESS_NOT_ALLOWED`, `BANK_TIMEOUT` or `BANK_UNAVAILABLE`; an answer of any status is returned. */
  send(request: OutboundRequest): Promise<OutboundResponse>
  /** True where a registration may hold this URL. */
  accepts(url: string): boolean
  /** The same under the same rules with connections of its own, so that nobody waits behind another's. Ends with this one. */
  pool(options: PoolOptions): OutboundHttp
  close(): Promise<void>
}

const CONNECT_TIMEOUT_MS = 3_000
const CONNECTIONS = 64

/**
 * The real thing: every address that `resolve` gives is checked at each connect, so a name that changes its mind gains
 * nothing, nor does one that has an address inside among others.
 */
export function createOutboundHttp(
  rules: EgressRules,
  resolve: typeof lookup = lookup,
  { connections = CONNECTIONS, identity, authorities }: PoolOptions & { authorities?: string } = {},
): OutboundHttp {
  const pools: OutboundHttp[] = []
  const agent = new Agent({
    connect: {
      lookup: guardedLookup(rules, resolve),
      timeout: CONNECT_TIMEOUT_MS,
      ...(identity && { cert: identity.certificate, key: identity.key }),
      ...(authorities && { ca: authorities }),
    },
    connections,
    pipelining: 1,
    keepAliveTimeout: 10_000,
    maxHeaderSize: 16_384,
  })
  return {
    accepts: (url) => isAcceptableUrl(url, rules),
    pool(own) {
      const made = createOutboundHttp(rules, resolve, { ...own, ...(authorities && { authorities }) })
      pools.push(made)
      return made
    },
    async close() {
      await Promise.all([agent.destroy(), ...pools.map((pool) => pool.close())])
    },
    async send({ method, url, headers, body, timeoutMs, maxBytes }) {
      if (!isAcceptableUrl(url, rules)) throw new GatewayError('ADDRESS_NOT_ALLOWED')
      const signal = AbortSignal.timeout(timeoutMs)
      try {
        const answer = await request(url, {
          method,
          headers: { ...headers },
          body: body ?? null,
          dispatcher: agent,
          signal,
          headersTimeout: timeoutMs,
          bodyTimeout: timeoutMs,
        })
        return {
          status: answer.statusCode,
          headers: flat(answer.headers),
          text: await readCapped(answer.body, maxBytes),
        }
      } catch (error) {
        if (error instanceof GatewayError) throw error
        if (signal.aborted) throw new GatewayError('BANK_TIMEOUT', { cause: error })
        throw new GatewayError('BANK_UNAVAILABLE', { cause: error })
      }
    },
  }
}

function guardedLookup(rules: EgressRules, resolve: typeof lookup): LookupFunction {
  return (hostname, options, callback) => {
    // Literals never reach a resolver, but undici may still ask for them.
    if (ipaddr.isValid(hostname) && !mayConnectTo(hostname, rules))
      return void callback(new Error('address not allowed'), '')
    resolve(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return void callback(error, '')
      const first = addresses[0]
      if (!first || addresses.some(({ address }) => !mayConnectTo(address, rules)))
        return void callback(new Error('address not allowed'), '')
      if (options.all) return void callback(null, addresses)
      callback(null, first.address, first.family)
    })
  }
}

async function readCapped(body: AsyncIterable<Buffer>, maxBytes: number): Promise<string> {
  const chunks: Buffer[] = []
  let size = 0
  for await (const chunk of body) {
    size += chunk.length
    if (size > maxBytes) throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'answer too large' })
    chunks.push(chunk)
  }
  return Buffer.concat(chunks).toString('utf8')
}

const flat = (headers: Record<string, string | string[] | undefined>): Record<string, string> =>
  Object.fromEntries(
    Object.entries(headers).flatMap(([name, value]) =>
      value === undefined ? [] : [[name, Array.isArray(value) ? value.join(', ') : value]],
    ),
  )
