import { GatewayError } from '../kernel/errors.ts'
import type { ConnectorTools } from './connector.ts'

/** Everything a standard may call: an operation's name, its method and its path. What is not here cannot be called. */
export type AllowedPaths = Readonly<Record<string, readonly [method: 'GET' | 'POST' | 'DELETE', template: string]>>

/** One call to a bank: what fills its path, its headers and its body. */
export interface BankCall {
  /** Values for the `{name}` places of the path. */
  readonly params?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** A further page of the same operation, as the bank gave it. */
  readonly page?: string
}

/** A bank's answer below 300, with the body still as text. */
export interface BankAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

const TIMEOUT_MS = 4_000
const MAX_BYTES = 1_048_576
const SAFE_SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._~:-]{1,128}$/

/**
 * The one way to a bank's account API. Answers below 400 are returned, all others become a `GatewayError` without any
 * of the bank's words: 401 and 403 `RECONNECT_REQUIRED`, 404 `BALANCE_NOT_PROVIDED`, 429 `BANK_RATE_LIMITED` with its
 * Retry-After, 5xx `BANK_UNAVAILABLE`, the rest `BANK_REFUSED`.
 */
export function bankApi<P extends AllowedPaths>(paths: P, apiBase: string, tools: ConnectorTools) {
  return async (operation: keyof P & string, call: BankCall = {}): Promise<BankAnswer> => {
    const [method, template] = paths[operation]!
    const url =
      call.page === undefined ? address(apiBase, template, call.params ?? {}) : samePage(apiBase, template, call.page)
    const began = tools.clock.now().getTime()
    const answer = await tools.http.send({
      method,
      url,
      headers: {
        accept: 'application/json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_BYTES,
    })
    tools.log.trace('bank.call', {
      connectorId: tools.connectorId,
      operation,
      status: answer.status,
      bytes: answer.text.length,
      durationMs: tools.clock.now().getTime() - began,
    })
    if (answer.status < 300) return answer
    throw refusal(answer)
  }
}

/** A uuid for the header by which bank and gateway find the same request in both logs. */
export function interactionId(tools: ConnectorTools): string {
  const hex = tools.randomness.bytes(16).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`
}

function address(apiBase: string, template: string, params: Readonly<Record<string, string>>): string {
  const path = template.replace(/\{(\w+)\}/g, (_place, name: string) => {
    const value = params[name] ?? ''
    if (!SAFE_SEGMENT.test(value)) throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'id unfit for a path' })
    return encodeURIComponent(value)
  })
  return `${apiBase.replace(/\/$/, '')}${path}`
}

/** A link to a next page is followed as it is, but only to the same path of the same bank. */
function samePage(apiBase: string, template: string, page: string): string {
  const base = new URL(address(apiBase, template, {}))
  const next = URL.parse(page, base.href)
  if (next?.origin !== base.origin || next.pathname !== base.pathname)
    throw new GatewayError('BANK_ANSWER_INVALID', { internal: 'next page lies elsewhere' })
  return next.href
}

function refusal({ status, headers }: BankAnswer): GatewayError {
  const internal = `bank answered ${status}`
  if (status === 401 || status === 403) return new GatewayError('RECONNECT_REQUIRED', { internal })
  if (status === 404) return new GatewayError('BALANCE_NOT_PROVIDED', { internal })
  if (status === 429) {
    const seconds = Number(headers['retry-after'])
    return new GatewayError('BANK_RATE_LIMITED', {
      internal,
      ...(seconds > 0 && { retryAfterS: Math.min(seconds, 86_400) }),
    })
  }
  if (status >= 500) return new GatewayError('BANK_UNAVAILABLE', { internal })
  return new GatewayError('BANK_REFUSED', { internal })
}
