import { isDatabaseUnavailable } from './database-errors.ts'
import type { FailureCause } from './failure-causes.ts'
import { RETRY_AFTER_SECONDS } from './retry-after.ts'

/** Who can act, for example to resolve an error. */
export type Party = 'CLIENT' | 'CUSTOMER' | 'BANK' | 'OPERATOR'
/** Kind of an error. */
export type ErrorCategory = 'INPUT' | 'AUTHENTICATION' | 'AUTHORIZATION' | 'STATE' | 'BANK' | 'LIMIT' | 'INTERNAL'

interface ErrorCodeDefinition {
  httpStatus: number
  category: ErrorCategory
  retryable: boolean
  resolvableBy: Party
  message: string
}

const defineCode = (
  httpStatus: number,
  category: ErrorCategory,
  retryable: boolean,
  resolvableBy: Party,
  message: string,
): ErrorCodeDefinition => ({ httpStatus, category, retryable, resolvableBy, message })

/** Every error code. Codes are public API: they are added, never renamed. `ErrorCode` of schema.graphql is written from this table. */
export const ERROR_CODES = {
  MALFORMED_REQUEST: defineCode(400, 'INPUT', false, 'CLIENT', 'The request could not be read.'),
  INVALID_INPUT: defineCode(400, 'INPUT', false, 'CLIENT', 'The request has an invalid value.'),
  PAYLOAD_TOO_LARGE: defineCode(413, 'LIMIT', false, 'CLIENT', 'The request body is too large.'),
  OPERATION_TOO_LARGE: defineCode(400, 'LIMIT', false, 'CLIENT', 'The operation exceeds a limit, or costs too much.'),
  OPERATION_NOT_REGISTERED: defineCode(
    403,
    'AUTHORIZATION',
    false,
    'CLIENT',
    'This client may send registered operations only.',
  ),
  PERSISTED_QUERY_NOT_FOUND: defineCode(404, 'INPUT', true, 'CLIENT', 'PersistedQueryNotFound'),
  UNSUPPORTED_MEDIA_TYPE: defineCode(
    415,
    'INPUT',
    false,
    'CLIENT',
    'The body is not of a content type that is accepted here, in UTF-8 and without a content encoding.',
  ),
  NOT_ACCEPTABLE: defineCode(
    406,
    'INPUT',
    false,
    'CLIENT',
    'The Accept header names none of application/graphql-response+json, application/json and text/event-stream.',
  ),
  METHOD_NOT_ALLOWED: defineCode(405, 'INPUT', false, 'CLIENT', 'The method is not allowed here.'),
  NOT_FOUND: defineCode(404, 'INPUT', false, 'CLIENT', 'Not found, or not visible to the caller.'),
  UNAUTHENTICATED: defineCode(401, 'AUTHENTICATION', false, 'CLIENT', 'A valid access token is needed.'),
  CLIENT_SUSPENDED: defineCode(
    401,
    'AUTHENTICATION',
    false,
    'OPERATOR',
    'This client is suspended. Its tokens work again when an admin of the gateway resumes it.',
  ),
  INVALID_DPOP_PROOF: defineCode(
    401,
    'AUTHENTICATION',
    true,
    'CLIENT',
    'The DPoP proof is not valid for this request.',
  ),
  UNAUTHORIZED_FIELD_OR_TYPE: defineCode(
    403,
    'AUTHORIZATION',
    false,
    'CLIENT',
    'The token does not authorize this field.',
  ),
  FORBIDDEN: defineCode(403, 'AUTHORIZATION', false, 'CLIENT', 'This caller may not do that.'),
  CONSENT_NOT_ACTIVE: defineCode(
    403,
    'STATE',
    false,
    'CUSTOMER',
    'The consent is not active. The customer has to consent again. Reserved: not returned yet.',
  ),
  NOT_CONSENTED: defineCode(403, 'AUTHORIZATION', false, 'CUSTOMER', 'The customer did not consent to share this.'),
  PLATFORM_NOT_ALLOWED: defineCode(403, 'AUTHORIZATION', false, 'BANK', 'The bank does not serve this platform.'),
  STATE_CONFLICT: defineCode(409, 'STATE', false, 'CLIENT', 'The status of the object does not allow this.'),
  LAST_ADMIN: defineCode(
    409,
    'STATE',
    false,
    'CLIENT',
    'After this change, no client could administer the gateway. An administering client is ACTIVE, holds clients:manage, has operationPolicy ANY and at least 1000 points per minute, and has authenticated with one of its keys. To replace a key, authenticate with the new key first, then remove the old one. Otherwise, first register or resume another administering client.',
  ),
  INTERACTION_EXPIRED: defineCode(400, 'STATE', false, 'CUSTOMER', 'This page is no longer valid. Please start again.'),
  BANK_UNAVAILABLE: defineCode(503, 'BANK', true, 'BANK', 'The bank does not respond.'),
  BANK_TIMEOUT: defineCode(503, 'BANK', true, 'BANK', 'The bank did not respond in time.'),
  BANK_RESPONSE_INVALID: defineCode(502, 'BANK', true, 'BANK', 'The bank sent an invalid response.'),
  BANK_RATE_LIMITED: defineCode(503, 'BANK', true, 'BANK', 'The bank allows no more requests for now.'),
  BANK_REFUSED: defineCode(502, 'BANK', false, 'OPERATOR', 'The bank refused the request.'),
  BANK_QUOTA_EXHAUSTED: defineCode(
    503,
    'BANK',
    true,
    'BANK',
    'The bank allows no more requests for this customer today while they are not present.',
  ),
  RECONNECT_REQUIRED: defineCode(403, 'BANK', false, 'CUSTOMER', 'The customer has to connect this bank again.'),
  BALANCE_NOT_PROVIDED: defineCode(
    404,
    'BANK',
    false,
    'BANK',
    'The bank does not provide this balance for this account.',
  ),
  BALANCE_INCONSISTENT: defineCode(502, 'BANK', false, 'BANK', 'The bank sent a balance that contradicts itself.'),
  CURRENCY_NOT_SUPPORTED: defineCode(
    404,
    'BANK',
    false,
    'OPERATOR',
    'The balance is in a currency that is not supported: no ISO 4217 currency that an account can be held in.',
  ),
  ACCOUNT_UNAVAILABLE: defineCode(503, 'BANK', true, 'BANK', 'The bank does not provide this account at the moment.'),
  CUSTOMER_PRESENCE_REQUIRED: defineCode(
    403,
    'STATE',
    false,
    'CLIENT',
    'The request needs a signed statement, at most 60 s old, that the customer is present.',
  ),
  INVALID_PRESENCE_STATEMENT: defineCode(
    403,
    'INPUT',
    false,
    'CLIENT',
    'The statement that the customer is present is not valid.',
  ),
  DISCLOSURE_BUDGET_EXHAUSTED: defineCode(
    429,
    'LIMIT',
    true,
    'CLIENT',
    'The limit of this account for the last 24 hours, over all clients, is used up.',
  ),
  BALANCE_LINE_LIMIT_REACHED: defineCode(
    429,
    'LIMIT',
    true,
    'CLIENT',
    'An account can have two lines and one change of them in 24 hours, over all clients.',
  ),
  OTHER_BALANCE_TYPE_DISCLOSED: defineCode(
    403,
    'LIMIT',
    true,
    'CLIENT',
    'Another balance type of this account was disclosed in the last 24 hours.',
  ),
  THRESHOLD_NOT_A_MULTIPLE: defineCode(400, 'INPUT', false, 'CLIENT', 'The amount is not a multiple of the step.'),
  IDEMPOTENCY_KEY_REUSED: defineCode(409, 'INPUT', false, 'CLIENT', 'The key was used with another input.'),
  EVENT_REJECTED: defineCode(400, 'INPUT', false, 'BANK', 'The event could not be accepted.'),
  ADDRESS_NOT_ALLOWED: defineCode(400, 'INPUT', false, 'CLIENT', 'This address may not be used.'),
  RATE_LIMITED: defineCode(429, 'LIMIT', true, 'CLIENT', 'Too many requests.'),
  OVERLOADED: defineCode(503, 'LIMIT', true, 'OPERATOR', 'The gateway is overloaded at the moment.'),
  DATABASE_UNAVAILABLE: defineCode(
    503,
    'INTERNAL',
    true,
    'OPERATOR',
    'The gateway cannot reach its database at the moment.',
  ),
  INTERNAL: defineCode(500, 'INTERNAL', true, 'OPERATOR', 'The gateway failed.'),
} as const satisfies Record<string, ErrorCodeDefinition>

/** One of the codes. */
export type ErrorCode = keyof typeof ERROR_CODES

/** One fault of the caller's input: its path, in field names of the schema, and what is allowed there. */
export interface InputFault {
  readonly path: readonly string[]
  readonly message: string
  /** Set if it differs from the code of the whole error. */
  readonly code?: ErrorCode
}

/**
 * The only error that modules throw on purpose. `message` is the public text of the table; `internalMessage` is for the log
 * and never leaves the process. Neither may contain input or text of a bank.
 */
export class GatewayError extends Error {
  readonly code: ErrorCode
  readonly internalMessage: string | undefined
  /** Path in the caller's input, in field names of the schema. */
  readonly path: readonly string[] | undefined
  /** Every fault of the caller's input. Empty if code and path say it all. */
  readonly faults: readonly InputFault[]
  /** Seconds after which the same request can succeed. Undefined if not known. */
  readonly retryAfterSeconds: number | undefined
  /** Why an address could not be reached. For operators and the owner of the address, never for a platform. */
  readonly failureCause: FailureCause | undefined
  /** The error code that the sender of an event gets (RFC 8935, 2.4). Undefined for `invalid_request`. */
  readonly eventErrorCode: 'invalid_state' | undefined
  /** Whether the failure of an event counts against its sender. Undefined: as its code says. */
  readonly countsAgainstSender: boolean | undefined

  constructor(
    code: ErrorCode,
    details: {
      internalMessage?: string
      path?: readonly string[]
      faults?: readonly InputFault[]
      retryAfterSeconds?: number
      failureCause?: FailureCause
      eventErrorCode?: 'invalid_state'
      countsAgainstSender?: boolean
      cause?: unknown
    } = {},
  ) {
    const faults = details.faults ?? []
    super(
      faults[0]?.message ?? ERROR_CODES[code].message,
      details.cause === undefined ? undefined : { cause: details.cause },
    )
    this.name = 'GatewayError'
    this.code = code
    this.internalMessage = details.internalMessage
    this.path = details.path ?? faults[0]?.path
    this.faults = faults
    this.retryAfterSeconds = details.retryAfterSeconds
    this.failureCause = details.failureCause
    this.eventErrorCode = details.eventErrorCode
    this.countsAgainstSender = details.countsAgainstSender
  }

  /** The row of the table for this code. */
  get definition(): ErrorCodeDefinition {
    return ERROR_CODES[this.code]
  }
}

/** Turns anything thrown into a `GatewayError`: `DATABASE_UNAVAILABLE` if the database cannot be used, `INTERNAL` with its cause for anything unknown. */
export function toGatewayError(thrown: unknown): GatewayError {
  if (thrown instanceof GatewayError) return thrown
  if (isDatabaseUnavailable(thrown)) return databaseUnavailableError(thrown)
  return new GatewayError('INTERNAL', { cause: thrown })
}

/** Log fields of an error that another party caused. */
export function errorLogFields(thrown: unknown): { code: ErrorCode; failureCause?: FailureCause } {
  const { code, failureCause } = toGatewayError(thrown)
  return { code, ...(failureCause && { failureCause }) }
}

/** The error for a request that the database could not serve, with its cause for the log. */
export const databaseUnavailableError = (cause: unknown): GatewayError =>
  new GatewayError('DATABASE_UNAVAILABLE', { retryAfterSeconds: RETRY_AFTER_SECONDS.databaseUnavailable, cause })
