import {
  getNamedType,
  isCompositeType,
  isObjectType,
  Kind,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLCompositeType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionNode,
  type SelectionSetNode,
} from 'graphql'
import type { Caller } from '../../kernel/request.ts'
import { missing, type Rules } from './rules.ts'

/** A field of the document that the caller may not have. */
export interface DeniedField {
  /** The response keys from the root; lists on the way are passed through. */
  readonly path: readonly string[]
  readonly parentType: string
  readonly missingScopes: readonly (readonly string[])[]
}

/** What is executed for one operation and one kind of caller: it holds no field that the caller may not have. */
export interface Plan {
  readonly document: DocumentNode
  readonly operation: OperationDefinitionNode['operation']
  readonly denied: readonly DeniedField[]
}

const MAX_PLANS = 500
const MAX_FIELDS = 2_000
const MAX_DEPTH = 15

/** A document that is larger than anything sensible. */
export class PlanTooLarge extends Error {}

/** Compiles plans and keeps the most recent ones, by document, operation and what the caller holds. */
export function createPlanner(schema: GraphQLSchema, rules: Rules) {
  const plans = new Map<string, Plan>()
  return {
    planOf(source: string, document: DocumentNode, operation: OperationDefinitionNode, caller: Caller): Plan {
      const key = [
        caller.kind === 'ANONYMOUS' ? '-' : [...caller.scopes].sort().join(' '),
        operation.name?.value ?? '',
        source,
      ].join('\n')
      const known = plans.get(key)
      if (known) return known
      const plan = compile(schema, rules, document, operation, caller)
      plans.set(key, plan)
      if (plans.size > MAX_PLANS) plans.delete(plans.keys().next().value!)
      return plan
    },
  }
}
/** Gives the plan of an operation for a caller. */
export type Planner = ReturnType<typeof createPlanner>

/**
 * Fragments are written out in place, so that each field stands where it will be answered. A denied field becomes a
 * `__typename` under the same key: the executor answers it wherever the field would have stood, and `blank` turns it
 * into null.
 */
function compile(
  schema: GraphQLSchema,
  rules: Rules,
  document: DocumentNode,
  operation: OperationDefinitionNode,
  caller: Caller,
): Plan {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  const denied = new Map<string, DeniedField>()
  let fields = 0

  function field(node: FieldNode, parent: GraphQLCompositeType, path: readonly string[]): FieldNode {
    if (++fields > MAX_FIELDS || path.length > MAX_DEPTH) throw new PlanTooLarge()
    const name = node.name.value
    if (name.startsWith('__') || !isObjectType(parent)) return node
    const type = getNamedType(parent.getFields()[name]!.type)
    const here = [...path, (node.alias ?? node.name).value]
    const lacks =
      missing(rules.get(parent.name), caller) ??
      missing(rules.get(`${parent.name}.${name}`), caller) ??
      (isObjectType(type) ? missing(rules.get(type.name), caller) : undefined)
    if (lacks) {
      denied.set(here.join('.'), { path: here, parentType: parent.name, missingScopes: lacks })
      return placeholder(node)
    }
    return node.selectionSet && isCompositeType(type)
      ? { ...node, selectionSet: selections(node.selectionSet, type, here) }
      : node
  }

  function selections(set: SelectionSetNode, parent: GraphQLCompositeType, path: readonly string[]): SelectionSetNode {
    return {
      ...set,
      selections: set.selections.map((node): SelectionNode => {
        if (node.kind === Kind.FIELD) return field(node, parent, path)
        const fragment = node.kind === Kind.FRAGMENT_SPREAD ? fragments.get(node.name.value)! : node
        const condition = fragment.typeCondition
        const type = condition ? (schema.getType(condition.name.value) as GraphQLCompositeType) : parent
        if (++fields > MAX_FIELDS) throw new PlanTooLarge()
        return {
          kind: Kind.INLINE_FRAGMENT,
          ...(condition && { typeCondition: condition }),
          directives: node.directives ?? [],
          selectionSet: selections(fragment.selectionSet, type, path),
        }
      }),
    }
  }

  const root = schema.getRootType(operation.operation)!
  const guarded = { ...operation, selectionSet: selections(operation.selectionSet, root, []) }
  return {
    document: { kind: Kind.DOCUMENT, definitions: [guarded] },
    operation: operation.operation,
    denied: [...denied.values()],
  }
}

function placeholder(node: FieldNode): FieldNode {
  return {
    kind: Kind.FIELD,
    name: { kind: Kind.NAME, value: '__typename' },
    alias: { kind: Kind.NAME, value: (node.alias ?? node.name).value },
    ...(node.directives && { directives: node.directives }),
  }
}

/** Turns the placeholders of denied fields into null, in place. */
export function blank(data: unknown, denied: readonly DeniedField[]): void {
  for (const { path, parentType } of denied) blankAt(data, path, parentType)
}

function blankAt(value: unknown, path: readonly string[], parentType: string): void {
  if (Array.isArray(value)) {
    for (const item of value) blankAt(item, path, parentType)
    return
  }
  const [key, ...rest] = path
  if (typeof value !== 'object' || value === null || key === undefined) return
  const record = value as Record<string, unknown>
  if (rest.length > 0) blankAt(record[key], rest, parentType)
  else if (record[key] === parentType) record[key] = null
}
