import {
  GraphQLID,
  GraphQLString,
  isAbstractType,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  type GraphQLAbstractType,
  type GraphQLLeafType,
  type GraphQLOutputType,
} from 'graphql'
import { isPromise, type MaybePromise } from '../../../kernel/maybe-promise.ts'
import {
  PropagatedError,
  toFieldFailure,
  type CompileObject,
  type ExecutionState,
  type ResponsePath,
} from './execution-state.ts'
import { NULL, quoteJson, toAsciiJson, type JsonText } from './json.ts'
import type { PlannedField } from './plan.ts'

/** Writes the value that a resolver returned. Throws, or rejects, if the field or list item fails. */
export type CompleteValue = (
  value: unknown,
  run: ExecutionState,
  above: ResponsePath | undefined,
  key: string | number,
) => MaybePromise<JsonText>

/** Compiles value completion for a type (GraphQL specification, 6.4.3). */
export function compileCompletion(
  type: GraphQLOutputType,
  planned: PlannedField,
  compileObject: CompileObject,
): CompleteValue {
  if (isNonNullType(type)) return compileNonNull(compileCompletion(type.ofType, planned, compileObject))
  if (isListType(type)) return compileList(type.ofType, compileCompletion(type.ofType, planned, compileObject))
  if (isLeafType(type)) return compileLeaf(type)
  const executeByType = new Map([...planned.objects!].map(([name, object]) => [name, compileObject(object)]))
  const executeSingle = isAbstractType(type) ? undefined : executeByType.get(type.name)!
  return (value, run, above, key) => {
    if (value === null || value === undefined) return NULL
    if (value instanceof Error) throw value
    const execute = executeSingle ?? executeByType.get(resolveTypeName(type as GraphQLAbstractType, value, run))
    if (!execute) throw new TypeError('the type of an object is not a possible type of the field')
    return execute(value, run, { prev: above, key })
  }
}

function compileNonNull(complete: CompleteValue): CompleteValue {
  return (value, run, above, key) => {
    // If the whole type of an object is denied, the object is written as null.
    const text = value === null || value === undefined ? NULL : complete(value, run, above, key)
    if (text === NULL) throw new TypeError('null for a non-null field')
    return text
  }
}

function compileLeaf(type: GraphQLLeafType): CompleteValue {
  const isText = type === GraphQLString || type === GraphQLID
  const namesByValue = isEnumType(type)
    ? new Map<unknown, JsonText>(type.getValues().map(({ name, value }) => [value, quoteJson(name)]))
    : undefined
  return (value) => {
    if (value === null || value === undefined) return NULL
    if (isText && typeof value === 'string') return quoteJson(value)
    const name = namesByValue?.get(value)
    if (name !== undefined) return name
    if (value instanceof Error) throw value
    const serialized: unknown = type.serialize(value)
    if (serialized === null || serialized === undefined) throw new TypeError('a value cannot be serialized')
    return typeof serialized === 'string' ? quoteJson(serialized) : toAsciiJson(JSON.stringify(serialized))
  }
}

function resolveTypeName(type: GraphQLAbstractType, value: unknown, run: ExecutionState): string {
  const typeName =
    type.resolveType?.(value, run.context, run.info, type) ?? (value as { __typename?: unknown }).__typename
  return typeof typeName === 'string' ? typeName : ''
}

function compileList(itemType: GraphQLOutputType, complete: CompleteValue): CompleteValue {
  const nullable = !isNonNullType(itemType)
  const handleItemError = (thrown: unknown, run: ExecutionState, list: ResponsePath, index: number): JsonText => {
    const failure = toFieldFailure(thrown, list, index)
    if (!nullable) throw new PropagatedError(failure)
    run.failures.push(failure)
    return NULL
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return NULL
    if (!Array.isArray(value)) throw new TypeError('the value of a list field is not a list')
    const list: ResponsePath = { prev: above, key }
    const texts: JsonText[] = []
    const pending: Promise<unknown>[] = []
    for (const [index, item] of value.entries()) {
      try {
        const completed = isPromise(item)
          ? item.then((resolved) => complete(resolved, run, list, index))
          : complete(item, run, list, index)
        if (typeof completed === 'string') texts[index] = completed
        else
          pending.push(
            completed.then(
              (text) => (texts[index] = text),
              (thrown: unknown) => (texts[index] = handleItemError(thrown, run, list, index)),
            ),
          )
      } catch (thrown) {
        // The list fails, so the later items are not completed. They can be promises.
        if (!nullable) ignoreRejections([...pending, ...(value as unknown[])])
        texts[index] = handleItemError(thrown, run, list, index)
      }
    }
    const writeList = (): JsonText => `[${texts.join(',')}]`
    return pending.length > 0 ? Promise.all(pending).then(writeList) : writeList()
  }
}

/**
 * Ignores the rejections of promises that nobody awaits any more, because their object or list has failed. An unhandled
 * rejection would otherwise be logged as an error of the process.
 */
export function ignoreRejections(pending: readonly unknown[] = []): void {
  for (const value of pending)
    if (Array.isArray(value)) ignoreRejections(value)
    else if (isPromise(value)) value.catch(() => undefined)
}
