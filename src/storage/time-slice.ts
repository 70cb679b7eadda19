import type { TimePosition, TimeSlice } from '../kernel/pagination.ts'

/** Prisma's condition, order and limit for a slice of a table by one of its time columns, which `column` names. */
export function sliceByTime<Column extends string>(column: Column, { after, before, isBackward, limit }: TimeSlice) {
  const order = isBackward ? ('asc' as const) : ('desc' as const)
  const beyond = (operator: 'lt' | 'gt', { at, id }: TimePosition) => ({
    OR: [{ [column]: { [operator]: at } }, { [column]: at, id: { [operator]: id } }],
  })
  return {
    where: { AND: [...(after ? [beyond('lt', after)] : []), ...(before ? [beyond('gt', before)] : [])] },
    orderBy: [{ [column]: order } as Record<Column, 'asc' | 'desc'>, { id: order }],
    take: limit,
  }
}
