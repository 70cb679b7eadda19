import type { GraphQLError, GraphQLFormattedError, GraphQLSchema } from 'graphql'
import { buildError } from './errors.ts'
import { SCALAR_RULES } from './input-faults.ts'
import { errorsWithSuggestions, type InvalidDocument } from './read-document.ts'

/**
 * The errors of an invalid document, as the caller may see them. Suggestions come from validation against the visible schema, so
 * they contain only names that the caller may see.
 */
export function documentErrors(
  visible: GraphQLSchema,
  { errors, document }: InvalidDocument,
  requestId: string,
): GraphQLFormattedError[] {
  const suggestions = document ? errorsWithSuggestions(visible, document) : []
  return errors.map((error) => {
    const match = suggestions.find(
      (suggestion) => hasSameLocation(suggestion, error) && suggestion.message.startsWith(error.message),
    )
    return documentError(visible, error, requestId, match?.message.slice(error.message.length))
  })
}

function hasSameLocation(a: GraphQLError, b: GraphQLError): boolean {
  const [[location], [otherLocation]] = [a.locations ?? [], b.locations ?? []]
  return location?.line === otherLocation?.line && location?.column === otherLocation?.column
}

/** Builds a parse or validation error. Quoted names that the caller may not see are removed from the message. */
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

/** Replaces the value that the library repeats in a message, sometimes without quotes, by the values that are allowed. */
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
