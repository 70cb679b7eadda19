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

/** The page size that applies to the lists inside a connection; undefined outside of connections. */
export type PageSize = number | undefined

type Field = GraphQLField<unknown, unknown>

interface FieldCost {
  readonly weight: number
  readonly list: { readonly assumedSize: number; readonly slicingArguments: readonly string[] } | undefined
  /** The list argument for whose every item the field is resolved once. */
  readonly perItemArgument: string | undefined
}

/** The assumed size of a list without `@listSize`. */
const DEFAULT_LIST_SIZE = 5
/** The page size of a connection without a size argument, and the largest page size. */
const PAGE_SIZE = { defaultSize: 20, maxSize: 100 }
const NO_COST: FieldCost = { weight: 0, list: undefined, perItemArgument: undefined }

/** Reads the costs of fields from `@listSize` and from `@cost` of the field or, without one, of the object type that it returns. */
export function createCosts(schema: GraphQLSchema) {
  const costByField = new Map<Field, FieldCost>()
  const introspectionListSizes = introspectionSizes(schema)
  for (const type of Object.values(schema.getTypeMap()))
    if (isObjectType(type))
      for (const field of Object.values(type.getFields())) {
        const assumedSize = introspectionListSizes[`${type.name}.${field.name}`]
        const list = assumedSize === undefined ? undefined : { assumedSize, slicingArguments: [] }
        // Introspection costs one point for each list that it traverses. Its other fields are free.
        const weight = type.name.startsWith('__') ? { weight: list ? 1 : 0 } : {}
        costByField.set(field, { ...readCost(schema, field), ...(list && { list }), ...weight })
      }

  return {
    /** Points for resolving the field once. */
    weightOf: (field: Field): number => (costByField.get(field) ?? NO_COST).weight,

    /** Whether the field costs its weight for each item of an argument. `weightForArguments` then returns its points. */
    isPerItem: (field: Field): boolean => costByField.get(field)?.perItemArgument !== undefined,

    /** Points for a field that is resolved once for each item of one of these arguments. */
    weightForArguments(field: Field, args: Readonly<Record<string, unknown>>): number {
      const { weight, perItemArgument } = costByField.get(field) ?? NO_COST
      return weight * Math.max(1, perItemArgument === undefined ? 1 : (sizeFromArgument(args[perItemArgument]) ?? 1))
    },

    /**
     * The assumed size of the field's own list and, if the field is a connection, of the lists inside it. Sizes are limited to
     * the largest page size.
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
/** The costs of the fields of a schema. */
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

/** The size that an argument gives: a number itself, or the length of a list. */
const sizeFromArgument = (value: unknown): number | undefined =>
  typeof value === 'number' ? value : Array.isArray(value) ? value.length : undefined

/** The sizes of the lists of introspection: the number of types, and for the lists of a type the average, rounded up. */
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
