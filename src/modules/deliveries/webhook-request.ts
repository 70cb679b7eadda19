import type { Clock } from '../../kernel/clock.ts'
import { toGatewayError } from '../../kernel/errors.ts'
import type { FailureCause } from '../../kernel/failure-causes.ts'
import { OutboundError } from '../../kernel/outbound-error.ts'
import type { OutboundHttp } from '../../kernel/outbound-http.ts'
import type { WebhookMessage } from './message.ts'
import type { DeliveryAttemptOutcome } from './model.ts'
import { webhookHeaders } from './signature.ts'

/** What one request to an endpoint came to. */
export interface WebhookResult {
  readonly attemptedAt: Date
  /** Null if there is no response. */
  readonly httpStatus: number | null
  readonly outcome: DeliveryAttemptOutcome
  /** Why there is no response, if it is known. */
  readonly failureCause: FailureCause | null
}

/** One message to one endpoint. */
export interface WebhookRequest {
  readonly url: string
  readonly signingSecret: string
  /** The `webhook-id`, the same for every attempt. */
  readonly deliveryId: string
  readonly message: WebhookMessage
}

const TIMEOUT_MS = 10_000
const MAX_RESPONSE_BYTES = 65_536

/** Sends a signed webhook (Standard Webhooks 1.0). A status below 300 accepts it. Does not throw. */
export async function sendWebhook(
  http: OutboundHttp,
  clock: Clock,
  { url, signingSecret, deliveryId, message }: WebhookRequest,
): Promise<WebhookResult> {
  const body = JSON.stringify(message)
  const attemptedAt = clock.now()
  try {
    const { status } = await http.send({
      method: 'POST',
      url,
      headers: { 'content-type': 'application/json', ...webhookHeaders(signingSecret, deliveryId, attemptedAt, body) },
      body,
      timeoutMs: TIMEOUT_MS,
      maxBytes: MAX_RESPONSE_BYTES,
      ignoresBody: true,
    })
    return { attemptedAt, httpStatus: status, outcome: status < 300 ? 'ACCEPTED' : 'REFUSED', failureCause: null }
  } catch (error) {
    const failureCause = error instanceof OutboundError ? error.failureCause : null
    return { attemptedAt, httpStatus: null, outcome: outcomeOfError(error), failureCause }
  }
}

function outcomeOfError(error: unknown): DeliveryAttemptOutcome {
  if (error instanceof OutboundError) return error.code === 'OUTBOUND_TIMEOUT' ? 'TIMED_OUT' : 'UNREACHABLE'
  return toGatewayError(error).code === 'ADDRESS_NOT_ALLOWED' ? 'ADDRESS_NOT_ALLOWED' : 'UNREACHABLE'
}
