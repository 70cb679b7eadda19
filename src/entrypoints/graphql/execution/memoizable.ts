import { getDirective } from '@graphql-tools/utils'
import { isObjectType, type GraphQLField, type GraphQLSchema } from 'graphql'
import type { PlannedObject } from './plan.ts'

/**
 * The fields with `@memoizable` in the schema: their value depends only on their object. A field that reads the clock, the
 * database, a budget or the caller must not have the directive, nor a field whose reads are recorded in the ledger.
 */
export type MemoizableFields = ReadonlySet<GraphQLField<unknown, unknown>>

/** The memoizable fields of a schema. On an object type, the directive applies to all of its fields. */
export function readMemoizableFields(schema: GraphQLSchema): MemoizableFields {
  const memoizable = new Set<GraphQLField<unknown, unknown>>()
  if (!schema.getDirective('memoizable')) return memoizable
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue
    const isWholeType = getDirective(schema, type, 'memoizable') !== undefined
    for (const field of Object.values(type.getFields()))
      if (isWholeType || getDirective(schema, field, 'memoizable')) memoizable.add(field)
  }
  return memoizable
}

/** Whether later requests can return the same object. An object with a live balance belongs to one request only. */
export const isReusable = (object: unknown): boolean => (object as { freshness?: unknown }).freshness !== 'LIVE'

/** The response keys of an object whose text can be reused. Empty if no field of its type is memoizable. */
export function findMemoizableKeys(planned: PlannedObject, memoizable: MemoizableFields): ReadonlySet<string> {
  const hasMemoizableFields = Object.values(planned.type.getFields()).some((field) => memoizable.has(field))
  if (!hasMemoizableFields) return new Set()
  const isMemoizable = ({ kind, field, args, objects }: PlannedObject['fields'][number]): boolean =>
    kind !== 'authorized' ||
    (memoizable.has(field) &&
      args !== undefined &&
      [...(objects?.values() ?? [])].every(
        (inner) =>
          inner.conditionalDenials.length === 0 && findMemoizableKeys(inner, memoizable).size === inner.fields.length,
      ))
  return new Set(planned.fields.filter(isMemoizable).map(({ key }) => key))
}
