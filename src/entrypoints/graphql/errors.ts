import { GraphQLError, type GraphQLFormattedError, type GraphQLSchema } from 'graphql'
import { asGatewayError, ERROR_CODES, type ErrorCode, type GatewayError } from '../../kernel/errors.ts'
import { traceOf, type Log } from '../../kernel/log.ts'
import type { FieldFailure } from './executor.ts'
import type { DeniedField } from './plan.ts'

/** A GraphQL error with our code and the request id, and none of the input. */
export function errorOf(
  code: ErrorCode,
  requestId: string,
  extra: Pick<GraphQLFormattedError, 'path' | 'locations'> & { message?: string } = {},
): GraphQLFormattedError {
  const { message, category, retryable } = ERROR_CODES[code]
  return {
    message: extra.message ?? message,
    ...(extra.path && { path: extra.path }),
    ...(extra.locations && { locations: extra.locations }),
    extensions: { code, category, retryable, requestId },
  }
}

/** The error of a whole request: what is wrong with it, all of it. */
export function requestError({ code, faults }: GatewayError, requestId: string): GraphQLFormattedError {
  return errorOf(code, requestId, faults.length > 0 ? { message: faults.map(({ message }) => message).join(' ') } : {})
}

/** The error of one field that the caller's token does not open. */
export function deniedError({ path, missingScopes }: DeniedField, requestId: string): GraphQLFormattedError {
  const error = errorOf('UNAUTHORIZED_FIELD_OR_TYPE', requestId, { path: [...path] })
  return { ...error, extensions: { ...error.extensions, missingScopes } }
}

/** What a resolver threw, as the caller may see it; what is unknown is logged and becomes INTERNAL. */
export function failureError({ thrown, path }: FieldFailure, requestId: string, log: Log): GraphQLFormattedError {
  const place = path.length > 0 ? { path: [...path] } : {}
  // A complaint about an argument or a variable quotes its value, so the message is not passed on.
  if (thrown instanceof GraphQLError) return errorOf('INVALID_INPUT', requestId, place)
  const known: GatewayError = asGatewayError(thrown)
  if (known.facts.category === 'INTERNAL')
    log.error('resolver.failed', { requestId, code: known.code, trace: traceOf(thrown) })
  return errorOf(known.code, requestId, place)
}

/** A parse or validation error: names that the caller may see stay in the message, everything else that was quoted goes. */
export function documentError(
  visible: GraphQLSchema,
  error: GraphQLFormattedError | GraphQLError,
  requestId: string,
): GraphQLFormattedError {
  const message = error.message
    .replace(/"([^"]*)"/g, (quoted, name: string) => (isNameOf(visible, name) ? quoted : '"…"'))
    .replace(/ Did you mean .*$/, '')
    .slice(0, 300)
  return errorOf('MALFORMED_REQUEST', requestId, { message, ...(error.locations && { locations: error.locations }) })
}

function isNameOf(schema: GraphQLSchema, quoted: string): boolean {
  const name = quoted.replace(/[[\]!]/g, '')
  const [type, field] = name.split('.')
  const found = schema.getType(type ?? '')
  return found !== undefined && (field === undefined || ('getFields' in found && field in found.getFields()))
}
