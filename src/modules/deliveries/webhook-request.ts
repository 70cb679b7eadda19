import { SECOND_MS, type Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { OutboundError } from '../../kernel/outbound-error.ts'
import type { OutboundHttp, OutboundResponse } from '../../kernel/outbound-http.ts'
import { WEBHOOK_MAX_RETRY_AFTER_MS } from '../../kernel/retry.ts'
import { parseRetryAfter } from '../../kernel/retry-after.ts'
import { SET_ERRORS, type DeliveryAttemptOutcome, type SetError } from './model.ts'
import { webhookHeaders, type SigningKeys } from './signature.ts'

/** What one request to an endpoint came to. */
export interface WebhookResult {
  readonly attemptedAt: Date
  /** Null if there is no response. */
  readonly httpStatus: number | null
  readonly outcome: DeliveryAttemptOutcome
  /** Why there is no response, if it is known. */
  readonly failureCause: FailureCause | null
  /** How long the endpoint asks to wait before the next attempt. Only if it refused the message. */
  readonly retryAfterSeconds?: number | undefined
  /** Why the receiver rejects a SET. */
  readonly setError?: SetError | null
}

/** One message to one endpoint. */
export interface WebhookRequest {
  readonly url: string
  readonly signingKeys: readonly SigningKeys[]
  /** The `webhook-id`, the same for every attempt. */
  readonly deliveryId: string
  readonly body: string
}

/** Time limit for the connection of an attempt with its TLS handshake. */
export const CONNECT_TIMEOUT_MS = 3_000
/** Time limit for an attempt. */
const TIMEOUT_MS = 10_000
const MAX_RESPONSE_BYTES = 65_536
const MAX_RETRY_AFTER_SECONDS = WEBHOOK_MAX_RETRY_AFTER_MS / SECOND_MS

/** Sends a signed webhook (Standard Webhooks 1.0). A status below 300 accepts it. Does not throw. */
export function sendWebhook(
  http: OutboundHttp,
  clock: Clock,
  { url, signingKeys, deliveryId, body }: WebhookRequest,
): Promise<WebhookResult> {
  const attemptedAt = clock.now()
  const headers = {
    'content-type': 'application/json',
    ...webhookHeaders(signingKeys, deliveryId, attemptedAt, body),
  }
  return post(http, clock, { url, headers, body, attemptedAt })
}

/**
 * Pushes a SET (RFC 8935). A status below 300 accepts it; the standard has 202. A response with status 400 says why it is rejected.
 * Does not throw.
 */
export const pushEventToken = (
  http: OutboundHttp,
  clock: Clock,
  { url, body }: Pick<WebhookRequest, 'url' | 'body'>,
): Promise<WebhookResult> => {
  const headers = { 'content-type': 'application/secevent+jwt', accept: 'application/json' }
  return post(http, clock, { url, headers, body, attemptedAt: clock.now() }, readSetError)
}

interface Post {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: string
  readonly attemptedAt: Date
}

async function post(
  http: OutboundHttp,
  clock: Clock,
  { url, headers, body, attemptedAt }: Post,
  readError: (response: OutboundResponse) => SetError | null = () => null,
): Promise<WebhookResult> {
  try {
    const response = await http.send({
      method: 'POST',
      url,
      headers,
      body,
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_RESPONSE_BYTES,
      ignoresBody: true,
    })
    const result = { attemptedAt, httpStatus: response.status, failureCause: null }
    if (response.status < 300) return { ...result, outcome: 'ACCEPTED' }
    return {
      ...result,
      outcome: 'REFUSED',
      retryAfterSeconds: parseRetryAfter(response.headers['retry-after'], clock.now(), MAX_RETRY_AFTER_SECONDS),
      setError: readError(response),
    }
  } catch (error) {
    const failureCause = error instanceof OutboundError ? error.failureCause : null
    return { attemptedAt, httpStatus: null, outcome: outcomeOfError(error), failureCause }
  }
}

/** The `err` of a response (RFC 8935, 2.3). Its other members are text of the receiver and are not read. */
function readSetError({ status, text }: OutboundResponse): SetError | null {
  if (status !== 400) return null
  try {
    const { err } = JSON.parse(text) as { readonly err?: unknown }
    return SET_ERRORS.find((code) => code === String(err).toUpperCase()) ?? null
  } catch {
    return null
  }
}

function outcomeOfError(error: unknown): DeliveryAttemptOutcome {
  if (error instanceof OutboundError) return error.code === 'OUTBOUND_TIMEOUT' ? 'TIMED_OUT' : 'UNREACHABLE'
  return toGatewayError(error).code === 'ADDRESS_NOT_ALLOWED' ? 'ADDRESS_NOT_ALLOWED' : 'UNREACHABLE'
}
