import type { TimePosition, TimeSlice } from '../kernel/pagination.ts'
import { keysetQuery } from './keyset.ts'

/** Prisma's condition, order and limit for a slice of a table by one of its time columns, which `column` names. */
export function sliceByTime<Column extends string>(column: Column, { after, before, ...slice }: TimeSlice) {
  const toRow = ({ at, id }: TimePosition) => ({ [column]: at, id }) as Record<Column | 'id', unknown>
  const { conditions, ...order } = keysetQuery(
    { field: column, tieBreaker: 'id', direction: 'DESC' },
    { ...slice, after: after && toRow(after), before: before && toRow(before) },
  )
  return { where: { AND: conditions }, ...order }
}
