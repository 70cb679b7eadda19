import type { Slice } from '../kernel/pagination.ts'

/** The order of a list: by a column, and among equal values by a unique column. */
interface KeysetOrder<F extends string, T extends string> {
  readonly field: F
  readonly tieBreaker: T
  readonly direction: 'ASC' | 'DESC'
}

/** Prisma's conditions, order and limit for a slice of a list. The positions of the slice are rows of the list. */
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
