import type { GraphQLResolveInfo, GraphQLSchema } from 'graphql'
import type { MaybePromise } from '../../../kernel/maybe-promise.ts'
import type { RequestContext } from '../../../kernel/request-context.ts'
import type { JsonText } from './json.ts'
import type { DeniedField, PlannedObject } from './plan.ts'

/** Input of one run of an operation. */
export interface ExecutionRequest {
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: RequestContext
  /** The schema that introspection shows. */
  readonly visibleSchema: GraphQLSchema
  readonly rootValue?: unknown
}

/** State of one run. */
export interface ExecutionState extends ExecutionRequest {
  readonly failures: FieldFailure[]
  readonly denied: Set<DeniedField>
  readonly info: GraphQLResolveInfo
  usedPoints: number
  /** Bytes stored for later runs. */
  retainedBytes: number
}

/** A position in the response, as a linked list that ends at the root. */
export interface ResponsePath {
  readonly prev: ResponsePath | undefined
  readonly key: string | number
}

/** An exception of a field, with its response path. */
export interface FieldFailure {
  readonly thrown: unknown
  readonly path: readonly (string | number)[]
}

/** Writes the fields of one object. Throws `PropagatedError` if a non-null field failed. */
export type ExecuteSelectionSet = (
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
) => MaybePromise<JsonText>

/** Compiles the selection set of an object. */
export type CompileObject = (planned: PlannedObject) => ExecuteSelectionSet

/** Carries the failure of a non-null field up to the nearest nullable position. */
export class PropagatedError extends Error {
  readonly failure: FieldFailure
  constructor(failure: FieldFailure) {
    super('failed')
    this.failure = failure
  }
}

/** The failure of `key` below `above`. A propagated failure keeps its original path. */
export const toFieldFailure = (thrown: unknown, above: ResponsePath | undefined, key: string | number): FieldFailure =>
  thrown instanceof PropagatedError
    ? thrown.failure
    : { thrown, path: key === '' ? [] : pathToArray({ prev: above, key }) }

function pathToArray(place: ResponsePath): (string | number)[] {
  const path: (string | number)[] = []
  for (let node: ResponsePath | undefined = place; node; node = node.prev) path.unshift(node.key)
  return path
}
