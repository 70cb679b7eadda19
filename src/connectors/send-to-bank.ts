import { GatewayError, type ErrorCode } from '../kernel/errors.ts'
import { OutboundError, type OutboundErrorCode } from '../kernel/outbound-error.ts'
import type { OutboundHttp, OutboundRequest, OutboundResponse } from '../kernel/outbound-http.ts'

const BANK_CODES: Readonly<Record<OutboundErrorCode, ErrorCode>> = {
  OUTBOUND_TIMEOUT: 'BANK_TIMEOUT',
  OUTBOUND_UNREACHABLE: 'BANK_UNAVAILABLE',
  OUTBOUND_RESPONSE_TOO_LARGE: 'BANK_RESPONSE_INVALID',
  OUTBOUND_RESPONSE_UNDECODABLE: 'BANK_RESPONSE_INVALID',
}

/**
 * Sends a request to a bank and returns a response of any status. Throws `BANK_TIMEOUT`, `BANK_UNAVAILABLE` or
 * `BANK_RESPONSE_INVALID` with a `failureCause` if there is no usable response, and `ADDRESS_NOT_ALLOWED`.
 */
export const sendToBank = (http: Pick<OutboundHttp, 'send'>, request: OutboundRequest): Promise<OutboundResponse> =>
  withBankErrors(() => http.send(request))

/** Runs one use of the network at a bank's address. Its `OutboundError` becomes the bank's error, with the same cause. */
export async function withBankErrors<T>(use: () => Promise<T>): Promise<T> {
  try {
    return await use()
  } catch (error) {
    throw error instanceof OutboundError ? toBankError(error) : error
  }
}

const toBankError = (error: OutboundError): GatewayError =>
  new GatewayError(BANK_CODES[error.code], {
    internalMessage: error.message,
    failureCause: error.failureCause,
    cause: error,
  })
