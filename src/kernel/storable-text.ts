/**
 * Whether a text can be stored and sent as it is: it has no NUL, which PostgreSQL does not take, and no half of a surrogate
 * pair, for which UTF-8 has no bytes (RFC 8259, 8.2).
 */
export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed()

/** What `isStorable` requires, as it reads on from the name of a field. */
export const STORABLE_RULE = 'must hold no NUL character and no half of a surrogate pair'

interface JsonNode {
  readonly value: unknown
  readonly key: string
  readonly parent?: JsonNode
}

/** The path of the first text in a JSON value that cannot be stored; of an object for a name of its members. */
export function findUnstorablePath(value: unknown): readonly string[] | undefined {
  // A value can be nested more deeply than functions can call each other.
  const stack: JsonNode[] = [{ value, key: '' }]
  for (let node = stack.pop(); node; node = stack.pop()) {
    const { value: current } = node
    if (typeof current === 'string' && !isStorable(current)) return pathOf(node)
    if (typeof current !== 'object' || current === null) continue
    for (const [key, part] of Object.entries(current).reverse()) {
      if (!isStorable(key)) return pathOf(node)
      stack.push({ value: part as unknown, key, parent: node })
    }
  }
  return undefined
}

function pathOf(node: JsonNode): string[] {
  const path: string[] = []
  for (let current: JsonNode = node; current.parent; current = current.parent) path.unshift(current.key)
  return path
}
