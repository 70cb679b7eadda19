interface Schema {
  readonly def: {
    readonly type: string
    readonly innerType?: Schema
    readonly element?: Schema
    readonly shape?: Readonly<Record<string, Schema>>
    readonly entries?: Readonly<Record<string, string>>
    readonly options?: readonly Schema[]
    readonly values?: readonly unknown[]
  }
}

/** A member of a registration that has no members of its own. An element of a list has the name `0`. */
export interface Leaf {
  readonly path: readonly string[]
  /** The type of its schema. */
  readonly type: string
  /** The values that it can have, if the schema enumerates them. */
  readonly values: readonly string[]
}

/** Every leaf of a registration, whatever the standard says of it. */
export function leavesOf(schema: Schema, path: readonly string[] = []): Leaf[] {
  const { type, innerType, element, shape } = schema.def
  if (innerType) return leavesOf(innerType, path)
  if (element) return leavesOf(element, [...path, '0'])
  if (shape) return Object.entries(shape).flatMap(([name, inner]) => leavesOf(inner, [...path, name]))
  return [{ path, type, values: valuesOf(schema) ?? [] }]
}

/** The values of an enumeration, or of a union of literals; undefined if there are others. */
function valuesOf({ def: { entries, options, values } }: Schema): string[] | undefined {
  if (entries) return Object.values(entries)
  if (values) return values.map(String)
  const each = options?.map(valuesOf)
  return each?.every((list) => list !== undefined) ? each.flat() : undefined
}
