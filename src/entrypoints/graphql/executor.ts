import {
  getArgumentValues,
  GraphQLID,
  GraphQLString,
  isAbstractType,
  isEnumType,
  isLeafType,
  isListType,
  isNonNullType,
  OperationTypeNode,
  type GraphQLAbstractType,
  type GraphQLLeafType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
} from 'graphql'
import type { RequestContext } from '../../kernel/request-context.ts'
import { isReusable, findCacheableKeys } from './cacheable-fields.ts'
import type { DeniedField, Plan, PlannedField, PlannedObject } from './plan.ts'

/** A plan as functions, which can be run any number of times. */
export interface CompiledOperation {
  run(request: ExecutionRequest): ExecutionResult | Promise<ExecutionResult>
}

/** What one run is about. */
export interface ExecutionRequest {
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: RequestContext
  /** The contract that introspection shows. */
  readonly visibleSchema: GraphQLSchema
  readonly rootValue?: unknown
}

/** An error where it happened: what was thrown, and the response path. */
export interface FieldFailure {
  readonly thrown: unknown
  readonly path: readonly (string | number)[]
}

/** What came of a run. */
export interface ExecutionResult {
  /** JSON text, in ASCII; `null` where a failure went all the way up. */
  readonly data: string
  readonly failures: readonly FieldFailure[]
  /** What was denied of objects behind abstract types that were there. */
  readonly denied: ReadonlySet<DeniedField>
  /** Points for the objects that were really made. */
  readonly usedPoints: number
}

interface ExecutionState extends ExecutionRequest {
  readonly failures: FieldFailure[]
  readonly denied: Set<DeniedField>
  readonly info: GraphQLResolveInfo
  usedPoints: number
  /** Bytes of what was stored for later runs. */
  retainedBytes: number
}

interface ResponsePath {
  readonly prev: ResponsePath | undefined
  readonly key: string | number
}

/** JSON text, in ASCII. */
type JsonText = string
type PromiseOrValue<T> = T | Promise<T>
/** Writes what a resolver gave; may throw. */
type CompleteValue = (
  value: unknown,
  run: ExecutionState,
  above: ResponsePath | undefined,
  key: string | number,
) => PromiseOrValue<JsonText>

interface CompiledField {
  readonly key: string
  /** The key as it is written, with its colon. */
  readonly keyPrefix: JsonText
  readonly resolve: (source: unknown, run: ExecutionState) => unknown
  readonly complete: CompleteValue
  readonly nullable: boolean
}

const NULL: JsonText = 'null'

/** A failure on its way up to the next nullable place. */
class PropagatedError extends Error {
  readonly failure: FieldFailure
  constructor(failure: FieldFailure) {
    super('failed')
    this.failure = failure
  }
}

/**
 * Makes a plan into functions, once. They do what section 6 of the GraphQL specification says of a document that holds
 * just what the plan holds, and write the answer as JSON as they go; nothing is looked up in the contract while they run.
 */
export function compileOperation(schema: GraphQLSchema, plan: Plan): CompiledOperation {
  const root = compileObject(schema, plan.root, plan.operation.operation === OperationTypeNode.MUTATION)
  return {
    run({ variables, context, visibleSchema, rootValue }) {
      const info = { schema: visibleSchema } as GraphQLResolveInfo
      const run: ExecutionState = {
        variables,
        context,
        visibleSchema,
        failures: [],
        denied: new Set(),
        usedPoints: 0,
        retainedBytes: 0,
        info,
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
        const data = root(rootValue, run, undefined)
        return isPromise(data) ? data.then(toResult, toFailedResult) : toResult(data)
      } catch (thrown) {
        return toFailedResult(thrown)
      }
    },
  }
}

type ExecuteSelectionSet = (
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
) => PromiseOrValue<JsonText>

/** Fields that are made at each request, one by one; or some that are made once for each object, together. */
type Segment =
  | { readonly prefix: JsonText; readonly field: CompiledField }
  | { readonly prefix: JsonText; readonly cachedFields: readonly CompiledField[] }

/** The texts that an object alone decides, and the points of the objects in them. */
interface CachedObject {
  readonly texts: readonly JsonText[]
  readonly points: number
}

function compileObject(schema: GraphQLSchema, planned: PlannedObject, serial = false): ExecuteSelectionSet {
  const { conditionalDenials } = planned
  const execute = planned.denied ? () => NULL : compileSelectionSet(schema, planned, serial)
  if (conditionalDenials.length === 0) return execute
  return (source, run, place) => {
    for (const field of conditionalDenials) run.denied.add(field)
    return execute(source, run, place)
  }
}

function compileSelectionSet(schema: GraphQLSchema, planned: PlannedObject, serial: boolean): ExecuteSelectionSet {
  const { weight, itemWeight } = planned
  const pointsOf = itemWeight
    ? (run: ExecutionState): number => weight + itemWeight(run.variables)
    : (): number => weight
  const fields = planned.fields.map((field) => compileField(schema, field, planned))
  if (serial)
    return async (source, run, place) => {
      run.usedPoints += pointsOf(run)
      const texts: JsonText[] = []
      for (const step of fields) texts.push(step.keyPrefix + (await executeField(step, source, run, place)))
      return `{${texts.join(',')}}`
    }

  const cacheableKeys = findCacheableKeys(planned)
  const segments = groupSegments(fields, cacheableKeys)
  const cachedObjects = new WeakMap<object, CachedObject>()
  const uncachedSegments = cacheableKeys.size === 0 ? segments : groupSegments(fields, NO_KEYS)
  const executeUncached = (
    source: unknown,
    run: ExecutionState,
    place: ResponsePath | undefined,
  ): PromiseOrValue<JsonText> => executeSegments(uncachedSegments, [], source, run, place)

  return (source, run, place) => {
    run.usedPoints += pointsOf(run)
    if (cacheableKeys.size === 0 || !isReusable(source)) return executeUncached(source, run, place)
    let cached = cachedObjects.get(source as object)
    if (!cached) {
      cached = buildCachedObject(segments, source, run, place)
      // What had to be waited for, or went wrong, is not what the object holds.
      if (!cached) return executeUncached(source, run, place)
      cachedObjects.set(source as object, cached)
      run.retainedBytes += bytesOfCachedObject(cached)
    }
    run.usedPoints += cached.points
    return executeSegments(segments, cached.texts, source, run, place)
  }
}

const NO_KEYS: ReadonlySet<string> = new Set()

/** Heap that the texts of an object keep in use: they are joined of parts, each of which has its own record. */
const bytesOfCachedObject = ({ texts }: CachedObject): number =>
  texts.reduce((sum, text) => sum + 200 + 2 * text.length, 100)

function groupSegments(fields: readonly CompiledField[], cacheableKeys: ReadonlySet<string>): Segment[] {
  const segments: Segment[] = []
  let cachedGroup: CompiledField[] | undefined
  for (const step of fields) {
    const prefix = segments.length === 0 ? '{' : ','
    if (!cacheableKeys.has(step.key)) {
      cachedGroup = undefined
      segments.push({ prefix: prefix + step.keyPrefix, field: step })
    } else if (cachedGroup) cachedGroup.push(step)
    else segments.push({ prefix, cachedFields: (cachedGroup = [step]) })
  }
  return segments
}

function buildCachedObject(
  segments: readonly Segment[],
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): CachedObject | undefined {
  const [pointsBefore, failuresBefore] = [run.usedPoints, run.failures.length]
  const texts: JsonText[] = []
  let isComplete = true
  for (const part of segments) {
    if (!('cachedFields' in part)) continue
    const values = part.cachedFields.map((step) => {
      const value = executeField(step, source, run, place)
      if (typeof value === 'string') return step.keyPrefix + value
      value.catch(() => undefined)
      isComplete = false
      return ''
    })
    texts.push(values.join(','))
  }
  const cached = { texts, points: run.usedPoints - pointsBefore }
  run.usedPoints = pointsBefore
  if (run.failures.length > failuresBefore) isComplete = false
  if (!isComplete) run.failures.length = failuresBefore
  return isComplete ? cached : undefined
}

function executeSegments(
  segments: readonly Segment[],
  texts: readonly JsonText[],
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): PromiseOrValue<JsonText> {
  let text = segments.length === 0 ? '{' : ''
  let pending: PromiseOrValue<JsonText>[] | undefined
  let cachedIndex = 0
  for (const part of segments) {
    if ('cachedFields' in part) {
      text += part.prefix + texts[cachedIndex++]!
      continue
    }
    let value: PromiseOrValue<JsonText>
    try {
      value = executeField(part.field, source, run, place)
    } catch (thrown) {
      ignoreRejections(pending)
      throw thrown
    }
    if (typeof value === 'string') text += part.prefix + value
    else {
      ;(pending ??= []).push(text + part.prefix, value)
      text = ''
    }
  }
  text += '}'
  if (!pending) return text
  const [before, one] = pending
  // Each promise costs more than what is written of it.
  if (pending.length === 2) return (one as Promise<JsonText>).then((value) => `${before as JsonText}${value}${text}`)
  // eslint-disable-next-line @typescript-eslint/await-thenable -- what is written already needs no promise of its own
  return Promise.all(pending).then((texts) => texts.join('') + text)
}

/** The object or list has failed: a promise of it that fails later has nobody to tell, and must not end the process. */
function ignoreRejections(pending: readonly PromiseOrValue<unknown>[] = []): void {
  for (const one of pending) if (isPromise(one)) one.catch(() => undefined)
}

function executeField(
  field: CompiledField,
  source: unknown,
  run: ExecutionState,
  place: ResponsePath | undefined,
): PromiseOrValue<JsonText> {
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
): PromiseOrValue<JsonText> {
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

const toFieldFailure = (thrown: unknown, above: ResponsePath | undefined, key: string | number): FieldFailure =>
  thrown instanceof PropagatedError
    ? thrown.failure
    : { thrown, path: key === '' ? [] : pathToArray({ prev: above, key }) }

function pathToArray(place: ResponsePath): (string | number)[] {
  const path: (string | number)[] = []
  for (let node: ResponsePath | undefined = place; node; node = node.prev) path.unshift(node.key)
  return path
}

function compileField(schema: GraphQLSchema, planned: PlannedField, parent: PlannedObject): CompiledField {
  const { key, name, field, kind, node, args } = planned
  const keyPrefix = `${quoteJson(key)}:`
  if (kind === 'denied') return { key, keyPrefix, resolve: () => null, complete: () => NULL, nullable: true }
  if (kind === 'typename') {
    const text = quoteJson(parent.type.name)
    return { key, keyPrefix, resolve: () => null, complete: () => text, nullable: false }
  }
  const { resolve } = field
  const resolveValue: CompiledField['resolve'] = !resolve
    ? (source, run) => {
        const value = (source as Record<string, unknown> | undefined)?.[name]
        return typeof value === 'function'
          ? (value as (...given: unknown[]) => unknown).call(source, args ?? {}, run.context, run.info)
          : value
      }
    : args
      ? (source, run) => resolve(source, args, run.context, run.info)
      : (source, run) => resolve(source, getArgumentValues(field, node, run.variables), run.context, run.info)
  return {
    key,
    keyPrefix,
    resolve: resolveValue,
    complete: compileCompletion(schema, field.type, planned),
    nullable: !isNonNullType(field.type),
  }
}

function compileCompletion(schema: GraphQLSchema, type: GraphQLOutputType, planned: PlannedField): CompleteValue {
  if (isNonNullType(type)) {
    const inner = compileCompletion(schema, type.ofType, planned)
    return (value, run, above, key) => {
      // What stands behind an abstract type can be denied as a whole.
      const text = value === null || value === undefined ? NULL : inner(value, run, above, key)
      if (text === NULL) throw new TypeError('null for a field that is never null')
      return text
    }
  }
  if (isListType(type)) return compileList(schema, type.ofType, planned)
  if (isLeafType(type)) return compileLeaf(type)
  const executeByType = new Map([...planned.objects!].map(([name, object]) => [name, compileObject(schema, object)]))
  if (!isAbstractType(type)) {
    const execute = executeByType.get(type.name)!
    return (value, run, above, key) => {
      if (value === null || value === undefined) return NULL
      if (value instanceof Error) throw value
      return execute(value, run, { prev: above, key })
    }
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return NULL
    if (value instanceof Error) throw value
    const execute = executeByType.get(resolveTypeName(type, value, run))
    if (!execute) throw new TypeError('an object of a type that the contract does not have here')
    return execute(value, run, { prev: above, key })
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
    const serialized: unknown = type.serialize(value)
    if (serialized === null || serialized === undefined) throw new TypeError('a value that cannot be written')
    return typeof serialized === 'string' ? quoteJson(serialized) : toAsciiJson(JSON.stringify(serialized))
  }
}

const UNESCAPED_ASCII = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/
const quoteJson = (value: string): JsonText =>
  UNESCAPED_ASCII.test(value) ? `"${value}"` : toAsciiJson(JSON.stringify(value))

/** The same JSON with every other character escaped: a text of one byte a character is written without being looked at. */
export const toAsciiJson = (json: string): JsonText =>
  json.replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

function resolveTypeName(type: GraphQLAbstractType, value: unknown, run: ExecutionState): string {
  const typeName =
    type.resolveType?.(value, run.context, run.info, type) ?? (value as { __typename?: unknown }).__typename
  return typeof typeName === 'string' ? typeName : ''
}

function compileList(schema: GraphQLSchema, itemType: GraphQLOutputType, planned: PlannedField): CompleteValue {
  const complete = compileCompletion(schema, itemType, planned)
  const nullable = !isNonNullType(itemType)
  const handleItemError = (thrown: unknown, run: ExecutionState, list: ResponsePath, index: number): JsonText => {
    const failure = toFieldFailure(thrown, list, index)
    if (!nullable) throw new PropagatedError(failure)
    run.failures.push(failure)
    return NULL
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return NULL
    if (!Array.isArray(value)) throw new TypeError('no list where the contract has one')
    const list: ResponsePath = { prev: above, key }
    const texts: JsonText[] = []
    const pending: Promise<unknown>[] = []
    for (const [index, item] of value.entries()) {
      try {
        const completed = isPromise(item)
          ? item.then((given) => complete(given, run, list, index))
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
        if (!nullable) ignoreRejections(pending)
        texts[index] = handleItemError(thrown, run, list, index)
      }
    }
    const writeList = (): JsonText => `[${texts.join(',')}]`
    return pending.length > 0 ? Promise.all(pending).then(writeList) : writeList()
  }
}

/** Anything that can be waited for: stores hand on what their driver gives them. */
const isPromise = <T>(value: T | Promise<T>): value is Promise<T> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
