import { GraphQLError, type GraphQLFormattedError } from 'graphql'
import { asGatewayError, ERROR_CODES, type ErrorCode, type GatewayError, type InputFault } from '../../kernel/errors.ts'
import { traceOf, type Log } from '../../kernel/log.ts'
import type { RequestContext } from '../../kernel/request.ts'
import type { FieldFailure } from './executor.ts'
import type { DeniedField } from './plan.ts'

/** A GraphQL error with our code and the request id, and none of the input. */
export function errorOf(
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
  return errorOf(code, requestId, faults.length > 0 ? wordsOf(faults) : {})
}

const wordsOf = (faults: readonly InputFault[]) => ({ message: faults.map(({ message }) => message).join(' ') })

/** The error of one field that the caller's token does not authorize, or that needs a token where none was sent. */
export function deniedError(
  { path, missingScopes }: DeniedField,
  { caller, requestId }: RequestContext,
): GraphQLFormattedError {
  const error =
    caller.kind === 'ANONYMOUS'
      ? errorOf('UNAUTHENTICATED', requestId, { path: [...path], message: NO_TOKEN })
      : errorOf('UNAUTHORIZED_FIELD_OR_TYPE', requestId, { path: [...path] })
  return { ...error, extensions: { ...error.extensions, missingScopes } }
}

const NO_TOKEN = 'No access token was sent, and this field needs one.'

/** What a resolver threw, as the caller may see it; what is unknown is logged and becomes INTERNAL. */
export function failureError({ thrown, path }: FieldFailure, requestId: string, log: Log): GraphQLFormattedError {
  const place = path.length > 0 ? { path: [...path] } : {}
  // A complaint about an argument or a variable quotes its value, so the message is not passed on.
  if (thrown instanceof GraphQLError) {
    const [, argument] = /^Argument "(\w+)"/.exec(thrown.message) ?? []
    const message = argument && `\`${argument}\` is null or has a value that its type does not take.`
    return errorOf('INVALID_INPUT', requestId, { ...place, ...(message && { message, argument }) })
  }
  const known: GatewayError = asGatewayError(thrown)
  if (known.facts.category === 'INTERNAL')
    log.error('resolver.failed', { requestId, code: known.code, trace: traceOf(thrown) })
  const { code, faults, path: at } = known
  return errorOf(code, requestId, { ...place, ...(faults.length > 0 && wordsOf(faults)), argument: at?.join('.') })
}
