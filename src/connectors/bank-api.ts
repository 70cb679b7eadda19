import type { z } from 'zod'
import { GatewayError, type ErrorCode } from '../kernel/errors.ts'
import type { Randomness } from '../kernel/ids.ts'
import type { OutboundRequest, OutboundResponse } from '../kernel/outbound-http.ts'
import { parseRetryAfter } from '../kernel/retry-after.ts'
import { parseBankJson } from '../kernel/wire.ts'
import type { ConnectorTools } from './connector.ts'
import type { AllowedOperations } from './endpoints.ts'
import type { RequestSigner } from './http-signatures.ts'
import { readErrorCode, type ErrorCodes } from './error-bodies.ts'
import { readAllPages, resolveNextLink, type PagedList } from './pagination.ts'
import { sendToBank } from './send-to-bank.ts'
import { countFaults, isOpaqueId } from './wire-members.ts'

/** The variable parts of one call to a bank: path parameters, query, headers and body. */
export interface BankCall {
  /** Values of the `{name}` placeholders in the path. */
  readonly params?: Readonly<Record<string, string>>
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: unknown
  /** The address of a further page of the same list, from `resolveNextLink`; replaces path and query. */
  readonly pageUrl?: string
  /** A status that is returned like a response, because the caller knows what to do. */
  readonly returnedStatus?: number
}

/** A bank's response with a status below 300, or the `returnedStatus` of its call; the body is not parsed yet. */
export interface BankResponse {
  /** The address of the request. */
  readonly url: string
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
}

/** For a request, unless the registration allows reads more time. */
const TIMEOUT_MS = 4_000
const FIRST_BYTE_MS = 3_000
const MAX_BYTES = 1_048_576
const MAX_RETRY_AFTER_S = 86_400

/**
 * Returns the function that calls a bank's account API. It returns responses with a status below 300 and throws a
 * `GatewayError` without any text of the bank for all others. The error code follows from the codes in the body, in any
 * shape, or else from the status: 401 and 403 `RECONNECT_REQUIRED`, 404 `BALANCE_NOT_PROVIDED`, 429 `BANK_RATE_LIMITED` with
 * Retry-After, 5xx `BANK_UNAVAILABLE`, any other `BANK_REFUSED`.
 */
export function createBankApi<P extends AllowedOperations>(
  operations: P,
  apiBase: string,
  tools: ConnectorTools,
  errorCodes: ErrorCodes,
  sign: RequestSigner = () => ({}),
) {
  const { readTimeoutMs = 0 } = tools
  return async (operation: keyof P & string, call: BankCall = {}): Promise<BankResponse> => {
    const [method, template] = operations[operation]!
    const url = call.pageUrl ?? buildUrl(apiBase, template, call)
    const startedAtMs = tools.clock.now().getTime()
    const body = call.body === undefined ? undefined : JSON.stringify(call.body)
    const headers = {
      accept: 'application/json',
      ...(body !== undefined && { 'content-type': 'application/json' }),
      ...call.headers,
    }
    const response = await sendToApi(tools.http, apiBase, {
      method,
      url,
      headers: { ...headers, ...sign({ method, url, headers, body: body ?? '' }) },
      ...(body !== undefined && { body }),
      timeoutMs: Math.max(TIMEOUT_MS, readTimeoutMs),
      firstByteTimeoutMs: Math.max(FIRST_BYTE_MS, readTimeoutMs),
      maxBytes: MAX_BYTES,
    })
    tools.log.trace('bank.call', {
      connectorId: tools.connectorId,
      operation,
      status: response.status,
      bytes: response.text.length,
      durationMs: tools.clock.now().getTime() - startedAtMs,
    })
    if (response.status < 300 || response.status === call.returnedStatus) return { ...response, url }
    throw toBankError(response, errorCodes, tools.clock.now())
  }
}

/**
 * Sends a request to the API at `apiBase`, whose IDs and cursors can make an address that is not allowed, such as one that is too
 * long. That is a fault of the bank's response, and none of the registration.
 */
async function sendToApi(
  http: ConnectorTools['http'],
  apiBase: string,
  request: OutboundRequest,
): Promise<OutboundResponse> {
  if (http.isAllowedUrl(apiBase) && !http.isAllowedUrl(request.url))
    throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'an id or cursor makes no acceptable address' })
  return sendToBank(http, request)
}

/** The function that calls a bank. */
type CallBank<O extends string> = (operation: O, call?: BankCall) => Promise<BankResponse>

/**
 * Parses a response, and reports `INVALID_MEMBER` for each optional member of it that cannot be read. Throws
 * `BANK_RESPONSE_INVALID` if a required one cannot.
 */
export function parseResponse<T extends z.ZodType>(
  schema: T,
  { text }: Pick<BankResponse, 'text'>,
  report: ConnectorTools['report'],
): z.output<T> {
  const { result, faults } = countFaults(() => parseBankJson(schema, text))
  for (let fault = 0; fault < faults; fault++) report('INVALID_MEMBER')
  return result
}

/** How a standard states a list and the link to the next page. */
export interface LinkedPageFormat<T extends z.ZodType> {
  readonly schema: T
  readonly entriesOf: (page: z.output<T>) => readonly unknown[]
  /** The link as the bank sent it, of any type; `undefined` or `null` on the last page. */
  readonly nextOf: (page: z.output<T>) => unknown
  /** Other addresses by which the bank's links may name the list at this one. */
  readonly aliasesOf?: (listUrl: string) => readonly string[]
}

/** Reads a list whose pages name the address of the next one, as `readAllPages` does. Every page has the first one's path. */
export function readLinkedPages<O extends string, T extends z.ZodType>(
  callBank: CallBank<O>,
  operation: O,
  { query, ...call }: BankCall,
  { schema, entriesOf, nextOf, aliasesOf }: LinkedPageFormat<T>,
  report: ConnectorTools['report'],
): Promise<PagedList> {
  let firstUrl = ''
  return readAllPages<string>(
    async (pageUrl) => {
      const response = await callBank(operation, { ...call, ...(pageUrl ? { pageUrl } : query && { query }) })
      if (pageUrl === undefined) firstUrl = response.url
      const page = parseResponse(schema, response, report)
      const link = nextOf(page)
      if (link === undefined || link === null || link === '') return { entries: entriesOf(page), next: undefined }
      const next = typeof link === 'string' ? resolveNextLink(firstUrl, link, aliasesOf?.(firstUrl)) : 'UNUSABLE'
      return { entries: entriesOf(page), next }
    },
    report,
    (pageUrl) => pageUrl ?? firstUrl,
  )
}

/** A random UUID for the header that correlates a request in the logs of the bank and the gateway. */
export const createInteractionId = ({ randomness }: ConnectorTools): string => createUuid(randomness)

/** A random UUID (RFC 9562, version 4). */
export function createUuid(randomness: Randomness): string {
  const hex = randomness.bytes(16).toString('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20)}`
}

/** A new 256-bit secret for one sign-in, such as a code verifier or a nonce, in base64url. */
export const createSecret = (tools: ConnectorTools): string => tools.randomness.bytes(32).toString('base64url')

/**
 * Swallows an error that means that the bank no longer has the consent, so that ending it succeeds. Rethrows any other
 * error: a bank that rejects the gateway's credentials has not ended the consent.
 */
export function ignoreIfEnded(error: unknown): void {
  if (!(error instanceof GatewayError) || !ENDED_CODES.has(error.code)) throw error
}
const ENDED_CODES: ReadonlySet<ErrorCode> = new Set(['BALANCE_NOT_PROVIDED', 'BANK_REFUSED'])

function buildUrl(apiBase: string, template: string, { params = {}, query }: BankCall): string {
  const path = template.replace(/\{(\w+)\}/g, (_placeholder, name: string) => {
    const value = params[name] ?? ''
    if (!isOpaqueId(value))
      throw new GatewayError('BANK_RESPONSE_INVALID', { internalMessage: 'id is not a safe path segment' })
    return encodeURIComponent(value)
  })
  const queryString = query ? `?${new URLSearchParams(query).toString()}` : ''
  return `${apiBase.replace(/\/$/, '')}${path}${queryString}`
}

function toBankError(response: Omit<BankResponse, 'url'>, errorCodes: ErrorCodes, now: Date): GatewayError {
  const { status, headers } = response
  const code = readErrorCode(response, errorCodes) ?? errorCodeForStatus(status)
  const retryAfterSeconds =
    code === 'BANK_QUOTA_EXHAUSTED'
      ? secondsUntilQuotaReset(now)
      : parseRetryAfter(headers['retry-after'], now, MAX_RETRY_AFTER_S)
  return new GatewayError(code, {
    internalMessage: `bank returned ${status}`,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
  })
}

function errorCodeForStatus(status: number): ErrorCode {
  if (status === 401 || status === 403) return 'RECONNECT_REQUIRED'
  if (status === 404) return 'BALANCE_NOT_PROVIDED'
  if (status === 429) return 'BANK_RATE_LIMITED'
  return status >= 500 ? 'BANK_UNAVAILABLE' : 'BANK_REFUSED'
}

/**
 * The seconds until one hour after midnight UTC. Banks reset quotas at midnight in their own time zone, which the gateway does
 * not know.
 */
function secondsUntilQuotaReset(now: Date): number {
  const msSinceMidnight = now.getTime() % 86_400_000
  return Math.ceil((86_400_000 - msSinceMidnight) / 1_000) + 3_600
}
