import {
  getVariableValues,
  isInputType,
  typeFromAST,
  type GraphQLFormattedError,
  type GraphQLInputType,
  type GraphQLSchema,
  type VariableDefinitionNode,
} from 'graphql'
import type { InputFault } from '../../kernel/errors.ts'
import { STORABLE_RULE, unstorablePath } from '../../kernel/text.ts'
import { errorOf } from './errors.ts'
import { faultOf, inputFaults } from './input-faults.ts'
import { placeOf, type ParsedOperation } from './read-document.ts'

/** The variables of an operation by their types, or why they cannot be used. */
export type CoercedVariables =
  | { readonly coerced: Record<string, unknown>; readonly errors?: undefined }
  | { readonly errors: readonly GraphQLFormattedError[] }

/** More faults than these help nobody. */
const MAX_FAULTS = 20
const NULL_CONDITION: InputFault = { path: [], message: 'A condition must not be null.' }

/**
 * Coerces what a request sends as variables (spec 6.1.2). A variable with a default is allowed in a directive, which
 * takes no null: null is refused here for the whole request, since a plan has no answer for it (spec 3.13.1, 3.13.2).
 * An error names what is wrong by the part of the contract that the caller sees.
 */
export function coerceVariables(
  schema: GraphQLSchema,
  { operation: { variableDefinitions = [] }, conditions }: ParsedOperation,
  given: Readonly<Record<string, unknown>>,
  { requestId, visible }: { requestId: string; visible: () => GraphQLSchema },
): CoercedVariables {
  if (variableDefinitions.length === 0) return { coerced: {} }
  const { errors, coerced } = getVariableValues(schema, variableDefinitions, given, {
    maxErrors: 1,
    hideSuggestions: true,
  })
  const unstorable = variableDefinitions.flatMap((definition) => {
    const path = unstorablePath(given[definition.variable.name.value])
    return path ? [errorAt(definition, faultOf(path, STORABLE_RULE), requestId)] : []
  })
  if (unstorable.length > 0) return { errors: unstorable.slice(0, MAX_FAULTS) }
  if (errors) return { errors: faultsOf(visible(), variableDefinitions, given, requestId) }
  const nulls = variableDefinitions.filter(
    ({ variable: { name } }) => coerced[name.value] === null && conditions.includes(name.value),
  )
  if (nulls.length > 0) return { errors: nulls.map((definition) => errorAt(definition, NULL_CONDITION, requestId)) }
  return { coerced }
}

function faultsOf(
  visible: GraphQLSchema,
  definitions: readonly VariableDefinitionNode[],
  given: Readonly<Record<string, unknown>>,
  requestId: string,
): GraphQLFormattedError[] {
  const found: GraphQLFormattedError[] = []
  for (const definition of definitions) {
    const type = typeFromAST(visible, definition.type as never) as GraphQLInputType | undefined
    const { value: name } = definition.variable.name
    if (!isInputType(type) || (!Object.hasOwn(given, name) && definition.defaultValue)) continue
    for (const fault of inputFaults(type, given[name])) {
      found.push(errorAt(definition, fault, requestId))
      if (found.length === MAX_FAULTS) return found
    }
  }
  // Of a type that the caller does not see, nothing is told.
  return found.length > 0 ? found : [errorAt(undefined, undefined, requestId)]
}

function errorAt(
  definition: VariableDefinitionNode | undefined,
  fault: InputFault | undefined,
  requestId: string,
): GraphQLFormattedError {
  const place = placeOf(definition)
  return errorOf('INVALID_INPUT', requestId, {
    ...(place && { locations: [place] }),
    ...(fault && { message: fault.message, argument: fault.path.join('.') }),
  })
}
