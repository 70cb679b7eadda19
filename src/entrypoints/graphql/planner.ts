import {
  getOperationAST,
  Kind,
  visit,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { bytesOfText, createCache } from '../../kernel/cache.ts'
import { digest } from '../../kernel/ids.ts'
import type { Caller } from '../../kernel/request.ts'
import { createCosts } from './cost.ts'
import { compilePlan, type Plan } from './plan.ts'
import type { ParsedDocument, ParsedOperation, ReadDocument } from './read-document.ts'
import type { Rules } from './rules.ts'

/** Gives documents and plans, from its cache where they are there. */
export interface Planner {
  /** The document, where the same text was read before. */
  find(text: string): ParsedDocument | undefined
  /** Reads a text that is not in the cache, and stores it. Throws what `ReadDocument` throws. */
  read(text: string, caller: Caller): ParsedDocument
  /** The operation of that name, or the only one; `undefined` where the document has none such. */
  operation(document: ParsedDocument, name: string | null | undefined): ParsedOperation | undefined
  /** The plan of an operation for a caller and these variables, which must have been coerced. */
  plan(operation: ParsedOperation, caller: Caller, variables: Readonly<Record<string, unknown>>): Plan
}

/** A document with all that hangs on it: it is counted as a whole and goes as a whole. */
interface Entry extends ParsedDocument {
  readonly owner: string
  readonly operations: Map<string, ParsedOperation>
  readonly plans: Map<string, Plan>
  /** The text, the tree and the operations. */
  readonly ownBytes: number
  /** As it was counted last. */
  bytes: number
}

/** Documents, plans and compiled operations, of one process. */
const CACHE = { maxBytes: 50_331_648, maxBytesPerOwner: 16_777_216 }
/** Plans of one document, for different sets of scopes and values of conditions. */
const MAX_PLANS = 32
/** Heap of a node of a document without its locations, and of a field or object of a compiled plan; measured. */
const NODE_BYTES = 140
const PLANNED_BYTES = 1_100
const DOCUMENT_BYTES = 2_048
/** A plan is counted anew when it has grown by so much. */
const RECOUNT_BYTES = 32_768
/** All callers without a token share one share of the cache. */
const ANONYMOUS_OWNER = 'anonymous'

const authorizationKeys = new WeakMap<Caller, string>()
/** All of a caller that a plan depends on: its kind and its scopes. */
export function authorizationKey(caller: Caller): string {
  let key = authorizationKeys.get(caller)
  if (key === undefined) authorizationKeys.set(caller, (key = `${caller.kind} ${[...caller.scopes].sort().join(' ')}`))
  return key
}

/** Reads documents, compiles plans, and keeps those in use within a number of bytes, by the digest of the text. */
export function createPlanner(schema: GraphQLSchema, rules: Rules, read: ReadDocument): Planner {
  const contract = { schema, rules, costs: createCosts(schema) }
  const cache = createCache<Entry>({ ...CACHE, bytesOf: ({ bytes }) => bytes })

  /** Counts an entry anew, where it is still there. */
  function recount(entry: Entry): void {
    if (cache.get(entry.hash) !== entry) return
    entry.bytes = bytesOfEntry(entry)
    cache.set(entry.hash, entry, entry.owner)
  }

  return {
    find: (text) => cache.get(digest(text)),

    read(text, caller) {
      const document = read(text)
      const hash = digest(text)
      const ownBytes = DOCUMENT_BYTES + bytesOfText(text) + NODE_BYTES * nodesOf(document)
      const owner = caller.kind === 'ANONYMOUS' ? ANONYMOUS_OWNER : caller.clientId
      const entry: Entry = { hash, document, owner, operations: new Map(), plans: new Map(), ownBytes, bytes: ownBytes }
      cache.set(hash, entry, owner)
      return entry
    },

    operation(parsed, name) {
      const { operations, document, hash } = parsed as Entry
      const known = operations.get(name ?? '')
      if (known) return known
      const operation = getOperationAST(document, name)
      if (!operation) return undefined
      const conditions = conditionsOf(document, operation)
      const key = `${hash} ${operation.name?.value ?? ''}`
      const found: ParsedOperation = { key, parsed, document, operation, conditions }
      operations.set(name ?? '', found)
      return found
    },

    plan(operation, caller, variables) {
      const conditions = operation.conditions.map((name) => (variables[name] === true ? 'y' : 'n')).join('')
      const key = `${authorizationKey(caller)}\n${conditions}\n${operation.key}`
      const entry = operation.parsed as Entry
      const known = entry.plans.get(key)
      if (known) {
        if (known.retainedBytes > RECOUNT_BYTES + entry.bytes - entry.ownBytes) recount(entry)
        return known
      }
      const plan = compilePlan(contract, operation, caller, variables)
      if (entry.plans.size >= MAX_PLANS) entry.plans.clear()
      entry.plans.set(key, plan)
      recount(entry)
      return plan
    },
  }
}

function bytesOfEntry({ ownBytes, plans }: Entry): number {
  let bytes = ownBytes
  for (const { size, retainedBytes } of plans.values()) bytes += PLANNED_BYTES * size + retainedBytes
  return bytes
}

function nodesOf(document: DocumentNode): number {
  let count = 0
  visit(document, { enter: () => void count++ })
  return count
}

/** The variables of the `@skip` and `@include` that an operation holds, in its fragments too. */
function conditionsOf({ definitions }: DocumentNode, operation: OperationDefinitionNode): string[] {
  const names = new Set<string>()
  const reached = new Set<DefinitionNode>([operation])
  // A set grows while it is walked, so that fragments within fragments are reached.
  for (const definition of reached)
    visit(definition, {
      Directive({ name, arguments: given }) {
        const value = given?.[0]?.value
        if (/^(skip|include)$/.test(name.value) && value?.kind === Kind.VARIABLE) names.add(value.name.value)
      },
      FragmentSpread({ name }) {
        for (const one of definitions)
          if (one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === name.value) reached.add(one)
      },
    })
  return [...names].sort()
}
