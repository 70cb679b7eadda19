import { z } from 'zod'
import { GatewayError, type ErrorCode } from '../kernel/errors.ts'
import { parseJson } from '../kernel/wire.ts'
import type { ConnectorTools } from './connector.ts'

/** Everything a standard may call: an operation's name, its method and its path. What is not here cannot be called. */
export type AllowedOperations = Readonly<
  Record<string, readonly [method: 'GET' | 'POST' | 'PUT' | 'DELETE', template: string]>
>

/** One call to a bank: what fills its path, its headers and its body. */
export interface BankCall {
  /** Values for the `{name}` places of the path. */
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** A further page of the same operation, as the bank gave it. */
  readonly pageUrl?: string
}

/** A bank's answer below 300, with the body still as text. */
export interface BankResponse {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

/** What a standard's error bodies say beyond their status: where their codes stand, and which of them we know. */
export interface ErrorMapping {
  /** Reads an error body; each code is looked up in `codes` and then dropped. */
  readonly schema: z.ZodType<readonly string[]>
  readonly codes: ReadonlyMap<string, ErrorCode>
}

const TIMEOUT_MS = 4_000
const FIRST_BYTE_MS = 3_000
const MAX_BYTES = 1_048_576
const SAFE_SEGMENT = /^(?!\.{1,2}$)[A-Za-z0-9._~:-]{1,128}$/
const MAX_RETRY_AFTER_S = 86_400

/**
 * The one way to a bank's account API. Answers below 300 are returned, all others become a `GatewayError` without any of
 * the bank's words: what the standard's own code stands for, or else by status: 401 and 403 `RECONNECT_REQUIRED`, 404
 * `BALANCE_NOT_PROVIDED`, 429 `BANK_RATE_LIMITED` with its Retry-After, 5xx `BANK_UNAVAILABLE`, the rest `BANK_REFUSED`.
 */
export function createBankApi<P extends AllowedOperations>(
  operations: P,
  apiBase: string,
  tools: ConnectorTools,
  errorMapping: ErrorMapping,
) {
  return async (operation: keyof P & string, call: BankCall = {}): Promise<BankResponse> => {
    const [method, template] = operations[operation]!
    const url =
      call.pageUrl === undefined ? buildUrl(apiBase, template, call) : resolvePageUrl(apiBase, template, call.pageUrl)
    const startedAtMs = tools.clock.now().getTime()
    const response = await tools.http.send({
      method,
      url,
      headers: {
        accept: 'application/json',
        ...(call.body === undefined ? {} : { 'content-type': 'application/json' }),
        ...call.headers,
      },
      ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      timeoutMs: TIMEOUT_MS,
      firstByteTimeoutMs: FIRST_BYTE_MS,
      maxBytes: MAX_BYTES,
    })
    tools.log.trace('bank.call', {
      connectorId: tools.connectorId,
      operation,
      status: response.status,
      bytes: response.text.length,
      durationMs: tools.clock.now().getTime() - startedAtMs,
    })
    if (response.status < 300) return response
    throw toGatewayError(response, errorMapping, tools.clock.now())
  }
}

/** A uuid for the header by which bank and gateway find the same request in both logs. */
export function createInteractionId(tools: ConnectorTools): string {
  const hex = tools.randomness.bytes(16).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`
}

/** A fresh secret for one sign-in, such as a code verifier or a nonce. */
export const createSecret = (tools: ConnectorTools): string => tools.randomness.bytes(32).toString('base64url')

/**
 * Lets the end of a consent count as done where the bank says that there is none any more. Throws anything else: a bank
 * that does not know who asks has ended nothing.
 */
export function ignoreIfEnded(error: unknown): void {
  if (!(error instanceof GatewayError) || !ENDED_CODES.has(error.code)) throw error
}
const ENDED_CODES: ReadonlySet<ErrorCode> = new Set(['BALANCE_NOT_PROVIDED', 'BANK_REFUSED'])

function buildUrl(apiBase: string, template: string, { params = {}, query }: BankCall): string {
  const path = template.replace(/\{(\w+)\}/g, (_place, name: string) => {
    const value = params[name] ?? ''
    if (!SAFE_SEGMENT.test(value))
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'id unfit for a path' })
    return encodeURIComponent(value)
  })
  const queryString = query ? `?${new URLSearchParams(query).toString()}` : ''
  return `${apiBase.replace(/\/$/, '')}${path}${queryString}`
}

/** A link to a next page is followed as it is, but only to the same path of the same bank. */
function resolvePageUrl(apiBase: string, template: string, pageUrl: string): string {
  const base = new URL(buildUrl(apiBase, template, {}))
  const next = URL.parse(pageUrl, base.href)
  if (next?.origin !== base.origin || next.pathname !== base.pathname)
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'next page lies elsewhere' })
  return next.href
}

function toGatewayError(
  { status, headers, text }: BankResponse,
  { schema, codes }: ErrorMapping,
  now: Date,
): GatewayError {
  const internal = `bank answered ${status}`
  const bankCodes = schema.safeParse(parseJson(text)).data ?? []
  const code =
    bankCodes.map((bankCode) => codes.get(bankCode)).find((mapped) => mapped !== undefined) ??
    errorCodeForStatus(status)
  const retryAfterSeconds =
    code === 'BANK_QUOTA_EXHAUSTED' ? secondsUntilQuotaReset(now) : parseRetryAfterS(headers['retry-after'], now)
  return new GatewayError(code, {
    internalMessage: internal,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  })
}

function errorCodeForStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'RECONNECT_REQUIRED'
  if (status === 404) return 'BALANCE_NOT_PROVIDED'
  if (status === 429) return 'BANK_RATE_LIMITED'
  return status >= 500 ? 'BANK_UNAVAILABLE' : 'BANK_REFUSED'
}

/** Retry-After in seconds, as delay or as date (RFC 9110, 10.2.3), of at most a day. */
function parseRetryAfterS(text: string | undefined, now: Date): number | undefined {
  if (text === undefined) return undefined
  const seconds = /^\d{1,9}$/.test(text) ? Number(text) : Math.ceil((Date.parse(text) - now.getTime()) / 1_000)
  return seconds > 0 ? Math.min(seconds, MAX_RETRY_AFTER_S) : undefined
}

/** Banks count by their own midnight, which is not known: a day is over for all of them an hour after ours. */
function secondsUntilQuotaReset(now: Date): number {
  const msSinceMidnight = now.getTime() % 86_400_000
  return Math.ceil((86_400_000 - msSinceMidnight) / 1_000) + 3_600
}
