import { getDirective } from '@graphql-tools/utils'
import {
  getNamedType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLField,
  type GraphQLSchema,
} from 'graphql'

/** The page size that a connection's own lists are reckoned with, where one was said above them. */
export type Sized = number | undefined

type Field = GraphQLField<unknown, unknown>

interface FieldCost {
  readonly weight: number
  readonly list: { readonly assumedSize: number; readonly slicingArguments: readonly string[] } | undefined
}

/** A list of which nothing is said, such as those of introspection. */
const ASSUMED_SIZE = 5
/** What a connection answers when nobody says how many, and at most. */
const PAGE = { usual: 20, most: 100 }
const NO_COST: FieldCost = { weight: 0, list: undefined }

/** What fields cost, by `@cost` and `@listSize` of the contract. */
export function createCosts(schema: GraphQLSchema) {
  const table = new Map<Field, FieldCost>()
  for (const type of Object.values(schema.getTypeMap()))
    if (isObjectType(type)) for (const field of Object.values(type.getFields())) table.set(field, costOf(schema, field))

  return {
    /** Points for answering the field once. */
    weightOf: (field: Field): number => (table.get(field) ?? NO_COST).weight,

    /**
     * How many items the field's own list is reckoned with, and how many the lists inside its answer, where it is a
     * connection. A size is bounded by what a page can hold.
     */
    sizeOf(field: Field, args: Readonly<Record<string, unknown>>, above: Sized): { here: number; inside: Sized } {
      const list = (table.get(field) ?? NO_COST).list
      const listed = isListType(isNonNullType(field.type) ? field.type.ofType : field.type)
      if (!list) return { here: above ?? ASSUMED_SIZE, inside: undefined }
      const said = list.slicingArguments.map((name) => args[name]).find((value) => typeof value === 'number')
      const size = said === undefined ? list.assumedSize : Math.min(Math.max(0, said), PAGE.most)
      return listed ? { here: size, inside: undefined } : { here: 1, inside: size }
    },
  }
}
/** What fields cost. */
export type Costs = ReturnType<typeof createCosts>

function costOf(schema: GraphQLSchema, field: Field): FieldCost {
  const said = getDirective(schema, field, 'cost')?.[0]?.['weight'] as number | undefined
  const list = getDirective(schema, field, 'listSize')?.[0] as
    { assumedSize?: number; slicingArguments?: string[] } | undefined
  return {
    weight: said ?? (isLeafType(getNamedType(field.type)) ? 0 : 1),
    list: list && {
      assumedSize: list.assumedSize ?? PAGE.usual,
      slicingArguments: list.slicingArguments ?? [],
    },
  }
}
