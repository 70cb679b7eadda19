import { Kind, type DocumentNode, type FragmentDefinitionNode, type SelectionSetNode } from 'graphql'
import { GatewayError } from '../../kernel/errors.ts'

/** The limits of a document. They are checked before validation. */
export const DOCUMENT_LIMITS = {
  /** Characters, comments included. */
  characters: 65_536,
  /** Lexical tokens, counted while the text is parsed. */
  tokens: 1_000,
  // A fragment counts in these limits each time that it is spread.
  depth: 16,
  fields: 600,
  rootFields: 20,
  aliases: 60,
  directives: 20,
  // A fragment counts in these limits once.
  operations: 20,
  fragments: 50,
  spreads: 100,
  /** Fields with the same response name as an earlier field of their selection set. */
  repeatedFields: 60,
  /** Characters of a response name. A response repeats the name for every item of a list. */
  responseNameLength: 100,
} as const

const LIMIT_NAMES: Readonly<Record<keyof typeof DOCUMENT_LIMITS, string>> = {
  characters: 'characters',
  tokens: 'tokens',
  depth: 'levels of fields',
  fields: 'fields, including those of each fragment spread',
  rootFields: 'selections at its root',
  aliases: 'aliases, including those of each fragment spread',
  directives: 'directives, including those of each fragment spread',
  operations: 'operations',
  fragments: 'fragments',
  spreads: 'fragment spreads',
  repeatedFields: 'fields that repeat a response name of their selection set',
  responseNameLength: 'characters in a response name',
}

/** The maximum cost of a request in points, for every caller. */
export const MAX_COST = 20_000

type Counts = Record<'depth' | 'fields' | 'aliases' | 'directives', number>
const ZERO_COUNTS: Counts = { depth: 0, fields: 0, aliases: 0, directives: 0 }

/** Throws `OPERATION_TOO_LARGE` if a document exceeds a limit. Visits each fragment only once. */
export function checkLimits(document: DocumentNode): void {
  const fragments = new Map<string, FragmentDefinitionNode>()
  let [operations, definedFragments, spreads, repeatedFields] = [0, 0, 0, 0]
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) {
      checkLimit('fragments', ++definedFragments)
      fragments.set(definition.name.value, definition)
    }
  const countsByFragment = new Map<string, Counts>()

  function countFragment(name: string): Counts {
    const cached = countsByFragment.get(name)
    if (cached) return cached
    // Validation rejects a fragment that contains itself. Here, the recursion must only end.
    countsByFragment.set(name, ZERO_COUNTS)
    const fragment = fragments.get(name)
    const counts = fragment ? countSelections(fragment.selectionSet) : ZERO_COUNTS
    countsByFragment.set(name, counts)
    return counts
  }

  /** `names` are the response names of the selection set and its inline fragments. */
  function countSelections(set: SelectionSetNode, names = new Set<string>()): Counts {
    const total = { ...ZERO_COUNTS }
    for (const node of set.selections) {
      let inner = ZERO_COUNTS
      if (node.kind === Kind.FRAGMENT_SPREAD) {
        checkLimit('spreads', ++spreads)
        inner = countFragment(node.name.value)
      } else if (node.kind === Kind.INLINE_FRAGMENT) inner = countSelections(node.selectionSet, names)
      else {
        const name = (node.alias ?? node.name).value
        checkLimit('responseNameLength', name.length)
        if (names.has(name)) checkLimit('repeatedFields', ++repeatedFields)
        names.add(name)
        if (node.selectionSet) inner = countSelections(node.selectionSet)
      }
      const field = node.kind === Kind.FIELD ? 1 : 0
      total.depth = Math.max(total.depth, inner.depth + field)
      total.fields += inner.fields + field
      total.aliases += inner.aliases + (node.kind === Kind.FIELD && node.alias ? 1 : 0)
      total.directives += inner.directives + (node.directives?.length ?? 0)
    }
    for (const name of Object.keys(ZERO_COUNTS) as (keyof Counts)[]) checkLimit(name, total[name])
    return total
  }

  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) countFragment(definition.name.value)
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue
    checkLimit('operations', ++operations)
    checkLimit('rootFields', definition.selectionSet.selections.length)
    countSelections(definition.selectionSet)
  }
}

function checkLimit(limit: keyof typeof DOCUMENT_LIMITS, value: number): void {
  if (value > DOCUMENT_LIMITS[limit]) throw operationTooLarge(limit)
}

/** The error for a document that exceeds a limit. */
export const operationTooLarge = (limit: keyof typeof DOCUMENT_LIMITS): GatewayError =>
  new GatewayError('OPERATION_TOO_LARGE', {
    internalMessage: limit,
    faults: [
      { path: [limit], message: `A document may have at most ${DOCUMENT_LIMITS[limit]} ${LIMIT_NAMES[limit]}.` },
    ],
  })

/** The error for an operation whose maximum cost, `points`, exceeds `MAX_COST`. */
export const operationTooExpensive = (points: number): GatewayError =>
  new GatewayError('OPERATION_TOO_LARGE', {
    internalMessage: 'cost',
    faults: [
      {
        path: ['cost'],
        message: `An operation may cost at most ${MAX_COST} points, and this one can cost ${points}. Request smaller pages (\`first\`) or fewer fields.`,
      },
    ],
  })
