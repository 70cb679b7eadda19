import { getArgumentValues, isNonNullType } from 'graphql'
import { isPromise, type MaybePromise } from '../../../kernel/maybe-promise.ts'
import { compileCompletion, type CompleteValue } from './complete.ts'
import {
  PropagatedError,
  toFieldFailure,
  type CompileObject,
  type ExecutionState,
  type ResponsePath,
} from './execution-state.ts'
import { NULL, quoteJson, type JsonText } from './json.ts'
import type { PlannedField, PlannedObject } from './plan.ts'

/** A field compiled into functions. */
export interface CompiledField {
  readonly key: string
  /** The key as JSON, with its colon. */
  readonly keyPrefix: JsonText
  readonly resolve: (source: unknown, run: ExecutionState) => unknown
  readonly complete: CompleteValue
  readonly nullable: boolean
}

/** Compiles a field of a planned object. A denied field gets no resolver. */
export function compileField(
  planned: PlannedField,
  parent: PlannedObject,
  compileObject: CompileObject,
): CompiledField {
  const { key, field, kind } = planned
  const keyPrefix = `${quoteJson(key)}:`
  if (kind === 'denied') return { key, keyPrefix, resolve: () => null, complete: () => NULL, nullable: true }
  if (kind === 'typename') {
    const text = quoteJson(parent.type.name)
    return { key, keyPrefix, resolve: () => null, complete: () => text, nullable: false }
  }
  return {
    key,
    keyPrefix,
    resolve: compileResolver(planned),
    complete: compileCompletion(field.type, planned, compileObject),
    nullable: !isNonNullType(field.type),
  }
}

function compileResolver({ name, field, node, args }: PlannedField): CompiledField['resolve'] {
  const { resolve } = field
  if (resolve)
    return args
      ? (source, run) => resolve(source, args, run.context, run.info)
      : (source, run) => resolve(source, getArgumentValues(field, node, run.variables), run.context, run.info)
  return (source, run) => {
    const value = (source as Record<string, unknown> | undefined)?.[name]
    return typeof value === 'function'
      ? (value as (...parameters: unknown[]) => unknown).call(source, args ?? {}, run.context, run.info)
      : value
  }
}

/**
 * Resolves and completes a field. Throws, or rejects with, `PropagatedError` if the field is non-null and failed. It does not use
 * `chain`, because creating a closure for each field of each object would cost more than the field.
 */
export function executeField(
  field: CompiledField,
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): MaybePromise<JsonText> {
  try {
    const value = field.resolve(source, run)
    return isPromise(value)
      ? value.then(
          (resolved) => completeValue(field, resolved, run, place),
          (thrown: unknown) => handleFieldError(field, thrown, run, place),
        )
      : completeValue(field, value, run, place)
  } catch (thrown) {
    return handleFieldError(field, thrown, run, place)
  }
}

function completeValue(
  field: CompiledField,
  value: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): MaybePromise<JsonText> {
  try {
    const completed = field.complete(value, run, place, field.key)
    return typeof completed === 'string'
      ? completed
      : completed.then(undefined, (thrown: unknown) => handleFieldError(field, thrown, run, place))
  } catch (thrown) {
    return handleFieldError(field, thrown, run, place)
  }
}

function handleFieldError(
  field: CompiledField,
  thrown: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): JsonText {
  const failure = toFieldFailure(thrown, place, field.key)
  if (!field.nullable) throw new PropagatedError(failure)
  run.failures.push(failure)
  return NULL
}
