import { getDirective } from '@graphql-tools/utils'
import { isObjectType, type GraphQLField, type GraphQLObjectType, type GraphQLSchema } from 'graphql'
import type { Caller } from '../../../kernel/request-context.ts'

/** The policies that `@policy` can name. CLIENT_TOKEN: the caller uses a client token (`client_credentials`), not a customer token. */
export const POLICIES: Readonly<Record<string, (caller: Caller) => boolean>> = {
  CLIENT_TOKEN: ({ kind }) => kind === 'CLIENT',
}

/** Who has access: everybody, every token, tokens with all scopes of one of the lists, or callers that meet all policies. */
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
    if (!policies.every((name) => name in POLICIES)) throw new Error(`${node.name} has an unknown policy`)
    return { kind: 'POLICY', policies }
  }
  if (getDirective(schema, node, 'authenticated')) return { kind: 'AUTHENTICATED' }
  if (getDirective(schema, node, 'public')) return { kind: 'PUBLIC' }
  return undefined
}

/** Reads the rules of a schema. Throws if neither a field nor its type has a rule, so that the gateway does not start. */
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

/** What a caller lacks for a field or type. Both lists are empty if any token would do. */
export interface Denial {
  /** Alternative lists of scopes: one list is enough, and every scope of it is needed. */
  readonly missingScopes: readonly (readonly string[])[]
  /** Policies that the caller does not meet. */
  readonly missingPolicies: readonly string[]
}

/** Why a rule denies the caller. Returns undefined if it allows the caller, or if there is no rule. */
export function findDenial(rule: Rule | undefined, caller: Caller): Denial | undefined {
  if (!rule || rule.kind === 'PUBLIC') return undefined
  if (rule.kind === 'AUTHENTICATED')
    return caller.kind === 'ANONYMOUS' ? { missingScopes: [], missingPolicies: [] } : undefined
  if (rule.kind === 'POLICY') {
    const missingPolicies = rule.policies.filter((name) => !POLICIES[name]!(caller))
    return missingPolicies.length > 0 ? { missingScopes: [], missingPolicies } : undefined
  }
  const callerScopes: ReadonlySet<string> = caller.kind === 'ANONYMOUS' ? new Set() : caller.scopes
  const isAllowed = rule.anyOf.some((list) => list.every((scope) => callerScopes.has(scope)))
  return isAllowed ? undefined : { missingScopes: rule.anyOf, missingPolicies: [] }
}

const authorizationKeys = new WeakMap<Caller, string>()
/** A key of everything that authorization depends on: the caller's kind and scopes. */
export function authorizationKey(caller: Caller): string {
  let key = authorizationKeys.get(caller)
  if (key === undefined) authorizationKeys.set(caller, (key = `${caller.kind} ${[...caller.scopes].sort().join(' ')}`))
  return key
}
