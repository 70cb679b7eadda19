import { getVariableValues, type GraphQLFormattedError, type GraphQLSchema, type VariableDefinitionNode } from 'graphql'
import { errorOf } from './errors.ts'
import { placeOf, type ParsedOperation } from './read-document.ts'

/** The variables of an operation by their types, or why they cannot be used. */
export type CoercedVariables =
  | { readonly coerced: Record<string, unknown>; readonly errors?: undefined }
  | { readonly errors: readonly GraphQLFormattedError[] }

/** More faults than this help nobody. */
const MAX_FAULTS = 5

/**
 * Coerces what a request sends as variables (spec 6.1.2). A variable with a default is allowed in a directive, which
 * takes no null: null is refused here for the whole request, since a plan has no answer for it (spec 3.13.1, 3.13.2).
 */
export function coerceVariables(
  schema: GraphQLSchema,
  { operation: { variableDefinitions = [] }, conditions }: ParsedOperation,
  given: Readonly<Record<string, unknown>>,
  requestId: string,
): CoercedVariables {
  if (variableDefinitions.length === 0) return { coerced: {} }
  const { errors, coerced } = getVariableValues(schema, variableDefinitions, given, {
    maxErrors: MAX_FAULTS,
    hideSuggestions: true,
  })
  if (errors) return { errors: errors.map(({ nodes }) => faultAt(nodes?.[0] as VariableDefinitionNode, requestId)) }
  const nulls = variableDefinitions.filter(
    ({ variable: { name } }) => coerced[name.value] === null && conditions.includes(name.value),
  )
  if (nulls.length > 0)
    return { errors: nulls.map((definition) => faultAt(definition, requestId, 'A condition must not be null.')) }
  return { coerced }
}

function faultAt(
  definition: VariableDefinitionNode | undefined,
  requestId: string,
  message?: string,
): GraphQLFormattedError {
  const place = placeOf(definition)
  return errorOf('INVALID_INPUT', requestId, {
    ...(place && { locations: [place] }),
    ...(message !== undefined && { message }),
  })
}
