/** The entry of `allowed` that is most similar to `word`, for a "did you mean" hint; `undefined` if none is close. */
export function closestMatch(word: string, allowed: readonly string[]): string | undefined {
  if (word.length > MAX_LENGTH) return undefined
  const lowerCased = word.toLowerCase()
  let [nearest, leastDistance]: [string | undefined, number] = [undefined, Math.floor(word.length * 0.4) + 1]
  for (const candidate of allowed) {
    const distance = editDistance(lowerCased, candidate.toLowerCase())
    if (distance < leastDistance) [nearest, leastDistance] = [candidate, distance]
  }
  return nearest
}

/** Limits the time that a comparison takes. */
const MAX_LENGTH = 64

/** The number of insertions, deletions, substitutions and adjacent swaps (optimal string alignment). */
function editDistance(left: string, right: string): number {
  const rows: number[][] = [Array.from({ length: right.length + 1 }, (_, at) => at)]
  for (let i = 1; i <= left.length; i++) {
    const [previousRow, row] = [rows[i - 1]!, [i]]
    for (let j = 1; j <= right.length; j++) {
      const isSame = left[i - 1] === right[j - 1]
      const isSwapped = i > 1 && j > 1 && left[i - 1] === right[j - 2] && left[i - 2] === right[j - 1]
      row.push(
        Math.min(
          previousRow[j]! + 1,
          row[j - 1]! + 1,
          previousRow[j - 1]! + (isSame ? 0 : 1),
          isSwapped ? rows[i - 2]![j - 2]! + 1 : Infinity,
        ),
      )
    }
    rows.push(row)
  }
  return rows[left.length]![right.length]!
}
