import { getDirective } from '@graphql-tools/utils'
import {
  getNamedType,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLField,
  type GraphQLInputType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql'

/** The page size that a connection's own lists are reckoned with, where one was said above them. */
export type PageSize = number | undefined

type Field = GraphQLField<unknown, unknown>

interface FieldCost {
  readonly weight: number
  readonly list: { readonly assumedSize: number; readonly slicingArguments: readonly string[] } | undefined
  /** The argument that is a list, where the field is answered once for each of its items. */
  readonly perItemArgument: string | undefined
}

/** A list of which nothing is said. */
const DEFAULT_LIST_SIZE = 5
/** What a connection answers when nobody says how many, and at most. */
const PAGE_SIZE = { defaultSize: 20, maxSize: 100 }
const NO_COST: FieldCost = { weight: 0, list: undefined, perItemArgument: undefined }

/** What fields cost, by `@cost` of the field or else of the object type that it returns, and by `@listSize`. */
export function createCosts(schema: GraphQLSchema) {
  const costByField = new Map<Field, FieldCost>()
  const introspectionListSizes = introspectionSizes(schema)
  for (const type of Object.values(schema.getTypeMap()))
    if (isObjectType(type))
      for (const field of Object.values(type.getFields())) {
        const assumedSize = introspectionListSizes[`${type.name}.${field.name}`]
        const list = assumedSize === undefined ? undefined : { assumedSize, slicingArguments: [] }
        // Introspection costs a point for each list that it goes through; the names and kinds in it are at hand.
        const weight = type.name.startsWith('__') ? { weight: list ? 1 : 0 } : {}
        costByField.set(field, { ...readCost(schema, field), ...(list && { list }), ...weight })
      }

  return {
    /** Points for answering the field once. */
    weightOf: (field: Field): number => (costByField.get(field) ?? NO_COST).weight,

    /** Whether the field costs its weight for each item of an argument, so that `weightWith` has to be asked. */
    isPerItem: (field: Field): boolean => costByField.get(field)?.perItemArgument !== undefined,

    /** Points for answering a field with these arguments that is answered for each item of one of them. */
    weightForArguments(field: Field, args: Readonly<Record<string, unknown>>): number {
      const { weight, perItemArgument } = costByField.get(field) ?? NO_COST
      return weight * Math.max(1, perItemArgument === undefined ? 1 : (sizeFromArgument(args[perItemArgument]) ?? 1))
    },

    /**
     * How many items the field's own list is reckoned with, and how many the lists inside its answer, where it is a
     * connection. A size is bounded by what a page can hold.
     */
    sizeOf(
      field: Field,
      args: Readonly<Record<string, unknown>>,
      inheritedSize: PageSize,
    ): { ownSize: number; innerSize: PageSize } {
      const list = (costByField.get(field) ?? NO_COST).list
      const isListField = isList(field.type)
      if (!list) return { ownSize: inheritedSize ?? DEFAULT_LIST_SIZE, innerSize: undefined }
      const requestedSize = list.slicingArguments
        .map((name) => sizeFromArgument(args[name]))
        .find((value) => value !== undefined)
      const size =
        requestedSize === undefined ? list.assumedSize : Math.min(Math.max(0, requestedSize), PAGE_SIZE.maxSize)
      return isListField ? { ownSize: size, innerSize: undefined } : { ownSize: 1, innerSize: size }
    },
  }
}
/** What fields cost. */
export type Costs = ReturnType<typeof createCosts>

function readCost(schema: GraphQLSchema, field: Field): FieldCost {
  const type = getNamedType(field.type)
  const declaredWeight = [field, ...(isObjectType(type) ? [type] : [])]
    .map((element) => getDirective(schema, element, 'cost')?.[0]?.['weight'] as number | undefined)
    .find((weight) => weight !== undefined)
  const list = getDirective(schema, field, 'listSize')?.[0] as
    { assumedSize?: number; slicingArguments?: string[] } | undefined
  const perItemArgument = list?.slicingArguments?.find((name) =>
    field.args.some((argument) => argument.name === name && isList(argument.type)),
  )
  return {
    perItemArgument,
    weight: declaredWeight ?? (isLeafType(type) ? 0 : 1),
    list: list && {
      assumedSize: list.assumedSize ?? PAGE_SIZE.defaultSize,
      slicingArguments: list.slicingArguments ?? [],
    },
  }
}

const isList = (type: GraphQLOutputType | GraphQLInputType): boolean =>
  isListType(isNonNullType(type) ? type.ofType : type)

/** What an argument says of how many: a number, or a list by its length. */
const sizeFromArgument = (value: unknown): number | undefined =>
  typeof value === 'number' ? value : Array.isArray(value) ? value.length : undefined

/** How many items the lists of introspection hold: all types, and of the rest what a type has on average, rounded up. */
function introspectionSizes(schema: GraphQLSchema): Readonly<Record<string, number>> {
  const types = Object.values(schema.getTypeMap())
  const perType = (countOf: (type: (typeof types)[number]) => number): number =>
    Math.ceil(types.reduce((sum, type) => sum + countOf(type), 0) / types.length)
  const fieldsOf = (type: (typeof types)[number]): Field[] =>
    isObjectType(type) || isInterfaceType(type) ? Object.values(type.getFields()) : []
  const fields = types.flatMap(fieldsOf)
  return {
    '__Schema.types': types.length,
    '__Schema.directives': schema.getDirectives().length,
    '__Type.fields': perType((type) => fieldsOf(type).length),
    '__Type.inputFields': perType((type) => (isInputObjectType(type) ? Object.keys(type.getFields()).length : 0)),
    '__Type.enumValues': perType((type) => (isEnumType(type) ? type.getValues().length : 0)),
    '__Type.interfaces': 1,
    '__Type.possibleTypes': 1,
    '__Field.args': Math.ceil(fields.reduce((sum, { args }) => sum + args.length, 0) / fields.length),
    '__Directive.args': 1,
  }
}
