import { filterSchema, pruneSchema } from '@graphql-tools/utils'
import { getNamedType, isObjectType, isSpecifiedDirective, GraphQLSchema } from 'graphql'
import type { Caller } from '../../kernel/request.ts'
import { kindOf } from './plan.ts'
import { missing, type Rules } from './rules.ts'

/** What of the contract a caller sees: introspection and error messages know nothing else. */
export type Visible = (caller: Caller) => GraphQLSchema

const MAX_KINDS = 50

/** Makes the visible part of the contract for each kind of caller, once; keeps the newest ones. */
export function createVisible(schema: GraphQLSchema, rules: Rules): Visible {
  const made = new Map<string, GraphQLSchema>()
  return (caller) => {
    const kind = kindOf(caller)
    let visible = made.get(kind)
    if (!visible) {
      made.set(kind, (visible = visibleTo(schema, rules, caller)))
      if (made.size > MAX_KINDS) made.delete(made.keys().next().value!)
    }
    return visible
  }
}

function visibleTo(schema: GraphQLSchema, rules: Rules, caller: Caller): GraphQLSchema {
  const opens = (typeName: string, fieldName: string): boolean => {
    const type = schema.getType(typeName)
    const field = isObjectType(type) ? type.getFields()[fieldName] : undefined
    if (!field) return false
    return [typeName, `${typeName}.${fieldName}`, getNamedType(field.type).name].every(
      (name) => missing(rules.get(name), caller) === undefined,
    )
  }
  const filtered = filterSchema({
    schema,
    typeFilter: (name) => missing(rules.get(name), caller) === undefined,
    rootFieldFilter: (_operation, name) =>
      // A root field goes by the rules of whichever root type has it; no two have one of the same name.
      ['Query', 'Mutation', 'Subscription'].some((root) => opens(root, name)),
    objectFieldFilter: opens,
  })
  const pruned = pruneSchema(filtered)
  // The directives by which the contract is guarded are not a client's to use.
  return new GraphQLSchema({ ...pruned.toConfig(), directives: pruned.getDirectives().filter(isSpecifiedDirective) })
}
