/**
 * A map from a standard's codes to domain values. It is a `Map` because banks can send any string, including names that
 * every object inherits, such as `constructor`.
 */
export const createCodeMap = <T>(entries: Readonly<Record<string, T>>): ReadonlyMap<string, T> =>
  new Map(Object.entries(entries))
