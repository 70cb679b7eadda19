import { OperationTypeNode, type GraphQLResolveInfo } from 'graphql'
import { chain, type MaybePromise } from '../../../kernel/maybe-promise.ts'
import {
  toFieldFailure,
  type ExecuteSelectionSet,
  type ExecutionRequest,
  type ExecutionState,
  type FieldFailure,
} from './execution-state.ts'
import { compileField, executeField } from './fields.ts'
import { NULL, type JsonText } from './json.ts'
import { findMemoizableKeys, type MemoizableFields } from './memoizable.ts'
import { compileFields } from './memoized-objects.ts'
import type { DeniedField, Plan, PlannedObject } from './plan.ts'

/** A plan as functions, which can be run any number of times. */
export interface CompiledOperation {
  run(request: ExecutionRequest): MaybePromise<ExecutionResult>
}

/** Result of a run. */
export interface ExecutionResult {
  /** JSON text in ASCII; `null` if a failure propagated to the root. */
  readonly data: JsonText
  readonly failures: readonly FieldFailure[]
  /** Denied fields below abstract types whose objects were in the response. */
  readonly denied: ReadonlySet<DeniedField>
  /** Points for the objects in the response. */
  readonly usedPoints: number
}

/**
 * Compiles a plan into functions, once. They execute section 6 of the GraphQL specification for a document of exactly the
 * planned fields and write the response as JSON; nothing is looked up in the schema at run time.
 */
export function compileOperation(plan: Plan, memoizable: MemoizableFields): CompiledOperation {
  const isSerial = plan.operation.operation === OperationTypeNode.MUTATION
  const root = compileObject(plan.root, memoizable, isSerial)
  return {
    run(request) {
      const run: ExecutionState = {
        ...request,
        failures: [],
        denied: new Set(),
        usedPoints: 0,
        retainedBytes: 0,
        info: { schema: request.visibleSchema } as GraphQLResolveInfo,
      }
      const toResult = (data: JsonText): ExecutionResult => {
        plan.retainedBytes += run.retainedBytes
        return { data, failures: run.failures, denied: run.denied, usedPoints: run.usedPoints }
      }
      const toFailedResult = (thrown: unknown): ExecutionResult => {
        run.failures.push(toFieldFailure(thrown, undefined, ''))
        return toResult(NULL)
      }
      try {
        return chain(root(request.rootValue, run, undefined), toResult, toFailedResult)
      } catch (thrown) {
        return toFailedResult(thrown)
      }
    },
  }
}

function compileObject(planned: PlannedObject, memoizable: MemoizableFields, isSerial = false): ExecuteSelectionSet {
  const { conditionalDenials } = planned
  const execute = planned.denied ? () => NULL : compileSelectionSet(planned, memoizable, isSerial)
  if (conditionalDenials.length === 0) return execute
  return (source, run, place) => {
    for (const field of conditionalDenials) run.denied.add(field)
    return execute(source, run, place)
  }
}

function compileSelectionSet(
  planned: PlannedObject,
  memoizable: MemoizableFields,
  isSerial: boolean,
): ExecuteSelectionSet {
  const { weight, itemWeight } = planned
  const addPoints = (run: ExecutionState): void => {
    run.usedPoints += itemWeight ? weight + itemWeight(run.variables) : weight
  }
  const fields = planned.fields.map((field) =>
    compileField(field, planned, (inner) => compileObject(inner, memoizable)),
  )
  if (isSerial)
    return async (source, run, place) => {
      addPoints(run)
      const texts: JsonText[] = []
      for (const field of fields) texts.push(field.keyPrefix + (await executeField(field, source, run, place)))
      return `{${texts.join(',')}}`
    }
  const executeFields = compileFields(fields, findMemoizableKeys(planned, memoizable))
  return (source, run, place) => {
    addPoints(run)
    return executeFields(source, run, place)
  }
}
