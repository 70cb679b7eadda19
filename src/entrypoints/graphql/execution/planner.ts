import {
  getOperationAST,
  Kind,
  visit,
  type DefinitionNode,
  type DocumentNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql'
import { createBoundedCache } from '../../../kernel/cache.ts'
import { digest } from '../../../kernel/ids.ts'
import type { Caller } from '../../../kernel/request-context.ts'
import { createCosts } from './cost.ts'
import { compilePlan, type Plan } from './plan.ts'
import type { DocumentReader, ParsedDocument, ParsedOperation } from '../read-document.ts'
import { authorizationKey, type Rules } from '../authorization/rules.ts'

/** Returns documents and plans, from a cache if possible. */
export interface Planner {
  /** Reads a document. Throws what `DocumentReader.read` throws. */
  readDocument(text: string, caller: Caller): ParsedDocument
  /** The operation of that name, or the only one. Undefined if the document has no such operation. */
  findOperation(document: ParsedDocument, name: string | null | undefined): ParsedOperation | undefined
  /** The plan of an operation for a caller and these variables, which must have been coerced. */
  planFor(operation: ParsedOperation, caller: Caller, variables: Readonly<Record<string, unknown>>): Plan
}

/** A document with its operations and plans, which are counted and evicted together with it. */
interface CachedDocument extends ParsedDocument {
  readonly owner: string
  readonly operations: Map<string, ParsedOperation>
  readonly plans: Map<string, Plan>
  /** Size of all of it at the last count. */
  totalBytes: number
}

/** Documents, plans and compiled operations, of one process. */
const CACHE = { maxBytes: 50_331_648, maxBytesPerOwner: 16_777_216 }
/** Plans of one document, for different sets of scopes and values of conditions. */
const MAX_PLANS = 32
/** Measured heap of a field or an object of a compiled plan. */
const BYTES_PER_PLANNED_FIELD = 1_100
/** A plan is counted again after it has grown by this much. */
const RECOUNT_BYTES = 32_768
/** All callers without a token share one part of the cache. */
const ANONYMOUS_OWNER = 'anonymous'

/** Caches documents with their plans, by the digest of the text, within a number of bytes. */
export function createPlanner(schema: GraphQLSchema, rules: Rules, documents: DocumentReader): Planner {
  const contract = { schema, rules, costs: createCosts(schema) }
  const cache = createBoundedCache<CachedDocument>({ ...CACHE, bytesOf: ({ totalBytes }) => totalBytes })

  /** Counts an entry again if it is still cached. */
  function updateSize(entry: CachedDocument): void {
    if (cache.get(entry.hash) !== entry) return
    entry.totalBytes = countBytes(entry)
    cache.set(entry.hash, entry, entry.owner)
  }

  return {
    readDocument(text, caller) {
      const cached = cache.get(digest(text))
      if (cached) return cached
      const parsed = documents.read(text)
      const owner = caller.kind === 'ANONYMOUS' ? ANONYMOUS_OWNER : caller.clientId
      const entry: CachedDocument = {
        ...parsed,
        owner,
        operations: new Map(),
        plans: new Map(),
        totalBytes: parsed.bytes,
      }
      cache.set(entry.hash, entry, owner)
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
        if (cached.retainedBytes > RECOUNT_BYTES + entry.totalBytes - entry.bytes) updateSize(entry)
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

function countBytes({ bytes, plans }: CachedDocument): number {
  let total = bytes
  for (const { size, retainedBytes } of plans.values()) total += BYTES_PER_PLANNED_FIELD * size + retainedBytes
  return total
}

/** The variables of `@skip` and `@include` in an operation and the fragments that it reaches. */
function findConditionVariables({ definitions }: DocumentNode, operation: OperationDefinitionNode): string[] {
  const names = new Set<string>()
  const reachable = new Set<DefinitionNode>([operation])
  // The set grows during the loop, so that fragments inside fragments are reached.
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
