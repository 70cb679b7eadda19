import {
  getArgumentValues,
  isAbstractType,
  isLeafType,
  isListType,
  isNonNullType,
  OperationTypeNode,
  type GraphQLAbstractType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
} from 'graphql'
import type { RequestContext } from '../../kernel/request.ts'
import type { Plan, PlannedField, PlannedObject } from './plan.ts'

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

/** What came of a run. `data` is null where a failure went all the way up. */
export interface ProgramAnswer {
  readonly data: Record<string, unknown> | null
  readonly failures: readonly FieldFailure[]
  /** Points for the objects that were really made. */
  readonly used: number
}

interface Run extends ProgramRequest {
  readonly failures: FieldFailure[]
  readonly info: GraphQLResolveInfo
  used: number
}

interface Place {
  readonly above: Place | undefined
  readonly key: string | number
}

type Value = unknown
/** Turns what a resolver gave into what is answered; may throw, or give a promise. */
type Complete = (value: Value, run: Run, above: Place | undefined, key: string | number) => Value

interface Step {
  readonly key: string
  readonly read: (source: unknown, run: Run) => Value
  readonly complete: Complete
  readonly nullable: boolean
}

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
 * just what the plan holds; nothing is looked up in the contract while they run.
 */
export function program(schema: GraphQLSchema, plan: Plan): Program {
  const serial = plan.operation.operation === OperationTypeNode.MUTATION
  const root = objectOf(schema, plan.root, serial)
  return {
    run({ variables, context, visible, rootValue }) {
      const run: Run = {
        variables,
        context,
        visible,
        failures: [],
        used: 0,
        info: { schema: visible } as GraphQLResolveInfo,
      }
      const answer = (data: unknown): ProgramAnswer => ({
        data: data as Record<string, unknown> | null,
        failures: run.failures,
        used: run.used,
      })
      const failed = (thrown: unknown): ProgramAnswer => {
        run.failures.push(failureOf(thrown, undefined, ''))
        return answer(null)
      }
      try {
        const data = root(rootValue, run, undefined)
        return data instanceof Promise ? data.then(answer, failed) : answer(data)
      } catch (thrown) {
        return failed(thrown)
      }
    },
  }
}

type MakeObject = (source: unknown, run: Run, place: Place | undefined) => Value

function objectOf(schema: GraphQLSchema, planned: PlannedObject, serial = false): MakeObject {
  const { weight } = planned
  if (planned.denied) return () => null
  const steps = planned.fields.map((field) => stepOf(schema, field, planned))

  const take = (step: Step, source: unknown, run: Run, place: Place | undefined): Value => {
    try {
      const value = step.read(source, run)
      if (!isPromise(value)) {
        const done = step.complete(value, run, place, step.key)
        return isPromise(done) ? done.then(undefined, (thrown: unknown) => settle(step, thrown, run, place)) : done
      }
      return value
        .then((given) => step.complete(given, run, place, step.key))
        .then(undefined, (thrown: unknown) => settle(step, thrown, run, place))
    } catch (thrown) {
      return settle(step, thrown, run, place)
    }
  }

  if (serial)
    return async (source, run, place) => {
      run.used += weight
      const made: Record<string, unknown> = {}
      for (const step of steps) made[step.key] = await take(step, source, run, place)
      return made
    }

  return (source, run, place) => {
    run.used += weight
    const made: Record<string, unknown> = {}
    let waiting: Promise<unknown>[] | undefined
    for (const step of steps) {
      const value = take(step, source, run, place)
      if (isPromise(value)) {
        // Keeps the order in which the fields were asked for.
        made[step.key] = null
        const { key } = step
        ;(waiting ??= []).push(value.then((done) => (made[key] = done)))
      } else made[step.key] = value
    }
    return waiting ? Promise.all(waiting).then(() => made) : made
  }
}

function settle(step: Step, thrown: unknown, run: Run, place: Place | undefined): null {
  const failure = failureOf(thrown, place, step.key)
  if (!step.nullable) throw new Failed(failure)
  run.failures.push(failure)
  return null
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
  if (kind === 'denied') return { key, read: () => null, complete: () => null, nullable: true }
  if (kind === 'typename') return { key, read: () => parent.type.name, complete: (value) => value, nullable: false }
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
  return { key, read, complete: completeOf(schema, field.type, planned), nullable: !isNonNullType(field.type) }
}

function completeOf(schema: GraphQLSchema, type: GraphQLOutputType, planned: PlannedField): Complete {
  if (isNonNullType(type)) {
    const inner = completeOf(schema, type.ofType, planned)
    return (value, run, above, key) => {
      if (value === null || value === undefined) throw new TypeError('null for a field that is never null')
      const done = inner(value, run, above, key)
      // What stands behind an abstract type can be denied as a whole.
      if (done === null) throw new TypeError('null for a field that is never null')
      return done
    }
  }
  if (isListType(type)) return listOf(schema, type.ofType, planned)
  if (isLeafType(type))
    return (value) => {
      if (value === null || value === undefined) return null
      const written: unknown = type.serialize(value)
      if (written === null || written === undefined) throw new TypeError('a value that cannot be written')
      return written
    }
  const makers = new Map([...planned.objects!].map(([name, object]) => [name, objectOf(schema, object)]))
  if (!isAbstractType(type)) {
    const make = makers.get(type.name)!
    return (value, run, above, key) => (value === null || value === undefined ? null : make(value, run, { above, key }))
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return null
    const make = makers.get(typeNameOf(type, value, run))
    if (!make) throw new TypeError('an object of a type that the contract does not have here')
    return make(value, run, { above, key })
  }
}

function typeNameOf(type: GraphQLAbstractType, value: unknown, run: Run): string {
  const named = type.resolveType?.(value, run.context, run.info, type) ?? (value as { __typename?: unknown }).__typename
  return typeof named === 'string' ? named : ''
}

function listOf(schema: GraphQLSchema, itemType: GraphQLOutputType, planned: PlannedField): Complete {
  const complete = completeOf(schema, itemType, planned)
  const nullable = !isNonNullType(itemType)
  const settleItem = (thrown: unknown, run: Run, list: Place, index: number): null => {
    const failure = failureOf(thrown, list, index)
    if (!nullable) throw new Failed(failure)
    run.failures.push(failure)
    return null
  }
  return (value, run, above, key) => {
    if (value === null || value === undefined) return null
    if (!Array.isArray(value)) throw new TypeError('no list where the contract has one')
    const list: Place = { above, key }
    const made = new Array<unknown>(value.length)
    let waiting: Promise<unknown>[] | undefined
    for (const [index, item] of value.entries()) {
      try {
        const done: unknown = isPromise(item)
          ? item.then((given) => complete(given, run, list, index))
          : complete(item, run, list, index)
        if (isPromise(done)) {
          made[index] = null
          ;(waiting ??= []).push(
            done
              .then(undefined, (thrown: unknown) => settleItem(thrown, run, list, index))
              .then((settled) => (made[index] = settled)),
          )
        } else made[index] = done
      } catch (thrown) {
        made[index] = settleItem(thrown, run, list, index)
      }
    }
    return waiting ? Promise.all(waiting).then(() => made) : made
  }
}

/** Anything that can be waited for: stores hand on what their driver gives them. */
const isPromise = (value: unknown): value is Promise<unknown> =>
  typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
