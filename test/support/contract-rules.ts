import {
  getNamedType,
  getNullableType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
  isUnionType,
  Kind,
  type ConstDirectiveNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLSchema,
} from 'graphql'

/** A place of the contract that breaks a rule. */
export interface Violation {
  /** The type that has to be reshaped. */
  readonly typeName: string
  readonly text: string
}
type Rule = (schema: GraphQLSchema) => Violation[]
type Field = GraphQLField<unknown, unknown>

const typesOf = (schema: GraphQLSchema): GraphQLNamedType[] =>
  Object.values(schema.getTypeMap()).filter(
    ({ name }) => !name.startsWith('__') && !['String', 'Int', 'Float', 'Boolean', 'ID'].includes(name),
  )
const objectsOf = (schema: GraphQLSchema): GraphQLObjectType[] => typesOf(schema).filter(isObjectType)
const outputFields = (schema: GraphQLSchema): [GraphQLObjectType, Field][] =>
  objectsOf(schema).flatMap((type) =>
    Object.values(type.getFields()).map((field): [GraphQLObjectType, Field] => [type, field]),
  )
const rootNames = (schema: GraphQLSchema): string[] =>
  [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()].flatMap((type) => type?.name ?? [])
/** A field of a root type is reshaped with the type that it returns. */
const ownerOf = (schema: GraphQLSchema, type: GraphQLNamedType, field: Field): string =>
  rootNames(schema).includes(type.name) ? getNamedType(field.type).name : type.name

// ─── nullability ───

/** Who is allowed, read from the directives: lists of scopes of which one is enough. */
export type Access = 'PUBLIC' | 'TOKEN' | 'POLICY' | string[][]

export function accessOf(directives: readonly ConstDirectiveNode[] | undefined): Access | undefined {
  for (const { name, arguments: given } of directives ?? []) {
    if (name.value === 'public') return 'PUBLIC'
    if (name.value === 'authenticated') return 'TOKEN'
    if (name.value === 'policy') return 'POLICY'
    const value = given?.[0]?.value
    if (name.value === 'requiresScopes' && value?.kind === Kind.LIST)
      return value.values.map((list) =>
        list.kind === Kind.LIST ? list.values.map((one) => (one.kind === Kind.STRING ? one.value : '')) : [],
      )
  }
  return undefined
}

/** Whether everybody whom `given` allows is allowed by `wanted` too. */
function isImplied(wanted: Access | undefined, given: Access | undefined): boolean {
  if (wanted === undefined || wanted === 'PUBLIC') return true
  if (given === undefined || given === 'PUBLIC') return false
  if (wanted === 'TOKEN') return true
  if (wanted === 'POLICY' || typeof given === 'string') return wanted === given
  return given.every((list) => wanted.some((other) => other.every((scope) => list.includes(scope))))
}

/** Whether a caller who may have the parent can be denied the field. */
function isDeniable(parent: GraphQLObjectType, field: Field): boolean {
  const type = getNamedType(field.type)
  const ofParent = accessOf(parent.astNode?.directives)
  return (
    !isImplied(accessOf(field.astNode?.directives), ofParent) ||
    (isObjectType(type) && !isImplied(accessOf(type.astNode?.directives), ofParent))
  )
}

const hasDirective = (field: Field, name: string): boolean =>
  field.astNode?.directives?.some((one) => one.name.value === name) ?? false

/** Says when the value, or an item of a list, is null. */
const NULL_CONDITION = /\bnull (if|unless|until|without|while|for|when|where)\b/i

/** `loadsByItself`: whether a field has a resolver of its own, so that it can fail while its parent is there. */
export const nullability =
  (loadsByItself: (typeName: string, fieldName: string) => boolean): Rule =>
  (schema) =>
    outputFields(schema).flatMap(([type, field]) => {
      const place = `${type.name}.${field.name}`
      const isSemanticNonNull = hasDirective(field, 'semanticNonNull')
      const saysWhenNull = NULL_CONDITION.test(field.description ?? '')
      const texts: string[] = []
      const inner = getNullableType(field.type)
      const nullableItems = isListType(inner) && !isNonNullType(inner.ofType)
      if (isNonNullType(field.type)) {
        if (isSemanticNonNull) texts.push('is non-null already')
        if (isDeniable(type, field)) texts.push('can be denied while its parent is allowed, and is non-null')
      } else if (isSemanticNonNull) {
        if (!isDeniable(type, field) && !loadsByItself(type.name, field.name))
          texts.push('is neither deniable nor loaded by itself, so it must be non-null')
        if (saysWhenNull && !nullableItems) texts.push('is @semanticNonNull and says when it is null')
      } else if (!saysWhenNull) texts.push('is nullable, without @semanticNonNull and without saying when it is null')
      if (nullableItems && !saysWhenNull) texts.push('has nullable items and does not say when one is null')
      return texts.map((text) => ({ typeName: ownerOf(schema, type, field), text: `${place} ${text}` }))
    })

// ─── names and types ───

export const unionMembersAgree: Rule = (schema) =>
  typesOf(schema)
    .filter(isUnionType)
    .flatMap((union) => {
      const typeByField = new Map<string, string>()
      return union.getTypes().flatMap((member) =>
        Object.values(member.getFields()).flatMap((field) => {
          const known = typeByField.get(field.name) ?? String(field.type)
          typeByField.set(field.name, known)
          return known === String(field.type)
            ? []
            : [{ typeName: union.name, text: `${union.name}: \`${field.name}\` is ${known} and ${String(field.type)}` }]
        }),
      )
    })

interface Place {
  readonly typeName: string
  /** Its coordinate. */
  readonly place: string
  readonly name: string
  /** Name of its type, without lists and non-null. */
  readonly valueType: string
  readonly description: string | null | undefined
}

/** Every field, argument and input field. */
function namedPlaces(schema: GraphQLSchema): Place[] {
  const toPlace = (
    typeName: string,
    place: string,
    one: { name: string; type: { toString(): string }; description?: string | null | undefined },
  ): Place => ({
    typeName,
    place,
    name: one.name,
    valueType: one.type.toString().replace(/[[\]!]/g, ''),
    description: one.description,
  })
  return typesOf(schema).flatMap((type): Place[] => {
    if (isInputObjectType(type))
      return Object.values(type.getFields()).map((field) => toPlace(type.name, `${type.name}.${field.name}`, field))
    if (!isObjectType(type) && !isInterfaceType(type)) return []
    return Object.values(type.getFields()).flatMap((field): Place[] => {
      const typeName = ownerOf(schema, type, field)
      const place = `${type.name}.${field.name}`
      return [
        toPlace(typeName, place, field),
        ...field.args.map((one) => toPlace(typeName, `${place}(${one.name}:)`, one)),
      ]
    })
  })
}

export const statusNeverState: Rule = (schema) => [
  ...namedPlaces(schema)
    .filter(({ name }) => /^states?$|States?$/.test(name))
    .map(({ typeName, place }) => ({ typeName, text: `${place} must be called status` })),
  ...typesOf(schema)
    .filter(({ name }) => name.endsWith('State'))
    .map(({ name }) => ({ typeName: name, text: `${name} must be called …Status` })),
  ...namedPlaces(schema)
    .filter(({ name, valueType }) => name === 'status' && !valueType.endsWith('Status'))
    .map(({ typeName, place }) => ({ typeName, text: `${place} must have a type …Status` })),
]

/** Places of type String, by name; anything else is a closed list or a scalar. */
export const noStringForClosedLists =
  (allowed: Readonly<Record<string, string>>): Rule =>
  (schema) =>
    namedPlaces(schema)
      .filter(({ valueType, place, name }) => valueType === 'String' && !(place in allowed || name in allowed))
      .map(({ typeName, place }) => ({ typeName, text: `${place} is a String` }))

/** Says how many items there can be at most. */
const BOUND = /\b(at most|one per|up to|one for each|at least \w+ and at most)\b/i

export const plainListsHaveBounds: Rule = (schema) =>
  outputFields(schema)
    .filter(([type, { name, type: ofField }]) => {
      const inner = getNullableType(ofField)
      const isPage = type.name.endsWith('Connection') && /^(edges|nodes)$/.test(name)
      // The input bounds `userErrors`; a list of an enum is bounded by the enum.
      return isListType(inner) && !isPage && name !== 'userErrors' && !isEnumType(getNamedType(inner))
    })
    .filter(([, { description }]) => !BOUND.test(description ?? ''))
    .map(([type, field]) => ({
      typeName: ownerOf(schema, type, field),
      text: `${type.name}.${field.name} is a list without a bound in its description`,
    }))

/** `Customer.id` is the OAuth `sub`, by which no object is looked up. */
export const idsAreNodes: Rule = (schema) =>
  objectsOf(schema)
    .filter((type) => String(type.getFields()['id']?.type) === 'ID!' && type.name !== 'Customer')
    .filter((type) => !type.getInterfaces().some(({ name }) => name === 'Node'))
    .map(({ name }) => ({ typeName: name, text: `${name} has an id and does not implement Node` }))

export const mutationsHaveOneInputAndPayload: Rule = (schema) =>
  Object.values(schema.getMutationType()?.getFields() ?? {}).flatMap((field) => {
    const name = `${field.name[0]!.toUpperCase()}${field.name.slice(1)}`
    const payload = getNullableType(field.type)
    const texts = [
      ...(field.args.map(({ name: one, type }) => `${one}: ${String(type)}`).join() === `input: ${name}Input!`
        ? []
        : [`must have the one argument input: ${name}Input!`]),
      ...(String(payload) === `${name}Payload` ? [] : [`must return ${name}Payload`]),
      ...(isObjectType(payload) && String(payload.getFields()['userErrors']?.type) === '[UserError!]!'
        ? []
        : ['must return userErrors: [UserError!]!']),
    ]
    return texts.map((text) => ({ typeName: getNamedType(field.type).name, text: `Mutation.${field.name} ${text}` }))
  })

const PAGE_ARGUMENTS = ['first: Int', 'after: Cursor', 'last: Int', 'before: Cursor']

export const connectionsHaveAllArguments: Rule = (schema) =>
  outputFields(schema)
    .filter(([, { type }]) => getNamedType(type).name.endsWith('Connection'))
    .filter(([, { args }]) => {
      const page = args.slice(0, 4).map(({ name, type }) => `${name}: ${String(type)}`)
      const others = args.slice(4).map(({ name }) => name)
      return page.join() !== PAGE_ARGUMENTS.join() || !['', 'filter', 'filter,orderBy'].includes(others.join())
    })
    .map(([type, field]) => ({
      typeName: getNamedType(field.type).name,
      text: `${type.name}.${field.name} must have first, after, last, before, filter, orderBy in this order`,
    }))

// ─── descriptions ───

const MAX_SENTENCES = 2
const MAX_CHARACTERS = 320
/** Words of the dialect that descriptions were written in before. */
const OLD_WORDS =
  /\b(asked|asks|answers|answered|tells|told|telling|mends?|kept|wish(es)?|whoever|whatever|reckoned|shall|in vain|in one breath|stands for|so much|so often|what came of it|looked at|heard of|well again|at hand|no more|where nothing|anew|not told|goes on)\b/i

function describedPlaces(schema: GraphQLSchema) {
  return [
    ...typesOf(schema).map(({ name, description }) => ({ typeName: name, place: name, description })),
    ...namedPlaces(schema),
    ...typesOf(schema)
      .filter(isEnumType)
      // These are the messages of the table of errors.
      .filter(({ name }) => name !== 'ErrorCode')
      .flatMap((type) =>
        type.getValues().map(({ name, description }) => ({
          typeName: type.name,
          place: `${type.name}.${name}`,
          description,
        })),
      ),
  ]
}

export const descriptionsAreShortAndPlain: Rule = (schema) =>
  describedPlaces(schema).flatMap(({ typeName, place, description }) => {
    const text = (description ?? '').replace(/\s+/g, ' ').trim()
    const sentences = text.split(/(?<=[.!?])\s+(?=[A-Z`])/).length
    const [word] = OLD_WORDS.exec(text) ?? []
    return [
      ...(sentences > MAX_SENTENCES && text.length > MAX_CHARACTERS
        ? [{ typeName, text: `${place}: the description has ${sentences} sentences, ${text.length} characters` }]
        : []),
      ...(word ? [{ typeName, text: `${place}: the description says "${word}"` }] : []),
    ]
  })

export const scalarsAreSpecified =
  (unspecified: Readonly<Record<string, string>>): Rule =>
  (schema) =>
    typesOf(schema)
      .filter(isScalarType)
      .filter(
        ({ name, specifiedByURL }) => (specifiedByURL === null || specifiedByURL === undefined) !== name in unspecified,
      )
      .map(({ name }) => ({ typeName: name, text: `${name}: @specifiedBy does not agree with the list of exceptions` }))
