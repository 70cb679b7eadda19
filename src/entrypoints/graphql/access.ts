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
import type { FieldAccess, Resolvers } from '../../generated/graphql.ts'
import { GatewayError, type Actor, type InputFault } from '../../kernel/errors.ts'
import { perRequest, type Caller } from '../../kernel/request.ts'
import { isCustomerScope } from '../../kernel/scopes.ts'
import type { Contract } from './contract.ts'
import { DOCUMENT_LIMITS } from './limits.ts'
import { InvalidDocument } from './read-document.ts'
import { missing, type Rule, type Rules } from './rules.ts'
import type { Services } from './services.ts'

/** What is asked at the time of some fields, beyond scope and consent. */
const CONDITIONS: Readonly<Record<string, FieldAccess['conditions']>> = {
  'Account.balances': ['CUSTOMER_PRESENT', 'BUDGET'],
  'Account.balanceAtLeast': ['BUDGET'],
}
const MAX_FIELDS = 200
/** As deep as a document may be, with the name of a type before each field. */
const MAX_PATH_NAMES = 2 * DOCUMENT_LIMITS.depth

const FAULTS = {
  document: {
    path: ['document'],
    message: `\`document\` must be a valid document whose one operation has at most ${MAX_FIELDS} fields.`,
  },
  path: {
    path: ['path'],
    message: `\`path\` must be names of fields from the root, at most ${MAX_PATH_NAMES}, unless \`document\` is given.`,
  },
} satisfies Record<string, InputFault>

/** A field of the contract, and where it was asked for. */
interface Asked {
  readonly path: string
  readonly parent: GraphQLObjectType
  readonly name: string
}

/** What a customer has agreed to, as far as it opens fields. */
interface Agreed {
  readonly consents: readonly {
    readonly id: string
    readonly purposes: FieldAccess['purposes']
    readonly bankIsLive: boolean
    readonly allows: (scope: string) => boolean
  }[]
}

/** `explainAccess`. */
export function accessResolvers(contract: () => Contract, { consents, banks }: Services) {
  /** What a request's documents ask for, by their text: several of its fields may explain the same one. */
  const explained = perRequest(() => new Map<string, readonly Asked[]>())

  /** Every field of the document's operation; none where it is not valid or holds more than is explained. */
  function askedBy(text: string): readonly Asked[] {
    const { schema, read } = contract()
    try {
      return fieldsOf(schema, read(text))
    } catch (thrown) {
      if (thrown instanceof InvalidDocument || thrown instanceof GatewayError) return []
      throw thrown
    }
  }

  async function agreedBy(caller: Caller): Promise<Agreed> {
    if (caller.kind !== 'CUSTOMER') return { consents: [] }
    const live = new Set((await banks.live()).map(({ id }) => id))
    const { grants } = await consents.sharedWith(caller)
    return {
      consents: grants.map((grant) => ({
        id: grant.consentId,
        purposes: grant.purposes,
        bankIsLive: live.has(grant.bankId),
        allows: (scope) => isCustomerScope(scope) && grant.allows(scope),
      })),
    }
  }

  return {
    Query: {
      async explainAccess(_parent, { input: { document, path } }, context) {
        const { caller } = context
        const { schema, rules } = contract()
        const texts = explained(context)
        if (document && !texts.has(document)) texts.set(document, askedBy(document))
        const asked = document ? texts.get(document)! : path ? fieldsAt(schema, path) : []
        if (asked.length === 0 || asked.length > MAX_FIELDS)
          throw new GatewayError('INVALID_INPUT', { faults: [document ? FAULTS.document : FAULTS.path] })
        const agreed = await agreedBy(caller)
        return asked.map((field) => explain(rules, caller, agreed, field))
      },
    },
  } satisfies Resolvers
}

/** Every field of the document's operation, each once. Throws `INVALID_INPUT` where they are more than are explained. */
function fieldsOf(schema: GraphQLSchema, document: DocumentNode): Asked[] {
  const operation = getOperationAST(document)
  const root = operation && schema.getRootType(operation.operation)
  if (!root) return []
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const one of document.definitions) if (one.kind === Kind.FRAGMENT_DEFINITION) fragments.set(one.name.value, one)
  const found = new Map<string, Asked>()
  const visited = new Set<string>()

  function walk(
    type: GraphQLNamedType | undefined,
    set: SelectionSetNode,
    path: readonly string[],
    above: GraphQLNamedType | undefined = type,
  ): void {
    for (const node of set.selections) {
      if (node.kind === Kind.FIELD) {
        field(type, node, path, above)
        continue
      }
      if (node.kind === Kind.FRAGMENT_SPREAD) {
        // Once at each place and type, however often it is spread there.
        const visit = `${path.join('.')} ${type?.name ?? ''} ${node.name.value}`
        if (visited.has(visit)) continue
        visited.add(visit)
      }
      const fragment = node.kind === Kind.INLINE_FRAGMENT ? node : fragments.get(node.name.value)!
      const condition = fragment.typeCondition?.name.value
      walk(condition ? schema.getType(condition) : type, fragment.selectionSet, path, above)
    }
  }

  function field(
    type: GraphQLNamedType | undefined,
    node: FieldNode,
    path: readonly string[],
    above: GraphQLNamedType | undefined,
  ): void {
    for (const parent of objectsOf(schema, type)) {
      const definition = parent.getFields()[node.name.value]
      if (!definition) continue
      const here = [...path, ...(above && isAbstractType(above) ? [parent.name] : []), definition.name]
      found.set(here.join('.'), { path: here.join('.'), parent, name: definition.name })
      if (found.size > MAX_FIELDS) throw new GatewayError('INVALID_INPUT', { faults: [FAULTS.document] })
      if (node.selectionSet) walk(getNamedType(definition.type), node.selectionSet, here)
    }
  }

  walk(root, operation.selectionSet, [])
  return [...found.values()]
}

/** The fields on the way that a dotted path names; where a field is of one of several types, of each that has it. */
function fieldsAt(schema: GraphQLSchema, path: string): Asked[] {
  const names = path.split('.', MAX_PATH_NAMES + 1)
  if (names.length > MAX_PATH_NAMES) return []
  const found: Asked[] = []
  let types: { type: GraphQLNamedType; path: string[] }[] = [schema.getQueryType()!, schema.getMutationType()!].map(
    (type) => ({ type, path: [] }),
  )
  for (const name of names) {
    const next: typeof types = []
    for (const { type, path: above } of types)
      for (const parent of objectsOf(schema, type)) {
        if (isAbstractType(type) && name === parent.name) next.push({ type: parent, path: [...above, name] })
        const field = parent.getFields()[name]
        if (!field) continue
        const here = [...above, ...(isAbstractType(type) ? [parent.name] : []), name]
        found.push({ path: here.join('.'), parent, name })
        next.push({ type: getNamedType(field.type), path: here })
      }
    if (next.length === 0) return []
    types = next
  }
  return found
}

const objectsOf = (schema: GraphQLSchema, type: GraphQLNamedType | undefined): readonly GraphQLObjectType[] =>
  isObjectType(type) ? [type] : isAbstractType(type) ? schema.getPossibleTypes(type) : []

function explain(rules: Rules, caller: Caller, agreed: Agreed, { path, parent, name }: Asked): FieldAccess {
  const type = getNamedType(parent.getFields()[name]!.type)
  const places = [parent.name, `${parent.name}.${name}`, ...(isObjectType(type) ? [type.name] : [])]
  const asked = places.map((place) => rules.get(place)).filter((rule) => rule !== undefined)
  const closing = asked.find((rule) => missing(rule, caller) !== undefined)
  const scoped = asked.findLast((rule) => rule.kind === 'SCOPES')
  const ofCustomer = scoped?.kind === 'SCOPES' && scoped.anyOf.flat().some(isCustomerScope)
  const opening = agreed.consents.filter(({ allows }) =>
    scoped?.kind === 'SCOPES' ? scoped.anyOf.some((list) => list.every(allows)) : false,
  )
  const { because, changedBy } = closing
    ? whyClosed(closing, caller)
    : ofCustomer && opening.length === 0
      ? { because: 'CONSENT_MISSING' as const, changedBy: 'CUSTOMER' as const }
      : ofCustomer && !opening.some(({ bankIsLive }) => bankIsLive)
        ? { because: 'BANK_NOT_ACTIVE' as const, changedBy: 'BANK' as const }
        : whyOpen(asked, ofCustomer)
  return {
    path,
    open: changedBy === null,
    because,
    changedBy,
    scopes: scoped?.kind === 'SCOPES' ? scoped.anyOf : [],
    consentIds: opening.map(({ id }) => id),
    purposes: [...new Set(opening.flatMap(({ purposes }) => purposes))],
    conditions: CONDITIONS[`${parent.name}.${name}`] ?? [],
  }
}

interface Why {
  readonly because: FieldAccess['because']
  readonly changedBy: Actor | null
}

function whyOpen(asked: readonly Rule[], ofCustomer: boolean): Why {
  if (ofCustomer) return { because: 'CONSENT', changedBy: null }
  if (asked.some(({ kind }) => kind === 'SCOPES')) return { because: 'SCOPE', changedBy: null }
  return { because: asked.every(({ kind }) => kind === 'PUBLIC') ? 'PUBLIC' : 'TOKEN', changedBy: null }
}

function whyClosed(rule: Rule, caller: Caller): Why {
  if (caller.kind === 'ANONYMOUS') return { because: 'TOKEN_MISSING', changedBy: 'CLIENT' }
  if (rule.kind === 'POLICY') return { because: 'CLIENT_TOKEN_REQUIRED', changedBy: 'CLIENT' }
  const ofCustomer = rule.kind === 'SCOPES' && rule.anyOf.flat().some(isCustomerScope)
  return { because: 'SCOPE_MISSING', changedBy: ofCustomer ? 'CUSTOMER' : 'OPERATOR' }
}
