import type { GraphQLError, GraphQLFormattedError, GraphQLSchema } from 'graphql'
import { errorOf } from './errors.ts'
import { EXPECTED } from './input-faults.ts'
import { suggestingErrors, type InvalidDocument } from './read-document.ts'

/**
 * What is wrong with a document, as a caller may read it. A suggestion comes from validating against what the caller sees, so
 * it can only name that: the whole contract is never asked for one.
 */
export function documentErrors(
  visible: GraphQLSchema,
  { errors, document }: InvalidDocument,
  requestId: string,
): GraphQLFormattedError[] {
  const suggesting = document ? suggestingErrors(visible, document) : []
  return errors.map((error) => {
    const same = suggesting.find((one) => isSamePlace(one, error) && one.message.startsWith(error.message))
    return documentError(visible, error, requestId, same?.message.slice(error.message.length))
  })
}

function isSamePlace(one: GraphQLError, other: GraphQLError): boolean {
  const [[here], [there]] = [one.locations ?? [], other.locations ?? []]
  return here?.line === there?.line && here?.column === there?.column
}

/** A parse or validation error: names that the caller may see stay in the message, everything else that was quoted goes. */
export function documentError(
  visible: GraphQLSchema,
  error: GraphQLFormattedError | GraphQLError,
  requestId: string,
  suggestion = '',
): GraphQLFormattedError {
  const message = withoutValue(error.message)
    .replace(/"([^"]*)"/g, (quoted, name: string) => (isNameOf(visible, name) ? quoted : '"…"'))
    .replace(/ Did you mean .*$/, '')
    .slice(0, 300)
  return errorOf('MALFORMED_REQUEST', requestId, {
    message: message + suggestion,
    ...(error.locations && { locations: error.locations }),
  })
}

/** The library repeats a value that does not fit its type, without quotes where it has none; what fits is said instead. */
function withoutValue(message: string): string {
  const [, type] = /^Expected value of type "([\w![\]]+)", found /.exec(message) ?? []
  if (type) {
    const expected = EXPECTED[type.replace(/\W/g, '')]
    return `Expected value of type "${type}"${expected ? `: it must be ${expected.replaceAll('"', "'")}` : ''}.`
  }
  const [, scalar] = /^(\w+) cannot represent /.exec(message) ?? []
  const expected = scalar && EXPECTED[scalar]
  if (expected) return `Expected value of type "${scalar}": it must be ${expected}.`
  return message.replace(/(cannot represent non-enum value): .*$/s, '$1.')
}

function isNameOf(schema: GraphQLSchema, quoted: string): boolean {
  const name = quoted.replace(/[[\]!]/g, '')
  const [type, field] = name.split('.')
  const found = schema.getType(type ?? '')
  return found !== undefined && (field === undefined || ('getFields' in found && field in found.getFields()))
}
