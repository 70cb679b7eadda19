import {
  getNamedType,
  isAbstractType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  isRequiredArgument,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLNamedType,
  type GraphQLSchema,
} from 'graphql'

/** A document and its variables. */
export interface RandomDocument {
  readonly text: string
  readonly variables: Readonly<Record<string, unknown>>
}

/** Numbers from 0 to 1, the same ones for the same seed (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

const MAX_DEPTH = 6
const SCALARS: Readonly<Record<string, () => unknown>> = {
  Int: () => 3,
  Boolean: () => true,
  DateTime: () => '2026-11-22T10:00:00.000Z',
  Decimal: () => '12.50',
  JsonWebKeySet: () => ({ keys: [] }),
  ConnectorRegistration: () => ({ name: 'x' }),
}

/**
 * A document over the schema with aliases, repeated fields, fragments, inline fragments, variables, and `@skip` and `@include`
 * of literals and variables. It may break a rule of validation, such as that fields under one key can be merged.
 */
export function createRandomDocument(schema: GraphQLSchema, random: () => number): RandomDocument {
  const variables: Record<string, unknown> = {}
  const definitions: string[] = []
  const fragments: string[] = []
  let count = 0
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)]!
  const isLikely = (share: number): boolean => random() < share

  function addVariable(type: string, value: unknown, defaultValue = ''): string {
    const name = `v${count++}`
    definitions.push(`$${name}: ${type}${defaultValue}`)
    variables[name] = value
    return `$${name}`
  }

  function valueOf(type: GraphQLInputType): unknown {
    if (isNonNullType(type)) return valueOf(type.ofType)
    if (isListType(type)) return isLikely(0.5) ? [valueOf(type.ofType)] : []
    if (isEnumType(type)) return pick(type.getValues()).name
    if (!isInputObjectType(type)) return (SCALARS[type.name] ?? (() => pick(['a', 'b', 'ä "quoted"'])))()
    const fields = Object.values(type.getFields())
    const chosen = type.isOneOf ? [pick(fields)] : fields.filter((one) => isNonNullType(one.type) || isLikely(0.3))
    return Object.fromEntries(chosen.map((one) => [one.name, valueOf(one.type)]))
  }

  function literalOf(type: GraphQLInputType, value: unknown): string {
    if (isNonNullType(type)) return literalOf(type.ofType, value)
    if (isListType(type)) return `[${(value as unknown[]).map((one) => literalOf(type.ofType, one)).join(', ')}]`
    if (isEnumType(type)) return String(value)
    if (!isInputObjectType(type)) return untypedLiteral(value)
    const entries = Object.entries(value as object)
    return `{${entries.map(([name, one]) => `${name}: ${literalOf(type.getFields()[name]!.type, one)}`).join(', ')}}`
  }

  const untypedLiteral = (value: unknown): string =>
    Array.isArray(value)
      ? `[${value.map(untypedLiteral).join(', ')}]`
      : typeof value === 'object' && value !== null
        ? `{${Object.entries(value)
            .map(([name, one]) => `${name}: ${untypedLiteral(one)}`)
            .join(', ')}}`
        : JSON.stringify(value)

  function argumentsOf({ args }: GraphQLField<unknown, unknown>): string {
    const given = args
      .filter((one) => isRequiredArgument(one) || isLikely(0.3))
      .map((one) => {
        const value = valueOf(one.type)
        const isVariable = isLikely(0.4)
        return `${one.name}: ${isVariable ? addVariable(String(one.type), value) : literalOf(one.type, value)}`
      })
    return given.length > 0 ? `(${given.join(', ')})` : ''
  }

  function conditionOf(): string {
    if (!isLikely(0.15)) return ''
    const value = isLikely(0.5)
    const condition = pick([
      () => String(value),
      () => addVariable('Boolean!', value),
      () => addVariable('Boolean', value, ' = true'),
    ])()
    return ` @${pick(['skip', 'include'])}(if: ${condition})`
  }

  function fieldOf(field: GraphQLField<unknown, unknown>, depth: number): string {
    const type = getNamedType(field.type)
    const args = argumentsOf(field)
    const alias = args || isLikely(0.2) ? `a${count++}: ` : ''
    const selection = isLeafType(type) ? '' : ` ${selectionOf(type, depth + 1)}`
    return `${alias}${field.name}${args}${conditionOf()}${selection}`
  }

  function fragmentOf(type: GraphQLNamedType, depth: number): string {
    const possible = isAbstractType(type) ? schema.getPossibleTypes(type) : []
    const condition = possible.length > 0 && isLikely(0.85) ? pick(possible) : type
    const selection = selectionOf(condition, depth + 1)
    if (isLikely(0.3)) {
      const name = `F${count++}`
      fragments.push(`fragment ${name} on ${condition.name} ${selection}`)
      return `...${name}${conditionOf()}`
    }
    return `...${isLikely(0.8) || condition !== type ? ` on ${condition.name}` : ''}${conditionOf()} ${selection}`
  }

  function selectionOf(type: GraphQLNamedType, depth: number): string {
    const fields = isObjectType(type) || isInterfaceType(type) ? Object.values(type.getFields()) : []
    const usable = depth < MAX_DEPTH ? fields : fields.filter((one) => isLeafType(getNamedType(one.type)))
    const selections: string[] = []
    const size = 1 + Math.floor(random() * 5)
    for (let index = 0; index < size; index++)
      if (isLikely(0.1)) selections.push('__typename')
      else if (depth < MAX_DEPTH && (usable.length === 0 || isLikely(0.2))) selections.push(fragmentOf(type, depth))
      else if (usable.length > 0) selections.push(fieldOf(pick(usable), depth))
    // What is written twice is merged.
    if (selections.length > 0 && isLikely(0.1)) selections.push(pick(selections))
    return `{ ${selections.length > 0 ? selections.join(' ') : '__typename'} }`
  }

  const isMutation = isLikely(0.15)
  const root = isMutation ? schema.getMutationType()! : schema.getQueryType()!
  const selection = selectionOf(root, 0)
  const variableList = definitions.length > 0 ? `(${definitions.join(', ')})` : ''
  const text = `${isMutation ? 'mutation' : 'query'} Random${variableList} ${selection} ${fragments.join(' ')}`
  return { text, variables }
}
