import {
  getArgumentValues,
  getDirectiveValues,
  getNamedType,
  GraphQLIncludeDirective,
  GraphQLSkipDirective,
  isAbstractType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  Kind,
  SchemaMetaFieldDef,
  TypeMetaFieldDef,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLOutputType,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql'
import type { Caller } from '../../../kernel/request-context.ts'
import type { Costs, PageSize } from './cost.ts'
import type { ParsedOperation } from '../read-document.ts'
import { findDenial, type Denial, type Rules } from '../authorization/rules.ts'

/** A field of the document that the caller may not have. */
export interface DeniedField extends Denial {
  /** Response keys from the root, without list indexes. */
  readonly path: readonly string[]
  readonly parentType: string
}

/** One field of a plan, with everything that is known about it before execution. */
export interface PlannedField {
  readonly key: string
  readonly name: string
  readonly field: GraphQLField<unknown, unknown>
  /** The field's first node in the document. */
  readonly node: FieldNode
  /** `authorized` fields are resolved, `denied` fields are null, and `typename` fields are the name of the type. */
  readonly kind: 'authorized' | 'denied' | 'typename'
  /** The arguments, if they contain no variable; otherwise they are computed for each request. */
  readonly args: Readonly<Record<string, unknown>> | undefined
  /** The plan of the returned objects, by the name of their type. */
  readonly objects: ReadonlyMap<string, PlannedObject> | undefined
}

/** The plan of objects of one type. If the caller may not have the type at all, it is `denied` and its objects are null. */
export interface PlannedObject {
  readonly type: GraphQLObjectType
  readonly denied: boolean
  /** Its denied fields below an abstract type. They are reported only if the response has such an object. */
  readonly conditionalDenials: readonly DeniedField[]
  readonly fields: readonly PlannedField[]
  /** Points for one such object, without the objects in it. */
  readonly weight: number
  /** Further points for fields whose cost depends on the number of items in an argument. */
  readonly itemWeight: ((variables: Readonly<Record<string, unknown>>) => number) | undefined
}

/** The execution plan of one operation for one kind of caller. It contains no resolver for fields that the caller may not have. */
export interface Plan {
  readonly operation: OperationDefinitionNode
  readonly root: PlannedObject
  /** The denied fields, except those below an abstract type, which are in `conditionalDenials` of their object. */
  readonly denied: readonly DeniedField[]
  /** The maximum points of the operation with these variables. */
  readonly cost: (variables: Readonly<Record<string, unknown>>) => number
  /** Whether the operation requests introspection. */
  readonly usesIntrospection: boolean
  /** The number of objects and fields. */
  readonly size: number
  /** Bytes that executions have stored with the plan, such as memoized texts. */
  retainedBytes: number
}

/**
 * Compiles the plan of an operation for a caller and these coerced variables. Authorization is decided here, once for each
 * field: a denied field has no resolver in the plan, so it can never be called.
 */
export function compilePlan(
  { schema, rules, costs }: { schema: GraphQLSchema; rules: Rules; costs: Costs },
  { document, operation }: Pick<ParsedOperation, 'document' | 'operation'>,
  caller: Caller,
  variables: Readonly<Record<string, unknown>>,
): Plan {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  const denied = new Map<string, DeniedField>()
  let usesIntrospection = false
  let size = 0

  /** The requested fields of a type, grouped by response key (GraphQL specification, 6.3.2). */
  function collectFields(type: GraphQLObjectType, sets: readonly SelectionSetNode[]): Map<string, FieldNode[]> {
    const fields = new Map<string, FieldNode[]>()
    const visited = new Set<string>()
    const walk = (set: SelectionSetNode): void => {
      for (const node of set.selections) {
        if (getDirectiveValues(GraphQLSkipDirective, node, variables)?.['if'] === true) continue
        if (getDirectiveValues(GraphQLIncludeDirective, node, variables)?.['if'] === false) continue
        if (node.kind === Kind.FIELD) {
          const key = (node.alias ?? node.name).value
          const existing = fields.get(key)
          if (existing) existing.push(node)
          else fields.set(key, [node])
          continue
        }
        if (node.kind === Kind.FRAGMENT_SPREAD && visited.has(node.name.value)) continue
        if (node.kind === Kind.FRAGMENT_SPREAD) visited.add(node.name.value)
        const fragment = node.kind === Kind.FRAGMENT_SPREAD ? fragments.get(node.name.value)! : node
        if (doesFragmentTypeApply(type, fragment.typeCondition?.name.value)) walk(fragment.selectionSet)
      }
    }
    for (const set of sets) walk(set)
    return fields
  }

  function doesFragmentTypeApply(type: GraphQLObjectType, condition: string | undefined): boolean {
    if (condition === undefined || condition === type.name) return true
    const conditionType = schema.getType(condition)
    return isAbstractType(conditionType) && schema.isSubType(conditionType, type)
  }

  function planObject(
    type: GraphQLObjectType,
    sets: readonly SelectionSetNode[],
    path: readonly string[],
    isConditional: boolean,
  ): PlannedObject {
    const denial = findDenial(rules.get(type.name), caller)
    const fields: PlannedField[] = []
    const conditionalDenials: DeniedField[] = []
    const deny = (one: DeniedField) =>
      isConditional ? conditionalDenials.push(one) : denied.set(one.path.join('.'), one)
    for (const [key, nodes] of collectFields(type, sets))
      fields.push(planField(type, key, nodes, [...path, key], denial, isConditional, deny))
    size += 1 + fields.length
    return {
      type,
      denied: fields.some(({ kind }) => kind === 'denied') && denial !== undefined,
      conditionalDenials,
      fields,
      ...sumWeights(costs, fields),
    }
  }

  function planField(
    parent: GraphQLObjectType,
    key: string,
    nodes: readonly FieldNode[],
    path: readonly string[],
    parentDenial: Denial | undefined,
    isConditional: boolean,
    deny: (planField: DeniedField) => unknown,
  ): PlannedField {
    const [node] = nodes as [FieldNode]
    const name = node.name.value
    const common = { key, name, node, args: undefined, objects: undefined }
    if (name === '__typename') return { ...common, field: TYPENAME, kind: 'typename' }
    const definition = getFieldDefinition(schema, parent, name)
    if (definition === SchemaMetaFieldDef || definition === TypeMetaFieldDef) usesIntrospection = true
    const type = getNamedType(definition.type)
    const denial =
      parentDenial ??
      findDenial(rules.get(`${parent.name}.${name}`), caller) ??
      (isObjectType(type) ? findDenial(rules.get(type.name), caller) : undefined)
    if (denial) {
      deny({ path, parentType: parent.name, ...denial })
      return { ...common, field: definition, kind: 'denied' }
    }
    const types = isObjectType(type) ? [type] : isAbstractType(type) ? schema.getPossibleTypes(type) : []
    const sets = nodes.flatMap(({ selectionSet }) => selectionSet ?? [])
    const isConstant = !nodes.some(({ arguments: given }) => given?.some(({ value }) => hasVariable(value)))
    return {
      ...common,
      field: definition,
      kind: 'authorized',
      args: isConstant ? getArgumentValues(definition, node) : undefined,
      objects: isLeafType(type)
        ? undefined
        : new Map(types.map((one) => [one.name, planObject(one, sets, path, isConditional || isAbstractType(type))])),
    }
  }

  const root = planObject(schema.getRootType(operation.operation)!, [operation.selectionSet], [], false)
  const common = { operation, root, denied: [...denied.values()], usesIntrospection, size }
  return { ...common, cost: compileCost(costs, root), retainedBytes: 0 }
}

function sumWeights(costs: Costs, fields: readonly PlannedField[]): Pick<PlannedObject, 'weight' | 'itemWeight'> {
  const authorized = fields.filter(({ kind }) => kind === 'authorized')
  const perItem = authorized.filter(({ field }) => costs.isPerItem(field))
  return {
    weight: authorized.reduce((sum, { field }) => sum + (costs.isPerItem(field) ? 0 : costs.weightOf(field)), 0),
    itemWeight:
      perItem.length === 0
        ? undefined
        : (variables) =>
            perItem.reduce(
              (sum, one) => sum + costs.weightForArguments(one.field, one.args ?? argumentsOrNone(one, variables)),
              0,
            ),
  }
}

/** Compiles the maximum cost of a plan into a function of the variables, which can set page sizes. */
function compileCost(costs: Costs, root: PlannedObject): Plan['cost'] {
  const objectCost = (
    object: PlannedObject,
    variables: Readonly<Record<string, unknown>>,
    pageSize: PageSize,
  ): number => {
    let sum = object.weight + (object.itemWeight?.(variables) ?? 0)
    for (const planned of object.fields) {
      if (!planned.objects) continue
      const args = planned.args ?? argumentsOrNone(planned, variables)
      const size = costs.sizeOf(planned.field, args, pageSize)
      const items = isList(planned.field.type) ? size.ownSize : 1
      let maxCost = 0
      for (const inner of planned.objects.values())
        maxCost = Math.max(maxCost, objectCost(inner, variables, size.innerSize))
      sum += items * maxCost
    }
    return sum
  }
  return (variables) => objectCost(root, variables, undefined)
}

function argumentsOrNone(planned: PlannedField, variables: Readonly<Record<string, unknown>>): Record<string, unknown> {
  try {
    return getArgumentValues(planned.field, planned.node, variables)
  } catch {
    // Execution will report the invalid arguments; the cost is that of a field without arguments.
    return {}
  }
}

function getFieldDefinition(
  schema: GraphQLSchema,
  parent: GraphQLObjectType,
  name: string,
): GraphQLField<unknown, unknown> {
  if (parent === schema.getQueryType()) {
    if (name === SchemaMetaFieldDef.name) return SchemaMetaFieldDef
    if (name === TypeMetaFieldDef.name) return TypeMetaFieldDef
  }
  return parent.getFields()[name]!
}

const TYPENAME = { name: '__typename' } as GraphQLField<unknown, unknown>

function hasVariable(value: NonNullable<FieldNode['arguments']>[number]['value']): boolean {
  if (value.kind === Kind.VARIABLE) return true
  if (value.kind === Kind.LIST) return value.values.some(hasVariable)
  return value.kind === Kind.OBJECT && value.fields.some((field) => hasVariable(field.value))
}

function isList(type: GraphQLOutputType): boolean {
  return isListType(isNonNullType(type) ? type.ofType : type)
}
