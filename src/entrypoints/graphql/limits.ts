import { Kind, type DocumentNode, type FragmentDefinitionNode, type SelectionSetNode } from 'graphql'
import { GatewayError } from '../../kernel/errors.ts'

/** What a document may hold, counted before it is checked against the contract: fragments count wherever they are spread. */
export const DOCUMENT_LIMITS = {
  /** Lexical tokens, counted while the text is read. */
  tokens: 1_000,
  depth: 16,
  fields: 600,
  rootFields: 20,
  aliases: 60,
  directives: 20,
  operations: 20,
} as const

/** What a whole request may cost, in points, whoever asks. */
export const MAX_COST = 20_000

type Counts = Record<'depth' | 'fields' | 'aliases' | 'directives', number>
const NOTHING: Counts = { depth: 0, fields: 0, aliases: 0, directives: 0 }

/** Throws `OPERATION_TOO_LARGE` for a document beyond a limit. Each fragment is counted once, however often it is spread. */
export function checkSize(document: DocumentNode): void {
  const fragments = new Map<string, FragmentDefinitionNode>()
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition)
  const known = new Map<string, Counts>()

  function ofFragment(name: string): Counts {
    const counted = known.get(name)
    if (counted) return counted
    // A fragment within itself is refused by validation; here it must only end.
    known.set(name, NOTHING)
    const fragment = fragments.get(name)
    const counts = fragment ? count(fragment.selectionSet) : NOTHING
    known.set(name, counts)
    return counts
  }

  function count(set: SelectionSetNode): Counts {
    const total = { ...NOTHING }
    for (const node of set.selections) {
      const inner =
        node.kind === Kind.FRAGMENT_SPREAD
          ? ofFragment(node.name.value)
          : node.selectionSet
            ? count(node.selectionSet)
            : NOTHING
      const field = node.kind === Kind.FIELD ? 1 : 0
      total.depth = Math.max(total.depth, inner.depth + field)
      total.fields += inner.fields + field
      total.aliases += inner.aliases + (node.kind === Kind.FIELD && node.alias ? 1 : 0)
      total.directives += inner.directives + (node.directives?.length ?? 0)
    }
    for (const name of Object.keys(NOTHING) as (keyof Counts)[])
      if (total[name] > DOCUMENT_LIMITS[name]) throw tooLarge(name)
    return total
  }

  let operations = 0
  for (const definition of document.definitions) {
    if (definition.kind === Kind.FRAGMENT_DEFINITION) ofFragment(definition.name.value)
    if (definition.kind !== Kind.OPERATION_DEFINITION) continue
    if (++operations > DOCUMENT_LIMITS.operations) throw tooLarge('operations')
    if (definition.selectionSet.selections.length > DOCUMENT_LIMITS.rootFields) throw tooLarge('rootFields')
    count(definition.selectionSet)
  }
}

const tooLarge = (limit: string): GatewayError => new GatewayError('OPERATION_TOO_LARGE', { internal: limit })
