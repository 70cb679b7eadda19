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
import type { RequestContext } from '../../kernel/request.ts'
import { isMetAgain, keptFields } from './kept.ts'
import type { DeniedField, Plan, PlannedField, PlannedObject } from './plan.ts'

/** A plan as functions, which can be run any number of times. */
export interface Program {
  run(request: ProgramRequest): ProgramAnswer | Promise<ProgramAnswer>
}

/** What one run is about. */
export interface ProgramRequest {
  readonly variables: Readonly<Record<string, unknown>>
  readonly context: RequestContext
  /** The contract that introspection shows. */
  readonly visible: GraphQLSchema
  readonly rootValue?: unknown
}

/** An error where it happened: what was thrown, and the response path. */
export interface FieldFailure {
  readonly thrown: unknown
  readonly path: readonly (string | number)[]
}

/** What came of a run. */
export interface ProgramAnswer {
  /** JSON text, in ASCII; `null` where a failure went all the way up. */
  readonly data: string
  readonly failures: readonly FieldFailure[]
  /** What was denied of objects behind abstract types that were there. */
  readonly denied: ReadonlySet<DeniedField>
  /** Points for the objects that were really made. */
  readonly used: number
}

interface Run extends ProgramRequest {
  readonly failures: FieldFailure[]
  readonly denied: Set<DeniedField>
  readonly info: GraphQLResolveInfo
  used: number
  /** Bytes of what was stored for later runs. */
  retained: number
}

interface Place {
  readonly above: Place | undefined
  readonly key: string | number
}

/** JSON text, in ASCII. */
type Text = string
type Later<T> = T | Promise<T>
/** Writes what a resolver gave; may throw. */
type Complete = (value: unknown, run: Run, above: Place | undefined, key: string | number) => Later<Text>

interface Step {
  readonly key: string
  /** The key as it is written, with its colon. */
  readonly head: Text
  readonly read: (source: unknown, run: Run) => unknown
  readonly complete: Complete
  readonly nullable: boolean
}

const NULL: Text = 'null'

/** A failure on its way up to the next nullable place. */
class Failed extends Error {
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
export function program(schema: GraphQLSchema, plan: Plan): Program {
  const root = objectOf(schema, plan.root, plan.operation.operation === OperationTypeNode.MUTATION)
  return {
    run({ variables, context, visible, rootValue }) {
      const info = { schema: visible } as GraphQLResolveInfo
      const run: Run = { variables, context, visible, failures: [], denied: new Set(), used: 0, retained: 0, info }
      const answer = (data: Text): ProgramAnswer => {
        plan.retainedBytes += run.retained
        return { data, failures: run.failures, denied: run.denied, used: run.used }
      }
      const failed = (thrown: unknown): ProgramAnswer => {
        run.failures.push(failureOf(thrown, undefined, ''))
        return answer(NULL)
      }
      try {
        const data = root(rootValue, run, undefined)
        return isPromise(data) ? data.then(answer, failed) : answer(data)
      } catch (thrown) {
        return failed(thrown)
      }
    },
  }
}

type MakeObject = (source: unknown, run: Run, place: Place | undefined) => Later<Text>

/** Fields that are made at each request, one by one; or some that are made once for each object, together. */
type Part = { readonly lead: Text; readonly step: Step } | { readonly lead: Text; readonly once: readonly Step[] }

/** The texts that an object alone decides, and the points of the objects in them. */
interface Made {
  readonly texts: readonly Text[]
  readonly used: number
}

function objectOf(schema: GraphQLSchema, planned: PlannedObject, serial = false): MakeObject {
  const { behind } = planned
  const make = planned.denied ? () => NULL : makerOf(schema, planned, serial)
  if (behind.length === 0) return make
  return (source, run, place) => {
    for (const field of behind) run.denied.add(field)
    return make(source, run, place)
  }
}

function makerOf(schema: GraphQLSchema, planned: PlannedObject, serial: boolean): MakeObject {
  const { weight, weightPerItem } = planned
  const weigh = weightPerItem ? (run: Run): number => weight + weightPerItem(run.variables) : (): number => weight
  const steps = planned.fields.map((field) => stepOf(schema, field, planned))
  if (serial)
    return async (source, run, place) => {
      run.used += weigh(run)
      const texts: Text[] = []
      for (const step of steps) texts.push(step.head + (await take(step, source, run, place)))
      return `{${texts.join(',')}}`
    }

  const kept = keptFields(planned)
  const parts = partsOf(steps, kept)
  const known = new WeakMap<object, Made>()
  const plainParts = kept.size === 0 ? parts : partsOf(steps, NONE)
  const plain = (source: unknown, run: Run, place: Place | undefined): Later<Text> =>
    compose(plainParts, [], source, run, place)

  return (source, run, place) => {
    run.used += weigh(run)
    if (kept.size === 0 || !isMetAgain(source)) return plain(source, run, place)
    let made = known.get(source as object)
    if (!made) {
      made = makeOnce(parts, source, run, place)
      // What had to be waited for, or went wrong, is not what the object holds.
      if (!made) return plain(source, run, place)
      known.set(source as object, made)
      run.retained += bytesOfMade(made)
    }
    run.used += made.used
    return compose(parts, made.texts, source, run, place)
  }
}

const NONE: ReadonlySet<string> = new Set()

/** Heap that the texts of an object keep in use: they are joined of parts, each of which has its own record. */
const bytesOfMade = ({ texts }: Made): number => texts.reduce((sum, text) => sum + 200 + 2 * text.length, 100)

function partsOf(steps: readonly Step[], kept: ReadonlySet<string>): Part[] {
  const parts: Part[] = []
  let group: Step[] | undefined
  for (const step of steps) {
    const lead = parts.length === 0 ? '{' : ','
    if (!kept.has(step.key)) {
      group = undefined
      parts.push({ lead: lead + step.head, step })
    } else if (group) group.push(step)
    else parts.push({ lead, once: (group = [step]) })
  }
  return parts
}

function makeOnce(parts: readonly Part[], source: unknown, run: Run, place: Place | undefined): Made | undefined {
  const [used, failures] = [run.used, run.failures.length]
  const texts: Text[] = []
  let whole = true
  for (const part of parts) {
    if (!('once' in part)) continue
    const values = part.once.map((step) => {
      const value = take(step, source, run, place)
      if (typeof value === 'string') return step.head + value
      value.catch(() => undefined)
      whole = false
      return ''
    })
    texts.push(values.join(','))
  }
  const made = { texts, used: run.used - used }
  run.used = used
  if (run.failures.length > failures) whole = false
  if (!whole) run.failures.length = failures
  return whole ? made : undefined
}

function compose(
  parts: readonly Part[],
  texts: readonly Text[],
  source: unknown,
  run: Run,
  place: Place | undefined,
): Later<Text> {
  let text = parts.length === 0 ? '{' : ''
  let waiting: Later<Text>[] | undefined
  let group = 0
  for (const part of parts) {
    if ('once' in part) {
      text += part.lead + texts[group++]!
      continue
    }
    let value: Later<Text>
    try {
      value = take(part.step, source, run, place)
    } catch (thrown) {
      abandon(waiting)
      throw thrown
    }
    if (typeof value === 'string') text += part.lead + value
    else {
      ;(waiting ??= []).push(text + part.lead, value)
      text = ''
    }
  }
  text += '}'
  if (!waiting) return text
  const [before, one] = waiting
  // Each promise costs more than what is written of it.
  if (waiting.length === 2) return (one as Promise<Text>).then((value) => `${before as Text}${value}${text}`)
  // eslint-disable-next-line @typescript-eslint/await-thenable -- what is written already needs no promise of its own
  return Promise.all(waiting).then((texts) => texts.join('') + text)
}

/** The object or list has failed: a promise of it that fails later has nobody to tell, and must not end the process. */
function abandon(waiting: readonly Later<unknown>[] = []): void {
  for (const one of waiting) if (isPromise(one)) one.catch(() => undefined)
}

function take(step: Step, source: unknown, run: Run, place: Place | undefined): Later<Text> {
  try {
    const value = step.read(source, run)
    return isPromise(value)
      ? value.then(
          (given) => finish(step, given, run, place),
          (thrown: unknown) => settle(step, thrown, run, place),
        )
      : finish(step, value, run, place)
  } catch (thrown) {
    return settle(step, thrown, run, place)
  }
}

function finish(step: Step, value: unknown, run: Run, place: Place | undefined): Later<Text> {
  try {
    const done = step.complete(value, run, place, step.key)
    return typeof done === 'string' ? done : done.then(undefined, (thrown: unknown) => settle(step, thrown, run, place))
  } catch (thrown) {
    return settle(step, thrown, run, place)
  }
}

function settle(step: Step, thrown: unknown, run: Run, place: Place | undefined): Text {
  const failure = failureOf(thrown, place, step.key)
  if (!step.nullable) throw new Failed(failure)
  run.failures.push(failure)
  return NULL
}

const failureOf = (thrown: unknown, above: Place | undefined, key: string | number): FieldFailure =>
  thrown instanceof Failed ? thrown.failure : { thrown, path: key === '' ? [] : pathOf({ above, key }) }

function pathOf(place: Place): (string | number)[] {
  const path: (string | number)[] = []
  for (let at: Place | undefined = place; at; at = at.above) path.unshift(at.key)
  return path
}

function stepOf(schema: GraphQLSchema, planned: PlannedField, parent: PlannedObject): Step {
  const { key, name, field, kind, node, args } = planned
  const head = `${quoted(key)}:`
  if (kind === 'denied') return { key, head, read: () => null, complete: () => NULL, nullable: true }
  if (kind === 'typename') {
    const text = quoted(parent.type.name)
    return { key, head, read: () => null, complete: () => text, nullable: false }
  }
  const { resolve } = field
  const read: Step['read'] = !resolve
    ? (source, run) => {
        const value = (source as Record<string, unknown> | undefined)?.[name]
        return typeof value === 'function'
          ? (value as (...given: unknown[]) => unknown).call(source, args ?? {}, run.context, run.info)
          : value
      }
    : args
      ? (source, run) => resolve(source, args, run.context, run.info)
      : (source, run) => resolve(source, getArgumentValues(field, node, run.variables), run.context, run.info)
  return { key, head, read, complete: completeOf(schema, field.type, planned), nullable: !isNonNullType(field.type) }
}

function completeOf(schema: GraphQLSchema, type: GraphQLOutputType, planned: PlannedField): Complete {
  if (isNonNullType(type)) {
    const inner = completeOf(schema, type.ofType, planned)
    return (value, run, above, key) => {
      // What stands behind an abstract type can be denied as a whole.
      const text = value === null || value === undefined ? NULL : inner(value, run, above, key)
      if (text === NULL) throw new TypeError('null for a field that is never null')
      return text
    }
  }
  if (isListType(type)) return listOf(schema, type.ofType, planned)
  if (isLeafType(type)) return leafOf(type)
  const makers = new Map([...planned.objects!].map(([name, object]) => [name, objectOf(schema, object)]))
  if (!isAbstractType(type)) {
    const make = makers.get(type.name)!
    return (value, run, above, key) => {
      if (value === null || value === undefined) return NULL
      if (value instanceof Error) throw value
      return make(value, run, { above, key })
    }
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return NULL
    if (value instanceof Error) throw value
    const make = makers.get(typeNameOf(type, value, run))
    if (!make) throw new TypeError('an object of a type that the contract does not have here')
    return make(value, run, { above, key })
  }
}

function leafOf(type: GraphQLLeafType): Complete {
  const isText = type === GraphQLString || type === GraphQLID
  const words = isEnumType(type)
    ? new Map<unknown, Text>(type.getValues().map(({ name, value }) => [value, quoted(name)]))
    : undefined
  return (value) => {
    if (value === null || value === undefined) return NULL
    if (isText && typeof value === 'string') return quoted(value)
    const word = words?.get(value)
    if (word !== undefined) return word
    const written: unknown = type.serialize(value)
    if (written === null || written === undefined) throw new TypeError('a value that cannot be written')
    return typeof written === 'string' ? quoted(written) : inAscii(JSON.stringify(written))
  }
}

const PLAIN = /^[\x20\x21\x23-\x5b\x5d-\x7e]*$/
const quoted = (value: string): Text => (PLAIN.test(value) ? `"${value}"` : inAscii(JSON.stringify(value)))

/** The same JSON with every other character escaped: a text of one byte a character is written without being looked at. */
export const inAscii = (json: string): Text =>
  json.replace(/[^\x20-\x7e]/g, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, '0')}`)

function typeNameOf(type: GraphQLAbstractType, value: unknown, run: Run): string {
  const named = type.resolveType?.(value, run.context, run.info, type) ?? (value as { __typename?: unknown }).__typename
  return typeof named === 'string' ? named : ''
}

function listOf(schema: GraphQLSchema, itemType: GraphQLOutputType, planned: PlannedField): Complete {
  const complete = completeOf(schema, itemType, planned)
  const nullable = !isNonNullType(itemType)
  const settleItem = (thrown: unknown, run: Run, list: Place, index: number): Text => {
    const failure = failureOf(thrown, list, index)
    if (!nullable) throw new Failed(failure)
    run.failures.push(failure)
    return NULL
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return NULL
    if (!Array.isArray(value)) throw new TypeError('no list where the contract has one')
    const list: Place = { above, key }
    const texts: Text[] = []
    const waiting: Promise<unknown>[] = []
    for (const [index, item] of value.entries()) {
      try {
        const done = isPromise(item)
          ? item.then((given) => complete(given, run, list, index))
          : complete(item, run, list, index)
        if (typeof done === 'string') texts[index] = done
        else
          waiting.push(
            done.then(
              (text) => (texts[index] = text),
              (thrown: unknown) => (texts[index] = settleItem(thrown, run, list, index)),
            ),
          )
      } catch (thrown) {
        if (!nullable) abandon(waiting)
        texts[index] = settleItem(thrown, run, list, index)
      }
    }
    const close = (): Text => `[${texts.join(',')}]`
    return waiting.length > 0 ? Promise.all(waiting).then(close) : close()
  }
}

/** Anything that can be waited for: stores hand on what their driver gives them. */
const isPromise = <T>(value: T | Promise<T>): value is Promise<T> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
