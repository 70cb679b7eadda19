import type { MaybePromise } from '../../../kernel/maybe-promise.ts'
import { ignoreRejections } from './complete.ts'
import type { ExecuteSelectionSet, ExecutionState, ResponsePath } from './execution-state.ts'
import { executeField, type CompiledField } from './fields.ts'
import type { JsonText } from './json.ts'
import { isReusable } from './memoizable.ts'

/** One field that is written for each request, or adjacent fields that are written once per object. */
type Segment =
  | { readonly prefix: JsonText; readonly field: CompiledField }
  | { readonly prefix: JsonText; readonly memoizedFields: readonly CompiledField[] }

/** Texts that depend only on an object, and the points of the objects in them. */
interface MemoizedObject {
  readonly texts: readonly JsonText[]
  readonly points: number
}

/**
 * Compiles the fields of an object, which are resolved in parallel. Fields in `memoizableKeys` are written once per object; the
 * text is released together with the object.
 */
export function compileFields(
  fields: readonly CompiledField[],
  memoizableKeys: ReadonlySet<string>,
): ExecuteSelectionSet {
  const plainSegments = groupSegments(fields, NO_KEYS)
  const executePlain: ExecuteSelectionSet = (source, run, place) =>
    executeSegments(plainSegments, [], source, run, place)
  if (memoizableKeys.size === 0) return executePlain
  const segments = groupSegments(fields, memoizableKeys)
  const memoizedObjects = new WeakMap<object, MemoizedObject>()
  return (source, run, place) => {
    if (!isReusable(source)) return executePlain(source, run, place)
    let memoized = memoizedObjects.get(source as object)
    if (!memoized) {
      memoized = memoizeObject(segments, source, run, place)
      // A field that was pending or failed depends on more than the object.
      if (!memoized) return executePlain(source, run, place)
      memoizedObjects.set(source as object, memoized)
      run.retainedBytes += bytesOfMemoizedObject(memoized)
    }
    run.usedPoints += memoized.points
    return executeSegments(segments, memoized.texts, source, run, place)
  }
}

const NO_KEYS: ReadonlySet<string> = new Set()

/** Estimated heap of the texts. V8 stores a concatenation as a tree, whose nodes need space, too. */
const bytesOfMemoizedObject = ({ texts }: MemoizedObject): number =>
  texts.reduce((sum, text) => sum + 200 + 2 * text.length, 100)

function groupSegments(fields: readonly CompiledField[], memoizableKeys: ReadonlySet<string>): Segment[] {
  const segments: Segment[] = []
  let group: CompiledField[] | undefined
  for (const field of fields) {
    const prefix = segments.length === 0 ? '{' : ','
    if (!memoizableKeys.has(field.key)) {
      group = undefined
      segments.push({ prefix: prefix + field.keyPrefix, field })
    } else if (group) group.push(field)
    else segments.push({ prefix, memoizedFields: (group = [field]) })
  }
  return segments
}

function memoizeObject(
  segments: readonly Segment[],
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): MemoizedObject | undefined {
  const [pointsBefore, failuresBefore] = [run.usedPoints, run.failures.length]
  const texts: JsonText[] = []
  let isComplete = true
  for (const segment of segments) {
    if (!('memoizedFields' in segment)) continue
    const values = segment.memoizedFields.map((field) => {
      const value = executeField(field, source, run, place)
      if (typeof value === 'string') return field.keyPrefix + value
      value.catch(() => undefined)
      isComplete = false
      return ''
    })
    texts.push(values.join(','))
  }
  const memoized = { texts, points: run.usedPoints - pointsBefore }
  run.usedPoints = pointsBefore
  if (run.failures.length > failuresBefore) isComplete = false
  if (!isComplete) run.failures.length = failuresBefore
  return isComplete ? memoized : undefined
}

function executeSegments(
  segments: readonly Segment[],
  texts: readonly JsonText[],
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): MaybePromise<JsonText> {
  let text = segments.length === 0 ? '{' : ''
  let pending: MaybePromise<JsonText>[] | undefined
  let memoizedIndex = 0
  for (const segment of segments) {
    if ('memoizedFields' in segment) {
      text += segment.prefix + texts[memoizedIndex++]!
      continue
    }
    let value: MaybePromise<JsonText>
    try {
      value = executeField(segment.field, source, run, place)
    } catch (thrown) {
      ignoreRejections(pending)
      throw thrown
    }
    if (typeof value === 'string') text += segment.prefix + value
    else {
      ;(pending ??= []).push(text + segment.prefix, value)
      text = ''
    }
  }
  text += '}'
  if (!pending) return text
  const [before, value] = pending
  // A promise costs more than the text that it resolves to.
  if (pending.length === 2)
    return (value as Promise<JsonText>).then((resolved) => `${before as JsonText}${resolved}${text}`)
  // eslint-disable-next-line @typescript-eslint/await-thenable -- some items are texts, which need no promise
  return Promise.all(pending).then((all) => all.join('') + text)
}
