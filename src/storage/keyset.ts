import type { Slice } from '../kernel/pagination.ts'

/** How a list is ordered: by a column, and by a unique one among rows that have the same value. */
interface KeysetOrder<F extends string, T extends string> {
  readonly field: F
  readonly tieBreaker: T
  readonly direction: 'ASC' | 'DESC'
}

/** The condition, order and limit by which one statement reads a slice of a list; its places are rows of the list. */
export function keysetQuery<F extends string, T extends string>(
  { field, tieBreaker, direction }: KeysetOrder<F, T>,
  { after, before, isBackward, limit }: Slice<Readonly<Record<F | T, unknown>>>,
) {
  type Row = Readonly<Record<F | T, unknown>>
  const beyond = (row: Row, operator: 'gt' | 'lt') => ({
    OR: [
      { [field]: { [operator]: row[field] } },
      { [field]: row[field], [tieBreaker]: { [operator]: row[tieBreaker] } },
    ],
  })
  const isAscending = direction === 'ASC'
  const order = isAscending === isBackward ? ('desc' as const) : ('asc' as const)
  return {
    conditions: [
      ...(after ? [beyond(after, isAscending ? 'gt' : 'lt')] : []),
      ...(before ? [beyond(before, isAscending ? 'lt' : 'gt')] : []),
    ],
    orderBy: [{ [field]: order }, { [tieBreaker]: order }],
    take: limit,
  }
}
