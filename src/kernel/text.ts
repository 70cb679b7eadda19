/**
 * Whether a text can be stored and sent as it is: it has no NUL, which PostgreSQL does not take, and no half of a surrogate
 * pair, for which UTF-8 has no bytes (RFC 8259, 8.2).
 */
export const isStorable = (text: string): boolean => !text.includes('\0') && text.isWellFormed()

/** What `isStorable` requires, as it reads on from the name of a field. */
export const STORABLE_RULE = 'must hold no NUL character and no half of a surrogate pair'

interface Place {
  readonly value: unknown
  readonly key: string
  readonly parent?: Place
}

/** The path of the first text in a JSON value that cannot be stored; of an object for a name of its members. */
export function unstorablePath(value: unknown): readonly string[] | undefined {
  // A value can be nested more deeply than functions can call each other.
  const places: Place[] = [{ value, key: '' }]
  for (let place = places.pop(); place; place = places.pop()) {
    const { value: found } = place
    if (typeof found === 'string' && !isStorable(found)) return pathOf(place)
    if (typeof found !== 'object' || found === null) continue
    for (const [key, part] of Object.entries(found).reverse()) {
      if (!isStorable(key)) return pathOf(place)
      places.push({ value: part as unknown, key, parent: place })
    }
  }
  return undefined
}

function pathOf(place: Place): string[] {
  const path: string[] = []
  for (let at: Place = place; at.parent; at = at.parent) path.unshift(at.key)
  return path
}
