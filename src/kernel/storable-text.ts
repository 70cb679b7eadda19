/**
 * Whether a text can be stored and sent unchanged: it has no NUL, which PostgreSQL rejects, and no unpaired surrogate, which
 * UTF-8 cannot encode (RFC 8259, 8.2).
 */
export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed()

/** The rule of `isStorable`, worded to follow the name of a field. */
export const STORABLE_RULE = 'must hold no NUL character and no half of a surrogate pair'

interface JsonNode {
  readonly value: unknown
  readonly key: string
  readonly parent?: JsonNode
}

/** The path of the first text in a JSON value that cannot be stored. For a member name, it is the path of the object. */
export function findUnstorablePath(value: unknown): readonly string[] | undefined {
  // Not recursive, because the nesting of a value can exceed the call stack.
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
