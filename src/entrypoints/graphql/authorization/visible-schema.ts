import { filterSchema, pruneSchema } from '@graphql-tools/utils'
import { getNamedType, isObjectType, isSpecifiedDirective, GraphQLSchema } from 'graphql'
import { createBoundedCache } from '../../../kernel/cache.ts'
import { digest } from '../../../kernel/ids.ts'
import type { Caller } from '../../../kernel/request-context.ts'
import { authorizationKey, findDenial, type Rules } from './rules.ts'

/** Returns the part of the schema that a caller may see. Introspection and error messages reveal nothing else. */
export type VisibleSchemaFor = (caller: Caller) => GraphQLSchema

/** Measured heap of one visible schema. */
const BYTES_PER_SCHEMA = 400_000
const CACHE_BYTES = 16_777_216

/** Creates the visible schemas, one for each kind of caller and set of scopes. Caches those used recently. */
export function createVisibleSchemas(schema: GraphQLSchema, rules: Rules): VisibleSchemaFor {
  const cache = createBoundedCache<GraphQLSchema>({ maxBytes: CACHE_BYTES, bytesOf: () => BYTES_PER_SCHEMA })
  return (caller) => {
    const key = digest(authorizationKey(caller))
    let visible = cache.get(key)
    if (!visible) cache.set(key, (visible = buildVisibleSchema(schema, rules, caller)))
    return visible
  }
}

function buildVisibleSchema(schema: GraphQLSchema, rules: Rules, caller: Caller): GraphQLSchema {
  const isAuthorized = (typeName: string, fieldName: string): boolean => {
    const type = schema.getType(typeName)
    const field = isObjectType(type) ? type.getFields()[fieldName] : undefined
    if (!field) return false
    return [typeName, `${typeName}.${fieldName}`, getNamedType(field.type).name].every(
      (name) => findDenial(rules.get(name), caller) === undefined,
    )
  }
  const filtered = filterSchema({
    schema,
    typeFilter: (name) => findDenial(rules.get(name), caller) === undefined,
    rootFieldFilter: (_operation, name) =>
      // The library does not say which root type the field belongs to. No two root types have a field of the same name.
      ['Query', 'Mutation', 'Subscription'].some((root) => isAuthorized(root, name)),
    objectFieldFilter: isAuthorized,
  })
  const pruned = pruneSchema(filtered)
  // The schema's own directives, such as @requiresScopes, are not shown: clients cannot use them.
  return new GraphQLSchema({ ...pruned.toConfig(), directives: pruned.getDirectives().filter(isSpecifiedDirective) })
}
