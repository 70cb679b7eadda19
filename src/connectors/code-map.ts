/**
 * What the words of a standard mean in ours. A bank can send any word: one that is not in the table has no meaning, also
 * where every object has a member of that name, such as `constructor`.
 */
export const createCodeMap = <T>(entries: Readonly<Record<string, T>>): ReadonlyMap<string, T> =>
  new Map(Object.entries(entries))
