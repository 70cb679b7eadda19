import { addMs, MINUTE_MS, SECOND_MS, type Clock } from '../kernel/clock.ts'
import { GatewayError } from '../kernel/errors.ts'
import type { OutboundResponse } from '../kernel/outbound-http.ts'
import { parseRetryAfter } from '../kernel/retry-after.ts'
import type { ConnectorTools } from './connector.ts'
import { sendToBank } from './send-to-bank.ts'

const TIMEOUT_MS = 4 * SECOND_MS
const FIRST_BYTE_MS = 3 * SECOND_MS
const MAX_BYTES = 1_048_576
const MAX_RETRY_AFTER_S = 86_400
/** A client credentials token is reused for this long. */
const CLIENT_TOKEN_TTL_MS = 4 * MINUTE_MS

/** A token of the gateway itself, which several calls use. */
export interface ReusedToken {
  get(): Promise<string>
  /** Forgets the token, because the bank may have revoked it early. */
  drop(): void
}

/** Creates a token that `request` gets, and gets again after four minutes. */
export function createReusedToken(request: () => Promise<string>, clock: Clock): ReusedToken {
  let current: { readonly token: string; readonly expiresAt: Date } | undefined
  return {
    async get() {
      const now = clock.now()
      if (!current || current.expiresAt <= now)
        current = { token: await request(), expiresAt: addMs(now, CLIENT_TOKEN_TTL_MS) }
      return current.token
    },
    drop() {
      current = undefined
    },
  }
}

/** A call to an endpoint of a bank's event stream. */
export interface EventsApiCall {
  readonly method: 'GET' | 'POST'
  readonly url: string
  readonly body?: unknown
  /** A status that is returned like a response, because the caller knows what to do. */
  readonly returnedStatus?: number
}

/** Calls an endpoint of a bank's event stream. */
export type EventsApi = (call: EventsApiCall) => Promise<OutboundResponse>

/**
 * Creates the calls to the endpoints of a bank's event stream, with the gateway's own token or, without one, its certificate alone.
 * They return responses with a status below 300. Redirects are not followed. They throw `BANK_RATE_LIMITED` with the seconds to
 * wait, `BANK_UNAVAILABLE` for 5xx, `BANK_REFUSED` for any other status, and the errors of `sendToBank`.
 */
export function createEventsApi(
  { http, clock }: Pick<ConnectorTools, 'http' | 'clock'>,
  token: ReusedToken | undefined,
): EventsApi {
  return async ({ method, url, body, returnedStatus }) => {
    const response = await sendToBank(http, {
      method,
      url,
      headers: {
        accept: 'application/json',
        ...(body !== undefined && { 'content-type': 'application/json' }),
        ...(token && { authorization: `Bearer ${await token.get()}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      timeoutMs: TIMEOUT_MS,
      firstByteTimeoutMs: FIRST_BYTE_MS,
      maxBytes: MAX_BYTES,
    })
    const { status, headers } = response
    if (status < 300 || status === returnedStatus) return response
    if (status === 401 || status === 403) token?.drop()
    const internalMessage = `the endpoint of the event stream returned ${status}`
    if (status === 429) {
      const retryAfterSeconds = parseRetryAfter(headers['retry-after'], clock.now(), MAX_RETRY_AFTER_S)
      throw new GatewayError('BANK_RATE_LIMITED', {
        internalMessage,
        ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
      })
    }
    throw new GatewayError(status >= 500 ? 'BANK_UNAVAILABLE' : 'BANK_REFUSED', { internalMessage })
  }
}
