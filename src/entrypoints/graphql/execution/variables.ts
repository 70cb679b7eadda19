import {
  getVariableValues,
  isInputType,
  typeFromAST,
  type GraphQLFormattedError,
  type GraphQLInputType,
  type GraphQLSchema,
  type VariableDefinitionNode,
} from 'graphql'
import type { InputFault } from '../../../kernel/errors.ts'
import { STORABLE_RULE, findUnstorablePath } from '../../../kernel/storable-text.ts'
import { buildError } from '../errors.ts'
import { variableFault, inputFaults } from '../input-faults.ts'
import { locationOf, type ParsedOperation } from '../read-document.ts'

/** The coerced variables of an operation, or the errors that prevent its execution. */
export type CoercedVariables =
  | { readonly coerced: Record<string, unknown>; readonly errors?: undefined }
  | { readonly errors: readonly GraphQLFormattedError[] }

/** Faults that are reported at once. */
const MAX_FAULTS = 20
const NULL_CONDITION_FAULT: InputFault = {
  path: [],
  message: 'A variable of `@skip` or `@include` must not be null.',
}

/**
 * Coerces the variables of a request (GraphQL specification, 6.1.2). The specification lets a nullable variable with a default
 * be used in `@skip` and `@include`, which do not accept null (3.13.1, 3.13.2), so null is rejected here. Error messages contain
 * only names that the caller may see.
 */
export function coerceVariables(
  schema: GraphQLSchema,
  { operation: { variableDefinitions = [] }, conditionVariables }: ParsedOperation,
  input: Readonly<Record<string, unknown>>,
  { requestId, getVisibleSchema }: { requestId: string; getVisibleSchema: () => GraphQLSchema },
): CoercedVariables {
  if (variableDefinitions.length === 0) return { coerced: {} }
  const { errors, coerced } = getVariableValues(schema, variableDefinitions, input, {
    maxErrors: 1,
    hideSuggestions: true,
  })
  const unstorable = variableDefinitions.flatMap((definition) => {
    const path = findUnstorablePath(input[definition.variable.name.value])
    return path ? [buildVariableError(definition, variableFault(path, STORABLE_RULE), requestId)] : []
  })
  if (unstorable.length > 0) return { errors: unstorable.slice(0, MAX_FAULTS) }
  if (errors) return { errors: buildVariableErrors(getVisibleSchema(), variableDefinitions, input, requestId) }
  const nullConditions = variableDefinitions.filter(
    ({ variable: { name } }) => coerced[name.value] === null && conditionVariables.includes(name.value),
  )
  if (nullConditions.length > 0)
    return {
      errors: nullConditions.map((definition) => buildVariableError(definition, NULL_CONDITION_FAULT, requestId)),
    }
  return { coerced }
}

function buildVariableErrors(
  visibleSchema: GraphQLSchema,
  definitions: readonly VariableDefinitionNode[],
  input: Readonly<Record<string, unknown>>,
  requestId: string,
): GraphQLFormattedError[] {
  const errors: GraphQLFormattedError[] = []
  for (const definition of definitions) {
    const type = typeFromAST(visibleSchema, definition.type as never) as GraphQLInputType | undefined
    const { value: name } = definition.variable.name
    if (!isInputType(type) || (!Object.hasOwn(input, name) && definition.defaultValue)) continue
    for (const fault of inputFaults(type, input[name])) {
      errors.push(buildVariableError(definition, fault, requestId))
      if (errors.length === MAX_FAULTS) return errors
    }
  }
  // The error about a type that the caller may not see has no details.
  return errors.length > 0 ? errors : [buildVariableError(undefined, undefined, requestId)]
}

function buildVariableError(
  definition: VariableDefinitionNode | undefined,
  fault: InputFault | undefined,
  requestId: string,
): GraphQLFormattedError {
  const location = locationOf(definition)
  return buildError('INVALID_INPUT', requestId, {
    ...(location && { locations: [location] }),
    ...(fault && { message: fault.message, argument: fault.path.join('.') || definition?.variable.name.value }),
  })
}
