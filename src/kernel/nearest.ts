/** The one of `allowed` that `word` was most likely meant to be; nothing where none is near. */
export function nearestOf(word: string, allowed: readonly string[]): string | undefined {
  if (word.length > MAX_LENGTH) return undefined
  const given = word.toLowerCase()
  let [nearest, least]: [string | undefined, number] = [undefined, Math.floor(word.length * 0.4) + 1]
  for (const one of allowed) {
    const distance = distanceOf(given, one.toLowerCase())
    if (distance < least) [nearest, least] = [one, distance]
  }
  return nearest
}

/** Longer ones are no typing errors, and would take long to compare. */
const MAX_LENGTH = 64

/** How many letters must be inserted, dropped, replaced or swapped with their neighbour (optimal string alignment). */
function distanceOf(one: string, other: string): number {
  const rows: number[][] = [Array.from({ length: other.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= one.length; i++) {
    const [before, row] = [rows[i - 1]!, [i]]
    for (let j = 1; j <= other.length; j++) {
      const isSame = one[i - 1] === other[j - 1]
      const isSwapped = i > 1 && j > 1 && one[i - 1] === other[j - 2] && one[i - 2] === other[j - 1]
      row.push(
        Math.min(
          before[j]! + 1,
          row[j - 1]! + 1,
          before[j - 1]! + (isSame ? 0 : 1),
          isSwapped ? rows[i - 2]![j - 2]! + 1 : Infinity,
        ),
      )
    }
    rows.push(row)
  }
  return rows[one.length]![other.length]!
}
