import {
  getOperationAST,
  Kind,
  visit,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { bytesOfText, createBoundedCache } from '../../kernel/cache.ts'
import { digest } from '../../kernel/ids.ts'
import type { Caller } from '../../kernel/request-context.ts'
import { createCosts } from './cost.ts'
import { compilePlan, type Plan } from './plan.ts'
import type { ParsedDocument, ParsedOperation, ParseDocument } from './read-document.ts'
import type { Rules } from './rules.ts'

/** Gives documents and plans, from its cache where they are there. */
export interface Planner {
  /** The document, where the same text was read before. */
  findDocument(text: string): ParsedDocument | undefined
  /** Reads a text that is not in the cache, and stores it. Throws what `ReadDocument` throws. */
  parseDocument(text: string, caller: Caller): ParsedDocument
  /** The operation of that name, or the only one; `undefined` where the document has none such. */
  findOperation(document: ParsedDocument, name: string | null | undefined): ParsedOperation | undefined
  /** The plan of an operation for a caller and these variables, which must have been coerced. */
  planFor(findOperation: ParsedOperation, caller: Caller, variables: Readonly<Record<string, unknown>>): Plan
}

/** A document with all that hangs on it: it is counted as a whole and goes as a whole. */
interface CachedDocument extends ParsedDocument {
  readonly owner: string
  readonly operations: Map<string, ParsedOperation>
  readonly plans: Map<string, Plan>
  /** The text, the tree and the operations. */
  readonly documentBytes: number
  /** As it was counted last. */
  bytes: number
}

/** Documents, plans and compiled operations, of one process. */
const CACHE = { maxBytes: 50_331_648, maxBytesPerOwner: 16_777_216 }
/** Plans of one document, for different sets of scopes and values of conditions. */
const MAX_PLANS = 32
/** Heap of a node of a document without its locations, and of a field or object of a compiled plan; measured. */
const BYTES_PER_NODE = 140
const BYTES_PER_PLANNED_FIELD = 1_100
const BYTES_PER_DOCUMENT = 2_048
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
export function createPlanner(schema: GraphQLSchema, rules: Rules, parseDocument: ParseDocument): Planner {
  const contract = { schema, rules, costs: createCosts(schema) }
  const cache = createBoundedCache<CachedDocument>({ ...CACHE, bytesOf: ({ bytes }) => bytes })

  /** Counts an entry anew, where it is still there. */
  function updateSize(entry: CachedDocument): void {
    if (cache.get(entry.hash) !== entry) return
    entry.bytes = countBytes(entry)
    cache.set(entry.hash, entry, entry.owner)
  }

  return {
    findDocument: (text) => cache.get(digest(text)),

    parseDocument(text, caller) {
      const document = parseDocument(text)
      const hash = digest(text)
      const ownBytes = BYTES_PER_DOCUMENT + bytesOfText(text) + BYTES_PER_NODE * countNodes(document)
      const owner = caller.kind === 'ANONYMOUS' ? ANONYMOUS_OWNER : caller.clientId
      const entry: CachedDocument = {
        hash,
        document,
        owner,
        operations: new Map(),
        plans: new Map(),
        documentBytes: ownBytes,
        bytes: ownBytes,
      }
      cache.set(hash, entry, owner)
      return entry
    },

    findOperation(parsed, name) {
      const { operations, document, hash } = parsed as CachedDocument
      const cached = operations.get(name ?? '')
      if (cached) return cached
      const operation = getOperationAST(document, name)
      if (!operation) return undefined
      const conditionVariables = findConditionVariables(document, operation)
      const key = `${hash} ${operation.name?.value ?? ''}`
      const parsedOperation: ParsedOperation = { key, source: parsed, document, operation, conditionVariables }
      operations.set(name ?? '', parsedOperation)
      return parsedOperation
    },

    planFor(operation, caller, variables) {
      const conditionKey = operation.conditionVariables.map((name) => (variables[name] === true ? 'y' : 'n')).join('')
      const key = `${authorizationKey(caller)}\n${conditionKey}\n${operation.key}`
      const entry = operation.source as CachedDocument
      const cached = entry.plans.get(key)
      if (cached) {
        if (cached.retainedBytes > RECOUNT_BYTES + entry.bytes - entry.documentBytes) updateSize(entry)
        return cached
      }
      const plan = compilePlan(contract, operation, caller, variables)
      if (entry.plans.size >= MAX_PLANS) entry.plans.clear()
      entry.plans.set(key, plan)
      updateSize(entry)
      return plan
    },
  }
}

function countBytes({ documentBytes, plans }: CachedDocument): number {
  let bytes = documentBytes
  for (const { size, retainedBytes } of plans.values()) bytes += BYTES_PER_PLANNED_FIELD * size + retainedBytes
  return bytes
}

function countNodes(document: DocumentNode): number {
  let count = 0
  visit(document, { enter: () => void count++ })
  return count
}

/** The variables of the `@skip` and `@include` that an operation holds, in its fragments too. */
function findConditionVariables({ definitions }: DocumentNode, operation: OperationDefinitionNode): string[] {
  const names = new Set<string>()
  const reachable = new Set<DefinitionNode>([operation])
  // A set grows while it is walked, so that fragments within fragments are reached.
  for (const definition of reachable)
    visit(definition, {
      Directive({ name, arguments: given }) {
        const value = given?.[0]?.value
        if (/^(skip|include)$/.test(name.value) && value?.kind === Kind.VARIABLE) names.add(value.name.value)
      },
      FragmentSpread({ name }) {
        for (const one of definitions)
          if (one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === name.value) reachable.add(one)
      },
    })
  return [...names].sort()
}
