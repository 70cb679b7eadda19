import type { GraphQLError, GraphQLFormattedError, GraphQLSchema } from 'graphql'
import { buildError } from './errors.ts'
import { SCALAR_RULES } from './input-faults.ts'
import { errorsWithSuggestions, type InvalidDocument } from './read-document.ts'

/**
 * What is wrong with a document, as a caller may read it. A suggestion comes from validating against what the caller sees, so
 * it can only name that: the whole contract is never asked for one.
 */
export function documentErrors(
  visible: GraphQLSchema,
  { errors, document }: InvalidDocument,
  requestId: string,
): GraphQLFormattedError[] {
  const suggestions = document ? errorsWithSuggestions(visible, document) : []
  return errors.map((error) => {
    const match = suggestions.find((one) => hasSameLocation(one, error) && one.message.startsWith(error.message))
    return documentError(visible, error, requestId, match?.message.slice(error.message.length))
  })
}

function hasSameLocation(one: GraphQLError, other: GraphQLError): boolean {
  const [[location], [otherLocation]] = [one.locations ?? [], other.locations ?? []]
  return location?.line === otherLocation?.line && location?.column === otherLocation?.column
}

/** A parse or validation error: names that the caller may see stay in the message, everything else that was quoted goes. */
export function documentError(
  visible: GraphQLSchema,
  error: GraphQLFormattedError | GraphQLError,
  requestId: string,
  suggestion = '',
): GraphQLFormattedError {
  const message = redactValue(error.message)
    .replace(/"([^"]*)"/g, (quoted, name: string) => (isVisibleName(visible, name) ? quoted : '"…"'))
    .replace(/ Did you mean .*$/, '')
    .slice(0, 300)
  return buildError('MALFORMED_REQUEST', requestId, {
    message: message + suggestion,
    ...(error.locations && { locations: error.locations }),
  })
}

/** The library repeats a value that does not fit its type, without quotes where it has none; what fits is said instead. */
function redactValue(message: string): string {
  const [, type] = /^Expected value of type "([\w![\]]+)", found /.exec(message) ?? []
  if (type) {
    const expected = SCALAR_RULES[type.replace(/\W/g, '')]
    return `Expected value of type "${type}"${expected ? `: it must be ${expected.replaceAll('"', "'")}` : ''}.`
  }
  const [, scalar] = /^(\w+) cannot represent /.exec(message) ?? []
  const expected = scalar && SCALAR_RULES[scalar]
  if (expected) return `Expected value of type "${scalar}": it must be ${expected}.`
  return message.replace(/(cannot represent non-enum value): .*$/s, '$1.')
}

function isVisibleName(schema: GraphQLSchema, quoted: string): boolean {
  const name = quoted.replace(/[[\]!]/g, '')
  const [type, field] = name.split('.')
  const foundType = schema.getType(type ?? '')
  return (
    foundType !== undefined && (field === undefined || ('getFields' in foundType && field in foundType.getFields()))
  )
}
