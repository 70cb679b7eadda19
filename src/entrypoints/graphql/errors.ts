import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { toGatewayError, ERROR_CODES, type ErrorCode, type GatewayError, type InputFault } from '../../kernel/errors.ts'
import { errorTrace, type Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { FieldFailure } from './executor.ts'
import type { DeniedField } from './plan.ts'

/** A GraphQL error with our code and the request id, and none of the input. */
export function buildError(
  code: ErrorCode,
  requestId: string,
  extra: Pick<GraphQLFormattedError, 'path' | 'locations'> & { message?: string; argument?: string | undefined } = {},
): GraphQLFormattedError {
  const { message, category, retryable } = ERROR_CODES[code]
  return {
    message: extra.message ?? message,
    ...(extra.path && { path: extra.path }),
    ...(extra.locations && { locations: extra.locations }),
    extensions: { code, category, retryable, requestId, ...(extra.argument && { argument: extra.argument }) },
  }
}

/** The error of a whole request: what is wrong with it, all of it. */
export function requestError({ code, faults }: GatewayError, requestId: string): GraphQLFormattedError {
  return buildError(code, requestId, faults.length > 0 ? combineMessages(faults) : {})
}

const combineMessages = (faults: readonly InputFault[]) => ({ message: faults.map(({ message }) => message).join(' ') })

/** The error of one field that the caller's token does not authorize, or that needs a token where none was sent. */
export function deniedError(
  { path, missingScopes }: DeniedField,
  { caller, requestId }: RequestContext,
): GraphQLFormattedError {
  const error =
    caller.kind === 'ANONYMOUS'
      ? buildError('UNAUTHENTICATED', requestId, { path: [...path], message: NO_TOKEN_MESSAGE })
      : buildError('UNAUTHORIZED_FIELD_OR_TYPE', requestId, { path: [...path] })
  return { ...error, extensions: { ...error.extensions, missingScopes } }
}

const NO_TOKEN_MESSAGE = 'No access token was sent, and this field needs one.'

/** What a resolver threw, as the caller may see it; what is unknown is logged and becomes INTERNAL. */
export function fieldError({ thrown, path }: FieldFailure, requestId: string, log: Log): GraphQLFormattedError {
  const location = path.length > 0 ? { path: [...path] } : {}
  // A complaint about an argument or a variable quotes its value, so the message is not passed on.
  if (thrown instanceof GraphQLError) {
    const [, argument] = /^Argument "(\w+)"/.exec(thrown.message) ?? []
    const message = argument && `\`${argument}\` is null or has a value that its type does not take.`
    return buildError('INVALID_INPUT', requestId, { ...location, ...(message && { message, argument }) })
  }
  const gatewayError: GatewayError = toGatewayError(thrown)
  if (gatewayError.definition.category === 'INTERNAL')
    log.error('resolver.failed', { requestId, code: gatewayError.code, trace: errorTrace(thrown) })
  const { code, faults, path: argumentPath } = gatewayError
  return buildError(code, requestId, {
    ...location,
    ...(faults.length > 0 && combineMessages(faults)),
    argument: argumentPath?.join('.'),
  })
}
