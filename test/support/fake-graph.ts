import { createHash } from 'node:crypto'
import { makeExecutableSchema } from '@graphql-tools/schema'
import {
  getDirectiveValues,
  getNamedType,
  GraphQLIncludeDirective,
  GraphQLSkipDirective,
  isAbstractType,
  isEnumType,
  isListType,
  isNonNullType,
  isObjectType,
  Kind,
  type GraphQLAbstractType,
  type GraphQLOutputType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  type SelectionNode,
} from 'graphql'
import type { Caller, RequestContext } from '../../src/kernel/request-context.ts'
import { accessOf, type Access } from './contract-rules.ts'

/** A request of the fake graph. All fields but memoizable ones depend on `salt`. */
export interface FakeContext extends RequestContext {
  readonly salt: string
}

interface FakeObject {
  readonly __typename: string
  readonly key: string
}

const isAllowed = (access: Access | undefined, { kind, scopes }: Caller): boolean => {
  if (access === undefined || access === 'PUBLIC') return true
  if (kind === 'ANONYMOUS') return false
  if (access === 'TOKEN') return true
  if (access === 'POLICY') return kind === 'CLIENT'
  const held: ReadonlySet<string> = scopes
  return access.some((list) => list.every((scope) => held.has(scope)))
}

/** Whether the caller is denied a type as a whole, or one field of it, read from the directives by the test itself. */
export function createDenials(schema: GraphQLSchema) {
  const isTypeDenied = (name: string, caller: Caller): boolean => {
    const type = schema.getType(name)
    return isObjectType(type) && !isAllowed(accessOf(type.astNode?.directives), caller)
  }
  return {
    isTypeDenied,
    isFieldDenied: (typeName: string, fieldName: string, caller: Caller): boolean => {
      const type = schema.getType(typeName)
      const field = isObjectType(type) ? type.getFields()[fieldName] : undefined
      if (!field) return false
      return (
        isTypeDenied(typeName, caller) ||
        !isAllowed(accessOf(field.astNode?.directives), caller) ||
        isTypeDenied(getNamedType(field.type).name, caller)
      )
    },
  }
}

/** A byte for each of a row of decisions, the same for the same words. */
function createBytes(...words: readonly string[]): () => number {
  const bytes = createHash('sha256').update(words.join('\n')).digest()
  let index = 0
  return () => bytes[index++ % bytes.length]!
}

/**
 * The schema with resolvers that return values, nulls, promises, errors and lists of all of these, the same for the same
 * object, field, arguments and salt. Objects of one type and key are one object in all requests, as those of a cache are.
 *
 * `ENGINE`: a resolver of a denied field fails the test. `REFERENCE`: it returns null, as the gateway does, and an object
 * whose type is denied is null wherever one of its fields is selected.
 */
export function createFakeGraph(
  typeDefs: string,
  isMemoizable: (typeName: string, fieldName: string) => boolean,
  side: 'ENGINE' | 'REFERENCE',
): GraphQLSchema {
  const pool = new Map<string, FakeObject>()
  const objectOf = (typeName: string, number: number): FakeObject => {
    const key = `${typeName} ${number}`
    const found = pool.get(key) ?? { __typename: typeName, key }
    pool.set(key, found)
    return found
  }

  function fakeValue(type: GraphQLOutputType, nextByte: () => number): unknown {
    const byte = nextByte()
    if (isNonNullType(type)) return byte < 4 ? null : fakeValue(type.ofType, nextByte)
    if (byte < 16) return null
    if (byte < 22) return new Error(`${side}: returned`)
    if (byte < 80) return settle(byte % 4, () => fakeValue(type, nextByte))
    if (isListType(type)) return Array.from({ length: byte % 4 }, () => fakeValue(type.ofType, nextByte))
    if (isEnumType(type)) return type.getValues()[byte % type.getValues().length]!.value
    if (isAbstractType(type)) {
      const possible = schema.getPossibleTypes(type)
      return objectOf(possible[byte % possible.length]!.name, nextByte() % 4)
    }
    if (isObjectType(type)) return objectOf(type.name, byte % 4)
    if (type.name === 'Int') return byte
    if (type.name === 'Boolean') return byte % 2 === 0
    return `${type.name} ${byte} “ä”`
  }

  /** A promise that settles, or rejects, some turns of the microtask queue later. */
  async function settle(turns: number, run: () => unknown): Promise<unknown> {
    for (let turn = 0; turn < turns; turn++) await Promise.resolve()
    const value = run()
    if (value instanceof Error) throw value
    return value
  }

  const { isFieldDenied, isTypeDenied } = createDenials(makeExecutableSchema({ typeDefs }))
  const resolver =
    (typeName: string, fieldName: string) =>
    (source: unknown, args: object, { caller, salt }: FakeContext, info: GraphQLResolveInfo): unknown => {
      const type = (
        schema.getType(typeName) as { getFields(): Record<string, { type: GraphQLOutputType }> }
      ).getFields()[fieldName]!.type
      if (isFieldDenied(typeName, fieldName, caller)) {
        if (side === 'REFERENCE') return null
        throw new Error(`DENIED FIELD RESOLVED: ${typeName}.${fieldName}`)
      }
      const { key } = (source ?? { key: 'root' }) as FakeObject
      const nextByte = createBytes(key, fieldName, JSON.stringify(args), isMemoizable(typeName, fieldName) ? '' : salt)
      if (nextByte() < 6) throw new Error(`${side}: thrown`)
      const value = fakeValue(type, nextByte)
      const named = getNamedType(type)
      if (side === 'ENGINE' || !isAbstractType(named)) return value
      return hideDenied(
        value,
        (one) => isTypeDenied(one.__typename, caller) && selectsFields(info, named, one.__typename),
      )
    }

  const resolvers: Record<string, Record<string, unknown>> = {}
  const schema: GraphQLSchema = makeExecutableSchema({ typeDefs })
  for (const type of Object.values(schema.getTypeMap()))
    if (isObjectType(type) && !type.name.startsWith('__'))
      resolvers[type.name] = Object.fromEntries(
        Object.keys(type.getFields()).map((name) => [name, resolver(type.name, name)]),
      )
  return makeExecutableSchema({ typeDefs, resolvers: resolvers as never, resolverValidationOptions: {} })
}

function hideDenied(value: unknown, isHidden: (one: FakeObject) => boolean): unknown {
  if (value instanceof Promise) return value.then((one: unknown) => hideDenied(one, isHidden))
  if (Array.isArray(value)) return value.map((one) => hideDenied(one, isHidden))
  return typeof value === 'object' && value !== null && '__typename' in value && isHidden(value as FakeObject)
    ? null
    : value
}

/** Whether anything but `__typename` is selected of objects of a type behind an abstract one. */
function selectsFields(
  { fieldNodes, fragments, schema, variableValues }: GraphQLResolveInfo,
  _abstract: GraphQLAbstractType,
  typeName: string,
): boolean {
  const applies = (condition: string | undefined): boolean => {
    if (condition === undefined || condition === typeName) return true
    const type = schema.getType(condition)
    const object = schema.getType(typeName)
    return isAbstractType(type) && isObjectType(object) && schema.isSubType(type, object)
  }
  const selects = (selections: readonly SelectionNode[]): boolean =>
    selections.some((node) => {
      if (getDirectiveValues(GraphQLSkipDirective, node, variableValues)?.['if'] === true) return false
      if (getDirectiveValues(GraphQLIncludeDirective, node, variableValues)?.['if'] === false) return false
      if (node.kind === Kind.FIELD) return node.name.value !== '__typename'
      const fragment = node.kind === Kind.FRAGMENT_SPREAD ? fragments[node.name.value]! : node
      return applies(fragment.typeCondition?.name.value) && selects(fragment.selectionSet.selections)
    })
  return fieldNodes.some(({ selectionSet }) => selects(selectionSet?.selections ?? []))
}
