import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { addMs, SECOND_MS, type Clock } from '../../kernel/clock.ts'
import { toGatewayError, ERROR_CODES, type ErrorCode, type GatewayError, type InputFault } from '../../kernel/errors.ts'
import { errorTrace, type Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { FieldFailure } from './execution/execution-state.ts'
import type { DeniedField } from './execution/plan.ts'

/** The members of an error that do not follow from its code. */
interface ErrorDetails extends Pick<GraphQLFormattedError, 'path' | 'locations'> {
  /** Replaces the code's default message. */
  readonly message?: string
  /** Path of the argument at fault, joined by dots. */
  readonly argument?: string | undefined
  /** When the same request can succeed, ISO 8601. */
  readonly retryAt?: string | undefined
}

/** Builds a GraphQL error from a code's entry in the error table and the request ID. It never contains input. */
export function buildError(code: ErrorCode, requestId: string, details: ErrorDetails = {}): GraphQLFormattedError {
  const { message, category, retryable, resolvableBy } = ERROR_CODES[code]
  const { argument, retryAt } = details
  return {
    message: details.message ?? message,
    ...(details.path && { path: details.path }),
    ...(details.locations && { locations: details.locations }),
    extensions: {
      code,
      category,
      retryable,
      resolvableBy,
      requestId,
      ...(retryAt && { retryAt }),
      ...(argument && { argument }),
    },
  }
}

/** The error for a whole request, with all faults of its input. */
export function requestError(error: GatewayError, requestId: string, clock: Clock): GraphQLFormattedError {
  return buildError(error.code, requestId, detailsOf(error, clock))
}

function detailsOf({ faults, path, retryAfterSeconds }: GatewayError, clock: Clock): ErrorDetails {
  return {
    ...(faults.length > 0 && { message: combineMessages(faults) }),
    argument: path?.join('.'),
    retryAt:
      retryAfterSeconds === undefined ? undefined : addMs(clock.now(), retryAfterSeconds * SECOND_MS).toISOString(),
  }
}

const combineMessages = (faults: readonly InputFault[]): string => faults.map(({ message }) => message).join(' ')

/** The error of a field that the caller's token does not authorize, or that needs a token when none was sent. */
export function deniedError(
  { path, missingScopes, missingPolicies }: DeniedField,
  { caller, requestId }: RequestContext,
): GraphQLFormattedError {
  const error =
    caller.kind === 'ANONYMOUS'
      ? buildError('UNAUTHENTICATED', requestId, { path: [...path], message: NO_TOKEN_MESSAGE })
      : buildError('UNAUTHORIZED_FIELD_OR_TYPE', requestId, { path: [...path] })
  return {
    ...error,
    extensions: {
      ...error.extensions,
      ...(missingScopes.length > 0 && { missingScopes }),
      ...(missingPolicies.length > 0 && { missingPolicies }),
    },
  }
}

const NO_TOKEN_MESSAGE = 'This field requires an access token, and the request has none.'

/** What error responses depend on. */
export interface ErrorContext {
  readonly requestId: string
  readonly clock: Clock
  readonly log: Log
}

/** The public error for an exception of a resolver. An unknown exception is logged and becomes INTERNAL. */
export function fieldError({ thrown, path }: FieldFailure, context: ErrorContext): GraphQLFormattedError {
  const { requestId, clock, log } = context
  const location = path.length > 0 ? { path: [...path] } : {}
  // The library's message about an argument or variable quotes its value.
  if (thrown instanceof GraphQLError) {
    const [, argument] = /^Argument "(\w+)"/.exec(thrown.message) ?? []
    const message = argument && `\`${argument}\` is null or has a value that its type does not accept.`
    return buildError('INVALID_INPUT', requestId, { ...location, ...(message && { message, argument }) })
  }
  const error = toGatewayError(thrown)
  if (error.definition.category === 'INTERNAL')
    log.error('resolver.failed', { requestId, code: error.code, trace: errorTrace(thrown) })
  return buildError(error.code, requestId, { ...location, ...detailsOf(error, clock) })
}
