import type { FailureCause } from './failure-causes.ts'

/** How a request of the gateway to another party failed. */
export type OutboundErrorCode =
  'OUTBOUND_TIMEOUT' | 'OUTBOUND_UNREACHABLE' | 'OUTBOUND_RESPONSE_TOO_LARGE' | 'OUTBOUND_RESPONSE_UNDECODABLE'

/**
 * A request to another party without a usable response. Internal: the sender of the request knows its recipient and turns
 * the error into one of its own. It is no `GatewayError`, so that a code of it can never be part of a public response.
 */
export class OutboundError extends Error {
  readonly code: OutboundErrorCode
  /** Why there is no response. */
  readonly failureCause: FailureCause

  constructor(code: OutboundErrorCode, failureCause: FailureCause, cause?: unknown) {
    super(`${code}: ${failureCause}`, cause === undefined ? undefined : { cause })
    this.name = 'OutboundError'
    this.code = code
    this.failureCause = failureCause
  }
}
