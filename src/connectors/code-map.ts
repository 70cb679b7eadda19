/**
 * A map from a standard's codes to domain values. It is a `Map` because banks can send any string, including names that
 * every object inherits, such as `constructor`.
 */
export const createCodeMap = <T>(entries: Readonly<Record<string, T>>): ReadonlyMap<string, T> =>
  new Map(Object.entries(entries))

/** The meaning of a code. */
export interface ReadCode<T> {
  readonly value: T
  /** `NONSTANDARD_CODE` if the code is not written as the standard has it. */
  readonly issues: readonly 'NONSTANDARD_CODE'[]
}

/**
 * Looks up a code as the standard writes it, or else without regard to case and surrounding spaces, if only one meaning is
 * possible then. Returns `undefined` for any other code.
 */
export function readCode<T>(codes: ReadonlyMap<string, T>, code: string): ReadCode<T> | undefined {
  const exact = codes.get(code)
  if (exact !== undefined) return { value: exact, issues: [] }
  const folded = foldedCodesOf(codes).get(fold(code))
  return folded?.size === 1 ? { value: [...folded][0]!, issues: ['NONSTANDARD_CODE'] } : undefined
}

const fold = (code: string): string => code.trim().toLowerCase()

/** The meanings of each code without its case. Written once for each map. */
const foldedCodes = new WeakMap<ReadonlyMap<string, unknown>, Map<string, Set<unknown>>>()

function foldedCodesOf<T>(codes: ReadonlyMap<string, T>): Map<string, Set<T>> {
  let folded = foldedCodes.get(codes) as Map<string, Set<T>> | undefined
  if (folded) return folded
  folded = new Map()
  for (const [code, value] of codes) folded.set(fold(code), (folded.get(fold(code)) ?? new Set()).add(value))
  foldedCodes.set(codes, folded)
  return folded
}
