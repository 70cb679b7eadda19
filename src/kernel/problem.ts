import { addMs, SECOND_MS } from './clock.ts'
import { ERROR_CODES, type ErrorCategory, type ErrorCode, type GatewayError, type Party } from './errors.ts'
import { RETRY_AFTER_SECONDS } from './retry-after.ts'

/** Why a value is missing, reduced or old, with the same facts for every code: `Problem` of the contract. */
export interface Problem {
  readonly code: ErrorCode
  readonly category: ErrorCategory
  readonly message: string
  readonly retryable: boolean
  /** ISO 8601; `null` if waiting does not help. */
  readonly retryAt: string | null
  readonly resolvableBy: Party
}

/** The problem of a code, with the time at which the same request can succeed. */
export function problemOf(code: ErrorCode, retryAt: Date | null = null): Problem {
  const { category, message, retryable, resolvableBy } = ERROR_CODES[code]
  return { code, category, message, retryable, retryAt: retryAt?.toISOString() ?? null, resolvableBy }
}

/** The problem of an error that occurred at `now`: to be tried again when the error says, or soon if that can help. */
export function problemOfError({ code, definition, retryAfterSeconds }: GatewayError, now: Date): Problem {
  const seconds = retryAfterSeconds ?? (definition.retryable ? RETRY_AFTER_SECONDS.retryable : undefined)
  return problemOf(code, seconds === undefined ? null : addMs(now, seconds * SECOND_MS))
}
