import { getDirective } from '@graphql-tools/utils'
import { isObjectType, type GraphQLField, type GraphQLObjectType, type GraphQLSchema } from 'graphql'
import type { Caller } from '../../kernel/request-context.ts'

/** What `@policy` can name. CLIENT_TOKEN: a token that the client holds for itself and not for a customer. */
export const POLICIES: Readonly<Record<string, (caller: Caller) => boolean>> = {
  CLIENT_TOKEN: ({ kind }) => kind === 'CLIENT',
}

/** Who may have a field: anyone, anyone with a token, a token with all scopes of one of the lists, or a kind of caller. */
export type Rule =
  | { readonly kind: 'PUBLIC' }
  | { readonly kind: 'AUTHENTICATED' }
  | { readonly kind: 'SCOPES'; readonly anyOf: readonly (readonly string[])[] }
  | { readonly kind: 'POLICY'; readonly policies: readonly string[] }

/** Every type's and field's rule, by `Type` and by `Type.field`. */
export type Rules = ReadonlyMap<string, Rule>

type GuardedElement = GraphQLObjectType | GraphQLField<unknown, unknown>

function readRule(schema: GraphQLSchema, node: GuardedElement): Rule | undefined {
  const scopes = getDirective(schema, node, 'requiresScopes')?.[0]?.['scopes'] as string[][] | undefined
  if (scopes) return { kind: 'SCOPES', anyOf: scopes }
  const policies = getDirective(schema, node, 'policy')?.[0]?.['policies'] as string[] | undefined
  if (policies) {
    if (!policies.every((name) => name in POLICIES)) throw new Error(`${node.name}: a policy that does not exist`)
    return { kind: 'POLICY', policies }
  }
  if (getDirective(schema, node, 'authenticated')) return { kind: 'AUTHENTICATED' }
  if (getDirective(schema, node, 'public')) return { kind: 'PUBLIC' }
  return undefined
}

/** Reads the rules of a schema. Throws, so that nothing starts, where a field has none of its own nor of its type. */
export function readRules(schema: GraphQLSchema): Rules {
  const rules = new Map<string, Rule>()
  const unguarded: string[] = []
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || type.name.startsWith('__')) continue
    const typeRule = readRule(schema, type)
    if (typeRule) rules.set(type.name, typeRule)
    for (const field of Object.values(type.getFields())) {
      const fieldRule = readRule(schema, field)
      if (fieldRule) rules.set(`${type.name}.${field.name}`, fieldRule)
      else if (!typeRule) unguarded.push(`${type.name}.${field.name}`)
    }
  }
  if (unguarded.length > 0) throw new Error(`fields without an authorization rule: ${unguarded.join(', ')}`)
  return rules
}

/** What the caller lacks, as scope lists of which one would do; `undefined` where nothing. */
export function missingScopes(rule: Rule | undefined, caller: Caller): readonly (readonly string[])[] | undefined {
  if (!rule || rule.kind === 'PUBLIC') return undefined
  if (caller.kind === 'ANONYMOUS') return rule.kind === 'SCOPES' ? rule.anyOf : []
  if (rule.kind === 'AUTHENTICATED') return undefined
  if (rule.kind === 'POLICY') return rule.policies.every((name) => POLICIES[name]!(caller)) ? undefined : []
  const callerScopes: ReadonlySet<string> = caller.scopes
  return rule.anyOf.some((list) => list.every((scope) => callerScopes.has(scope))) ? undefined : rule.anyOf
}
