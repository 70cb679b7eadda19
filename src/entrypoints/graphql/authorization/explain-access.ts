import {
  getNamedType,
  getOperationAST,
  isAbstractType,
  isObjectType,
  Kind,
  type DocumentNode,
  type FieldNode,
  type FragmentDefinitionNode,
  type GraphQLNamedType,
  type GraphQLObjectType,
  type GraphQLSchema,
  type SelectionSetNode,
} from 'graphql'
import type { FieldAccess, Resolvers } from '../../../generated/graphql.ts'
import type { Clock } from '../../../kernel/clock.ts'
import { GatewayError, type Party, type InputFault } from '../../../kernel/errors.ts'
import { perRequest, type Caller } from '../../../kernel/request-context.ts'
import { isCustomerScope } from '../../../kernel/scopes.ts'
import type { Contract } from '../contract.ts'
import { DOCUMENT_LIMITS } from '../limits.ts'
import { findDenial, type Rule, type Rules } from './rules.ts'
import type { Services } from '../services.ts'

/** Conditions of a field, or of all fields of a type, that are checked at the time of the request, beyond scope and consent. */
const CONDITIONS: Readonly<Record<string, FieldAccess['conditions']>> = {
  ExactBalance: ['CUSTOMER_PRESENT', 'WITHIN_BUDGET'],
  'Account.balanceAtLeast': ['WITHIN_BUDGET'],
}
const MAX_FIELDS = 200
/** Twice the depth limit of documents, because a path can have a type name before each field. */
const MAX_PATH_SEGMENTS = 2 * DOCUMENT_LIMITS.depth

const FAULTS = {
  document: {
    path: ['target', 'document'],
    message: `\`target.document\` must be a valid document whose one operation has at most ${MAX_FIELDS} fields.`,
  },
  path: {
    path: ['target', 'path'],
    message: `\`target.path\` must be at most ${MAX_PATH_SEGMENTS} field names from the root, joined by dots.`,
  },
} satisfies Record<string, InputFault>

/** A requested field: its path and its definition. */
interface RequestedField {
  readonly path: string
  readonly parent: GraphQLObjectType
  readonly name: string
}

/** The customer's active consents with the calling client. */
interface CustomerAgreement {
  readonly consents: readonly {
    readonly id: string
    readonly purposes: FieldAccess['purposes']
    readonly isBankActive: boolean
    /** The bank does not serve the client's platform. */
    readonly isSuspended: boolean
    readonly allows: (scope: string) => boolean
  }[]
}

/** The resolver of `explainAccess`. */
export function accessResolvers(contract: () => Contract, { consents, banks, clock }: Services & { clock: Clock }) {
  /** Requested fields by document text: several fields of one request may explain the same document. */
  const fieldsByQuery = perRequest(() => new Map<string, readonly RequestedField[]>())

  /** Every field of the document's operation. Empty if the document is invalid or has more than `MAX_FIELDS` fields. */
  function findRequestedFields(text: string): readonly RequestedField[] {
    const { schema, documents } = contract()
    const parsed = documents.readIfValid(text)
    return parsed ? (collectFields(schema, parsed.document) ?? []) : []
  }

  async function loadAgreement(caller: Caller): Promise<CustomerAgreement> {
    if (caller.kind !== 'CUSTOMER') return { consents: [] }
    const activeBankIds = new Set((await banks.activeBanks()).map(({ id }) => id))
    const { grants, suspended } = await consents.findShared(caller)
    const now = clock.now()
    return {
      consents: [
        ...grants.map((grant) => ({
          id: grant.consentId,
          purposes: grant.purposes,
          isBankActive: activeBankIds.has(grant.bankId),
          isSuspended: false,
          allows: (scope: string) => isCustomerScope(scope) && grant.openAll(scope, now).length > 0,
        })),
        ...suspended.map(({ consentId, purposes, bankId, scopes }) => ({
          id: consentId,
          purposes,
          isBankActive: activeBankIds.has(bankId),
          isSuspended: true,
          allows: (scope: string) => isCustomerScope(scope) && scopes.includes(scope),
        })),
      ],
    }
  }

  return {
    Query: {
      async explainAccess(_parent, { target: { document, path } }, context) {
        const { caller } = context
        const { schema, rules } = contract()
        const fieldsByQueryText = fieldsByQuery(context)
        if (document && !fieldsByQueryText.has(document)) fieldsByQueryText.set(document, findRequestedFields(document))
        const fields = document ? fieldsByQueryText.get(document)! : path ? findFieldsAtPath(schema, path) : []
        if (fields.length === 0)
          throw new GatewayError('INVALID_INPUT', {
            faults: [typeof path === 'string' ? FAULTS.path : FAULTS.document],
          })
        const agreement = await loadAgreement(caller)
        return fields.map((field) => explain(rules, caller, agreement, field))
      },
    },
  } satisfies Resolvers
}

/** Every field of the document's operation, each once. Undefined if there are more than `MAX_FIELDS`. */
function collectFields(schema: GraphQLSchema, document: DocumentNode): RequestedField[] | undefined {
  const operation = getOperationAST(document)
  const root = operation && schema.getRootType(operation.operation)
  if (!root) return undefined
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  const found = new Map<string, RequestedField>()
  const visited = new Set<string>()

  function walk(
    type: GraphQLNamedType | undefined,
    set: SelectionSetNode,
    path: readonly string[],
    enclosingType: GraphQLNamedType | undefined = type,
  ): void {
    for (const node of set.selections) {
      if (found.size > MAX_FIELDS) return
      if (node.kind === Kind.FIELD) {
        visitField(type, node, path, enclosingType)
        continue
      }
      if (node.kind === Kind.FRAGMENT_SPREAD) {
        // A fragment counts once at each path and type, however often it is spread there.
        const visitKey = `${path.join('.')} ${type?.name ?? ''} ${node.name.value}`
        if (visited.has(visitKey)) continue
        visited.add(visitKey)
      }
      const fragment = node.kind === Kind.INLINE_FRAGMENT ? node : fragments.get(node.name.value)!
      const condition = fragment.typeCondition?.name.value
      walk(condition ? schema.getType(condition) : type, fragment.selectionSet, path, enclosingType)
    }
  }

  function visitField(
    type: GraphQLNamedType | undefined,
    node: FieldNode,
    path: readonly string[],
    enclosingType: GraphQLNamedType | undefined,
  ): void {
    for (const parent of possibleObjectTypes(schema, type)) {
      const definition = parent.getFields()[node.name.value]
      if (!definition) continue
      const fieldPath = [
        ...path,
        ...(enclosingType && isAbstractType(enclosingType) ? [parent.name] : []),
        definition.name,
      ]
      found.set(fieldPath.join('.'), { path: fieldPath.join('.'), parent, name: definition.name })
      if (found.size > MAX_FIELDS) return
      if (node.selectionSet) walk(getNamedType(definition.type), node.selectionSet, fieldPath)
    }
  }

  walk(root, operation.selectionSet, [])
  return found.size > MAX_FIELDS ? undefined : [...found.values()]
}

/** The fields along a dotted path. Below an abstract type, these are the fields of every object type that has one of that name. */
function findFieldsAtPath(schema: GraphQLSchema, path: string): RequestedField[] {
  const names = path.split('.', MAX_PATH_SEGMENTS + 1)
  if (names.length > MAX_PATH_SEGMENTS) return []
  const found: RequestedField[] = []
  let types: { type: GraphQLNamedType; path: string[] }[] = [schema.getQueryType()!, schema.getMutationType()!].map(
    (type) => ({ type, path: [] }),
  )
  for (const name of names) {
    const next: typeof types = []
    for (const { type, path: parentPath } of types)
      for (const parent of possibleObjectTypes(schema, type)) {
        if (isAbstractType(type) && name === parent.name) next.push({ type: parent, path: [...parentPath, name] })
        const field = parent.getFields()[name]
        if (!field) continue
        const fieldPath = [...parentPath, ...(isAbstractType(type) ? [parent.name] : []), name]
        found.push({ path: fieldPath.join('.'), parent, name })
        next.push({ type: getNamedType(field.type), path: fieldPath })
      }
    if (next.length === 0) return []
    types = next
  }
  return found
}

const possibleObjectTypes = (
  schema: GraphQLSchema,
  type: GraphQLNamedType | undefined,
): readonly GraphQLObjectType[] =>
  isObjectType(type) ? [type] : isAbstractType(type) ? schema.getPossibleTypes(type) : []

function explain(
  rules: Rules,
  caller: Caller,
  agreement: CustomerAgreement,
  { path, parent, name }: RequestedField,
): FieldAccess {
  const type = getNamedType(parent.getFields()[name]!.type)
  const coordinates = [parent.name, `${parent.name}.${name}`, ...(isObjectType(type) ? [type.name] : [])]
  const applicableRules = coordinates.map((coordinate) => rules.get(coordinate)).filter((rule) => rule !== undefined)
  const denyingRule = applicableRules.find((rule) => findDenial(rule, caller) !== undefined)
  const scopeRule = applicableRules.findLast((rule) => rule.kind === 'SCOPES')
  const isCustomerScoped = scopeRule?.kind === 'SCOPES' && scopeRule.anyOf.flat().some(isCustomerScope)
  const matchingConsents = agreement.consents.filter(({ allows }) =>
    scopeRule?.kind === 'SCOPES' ? scopeRule.anyOf.some((list) => list.every(allows)) : false,
  )
  const servedConsents = matchingConsents.filter(({ isSuspended }) => !isSuspended)
  const authorizingConsents = servedConsents.length > 0 ? servedConsents : matchingConsents
  const deniedByConsents = isCustomerScoped ? explainConsents(authorizingConsents) : undefined
  const { reason, grantableBy } = denyingRule
    ? explainDenied(denyingRule, caller)
    : (deniedByConsents ?? explainAllowed(applicableRules, isCustomerScoped))
  return {
    path,
    allowed: grantableBy === null,
    reason,
    grantableBy,
    scopes: scopeRule?.kind === 'SCOPES' ? scopeRule.anyOf : [],
    consentIds: authorizingConsents.map(({ id }) => id),
    purposes: [...new Set(authorizingConsents.flatMap(({ purposes }) => purposes))],
    conditions: CONDITIONS[`${parent.name}.${name}`] ?? CONDITIONS[parent.name] ?? [],
  }
}

/** `grantableBy` is null if access is allowed. */
type AccessVerdict = Pick<FieldAccess, 'reason'> & { readonly grantableBy: Party | null }

/** Why the consents that match a field authorize nothing. Undefined if one of them does. */
function explainConsents(consents: CustomerAgreement['consents']): AccessVerdict | undefined {
  if (consents.length === 0) return { reason: 'CONSENT_MISSING', grantableBy: 'CUSTOMER' }
  if (consents.every(({ isSuspended }) => isSuspended)) return { reason: 'PLATFORM_NOT_ALLOWED', grantableBy: 'BANK' }
  if (!consents.some(({ isBankActive }) => isBankActive)) return { reason: 'BANK_NOT_ACTIVE', grantableBy: 'BANK' }
  return undefined
}

function explainAllowed(applicableRules: readonly Rule[], isCustomerScoped: boolean): AccessVerdict {
  if (isCustomerScoped) return { reason: 'CONSENT', grantableBy: null }
  if (applicableRules.some(({ kind }) => kind === 'SCOPES')) return { reason: 'SCOPE', grantableBy: null }
  const isPublic = applicableRules.every(({ kind }) => kind === 'PUBLIC')
  return { reason: isPublic ? 'PUBLIC' : 'ANY_TOKEN', grantableBy: null }
}

function explainDenied(rule: Rule, caller: Caller): AccessVerdict {
  if (caller.kind === 'ANONYMOUS') return { reason: 'TOKEN_MISSING', grantableBy: 'CLIENT' }
  if (rule.kind === 'POLICY') return { reason: 'CLIENT_TOKEN_REQUIRED', grantableBy: 'CLIENT' }
  const isCustomerScoped = rule.kind === 'SCOPES' && rule.anyOf.flat().some(isCustomerScope)
  return { reason: 'SCOPE_MISSING', grantableBy: isCustomerScoped ? 'CUSTOMER' : 'OPERATOR' }
}
