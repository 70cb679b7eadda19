import { GatewayError, type InputFault } from './errors.ts'

/** Which part of a list is asked for (Relay cursor connections, 4.3). */
export interface PageArguments {
  readonly first?: number | null | undefined
  readonly after?: string | null | undefined
  readonly last?: number | null | undefined
  readonly before?: string | null | undefined
}

/** A part of a list. A cursor is the ID of its item. */
export interface Connection<T> {
  readonly edges: readonly { readonly cursor: string; readonly node: T }[]
  readonly nodes: readonly T[]
  readonly pageInfo: {
    readonly hasNextPage: boolean
    readonly hasPreviousPage: boolean
    readonly startCursor: string | null
    readonly endCursor: string | null
  }
  readonly totalCount: number
}

const DEFAULT_PAGE_SIZE = 20
const MAX_PAGE_SIZE = 100

/** The part of a list that is in memory. Throws `INVALID_INPUT` with every invalid size and cursor. */
export function connectionFromArray<T>(
  items: readonly T[],
  args: PageArguments,
  idOf: (item: T) => string,
): Connection<T> {
  const faults = [...sizeFaults('first', args.first), ...sizeFaults('last', args.last)]
  const indexOfCursor = (name: 'after' | 'before'): number | undefined => {
    const cursor = args[name]
    if (cursor === null || cursor === undefined) return undefined
    const index = items.findIndex((item) => idOf(item) === cursor)
    if (index < 0) faults.push(cursorFault(name))
    return index
  }
  let start = (indexOfCursor('after') ?? -1) + 1
  let end = indexOfCursor('before') ?? items.length
  throwIfFaulty(faults)
  const { first, last } = args
  if (first !== null && first !== undefined) end = Math.min(end, start + first)
  if (last !== null && last !== undefined) start = Math.max(start, end - last)
  else if (first === null || first === undefined) end = Math.min(end, start + DEFAULT_PAGE_SIZE)
  return buildConnection(items.slice(start, end), idOf, {
    hasNextPage: end < items.length,
    hasPreviousPage: start > 0,
    totalCount: items.length,
  })
}

/** Which rows of an ordered list a store is asked for: from its end if `isBackward`, and from one row more than the page. */
export interface Slice<C> {
  /** Exclusive, as is `before`. */
  readonly after: C | undefined
  readonly before: C | undefined
  readonly isBackward: boolean
  readonly limit: number
}

/** How a list that is too large for memory is read. */
export interface ConnectionSource<T, C> {
  readonly idOf: (item: T) => string
  /** The place that a cursor stands for; nothing if the list gave no such cursor. */
  readonly findCursor: (cursor: string) => C | null | undefined | Promise<C | null | undefined>
  /** Up to `limit` items between `after` and `before`, in the order of the list, or in the opposite one if `isBackward`. */
  readonly read: (slice: Slice<C>) => Promise<readonly T[]>
  /** What else is wrong with the request, such as a filter. */
  readonly otherFaults?: readonly InputFault[]
}

/**
 * The requested part of a list that a store reads. `totalCount` is that of the page. Throws `INVALID_INPUT` with each size
 * and cursor that is not valid, `last` beside `first`, and `otherFaults`.
 */
export async function connectionFromStore<T, C>(
  args: PageArguments,
  { idOf, findCursor, read, otherFaults = [] }: ConnectionSource<T, C>,
): Promise<Connection<T>> {
  const find = async (name: 'after' | 'before') => {
    const cursor = args[name]
    if (cursor === null || cursor === undefined) return { place: undefined, faults: [] }
    const place = (await findCursor(cursor)) ?? undefined
    return { place, faults: place === undefined ? [cursorFault(name)] : [] }
  }
  const [after, before] = [await find('after'), await find('before')]
  const { size, isBackward } = parseSize(args, [...after.faults, ...before.faults, ...otherFaults])
  const rows = await read({ after: after.place, before: before.place, isBackward, limit: size + 1 })
  const page = rows.slice(0, size)
  const hasMore = rows.length > size
  return buildConnection(isBackward ? page.reverse() : page, idOf, {
    hasNextPage: isBackward ? before.place !== undefined : hasMore,
    hasPreviousPage: isBackward ? hasMore : after.place !== undefined,
    totalCount: rows.length,
  })
}

/** Which end of a list is requested, and how many items. Throws `INVALID_INPUT` with every fault. */
function parseSize(
  { first, last }: PageArguments,
  otherFaults: readonly InputFault[],
): { size: number; isBackward: boolean } {
  const isBackward = last !== null && last !== undefined
  const isBoth = isBackward && first !== null && first !== undefined
  throwIfFaulty([
    ...sizeFaults('first', first),
    ...sizeFaults('last', last),
    ...(isBoth ? [{ path: ['last'], message: '`last` must be absent beside `first`.' }] : []),
    ...otherFaults,
  ])
  return { size: (isBackward ? last : first) ?? DEFAULT_PAGE_SIZE, isBackward }
}

function buildConnection<T>(
  nodes: readonly T[],
  idOf: (item: T) => string,
  { hasNextPage, hasPreviousPage, totalCount }: { hasNextPage: boolean; hasPreviousPage: boolean; totalCount: number },
): Connection<T> {
  return {
    nodes,
    edges: nodes.map((node) => ({ cursor: idOf(node), node })),
    pageInfo: {
      hasNextPage,
      hasPreviousPage,
      startCursor: nodes.length > 0 ? idOf(nodes[0]!) : null,
      endCursor: nodes.length > 0 ? idOf(nodes.at(-1)!) : null,
    },
    totalCount,
  }
}

function throwIfFaulty(faults: readonly InputFault[]): void {
  if (faults.length > 0) throw new GatewayError('INVALID_INPUT', { faults })
}

const sizeFaults = (name: 'first' | 'last', value: number | null | undefined): InputFault[] =>
  typeof value !== 'number' || (value >= 0 && value <= MAX_PAGE_SIZE)
    ? []
    : [{ path: [name], message: `\`${name}\` must be from 0 to ${MAX_PAGE_SIZE}.` }]

/** The fault of a cursor that is no item's of the list. */
const cursorFault = (name: 'after' | 'before'): InputFault => ({
  path: [name],
  message: `\`${name}\` must be a cursor that this list returned.`,
})

/** Where an item lies in a list that is ordered by time and then by id. */
export interface TimePosition {
  readonly at: Date
  readonly id: string
}

/** The part of a list that is wanted, newest first unless it is read from its end. */
export type TimeSlice = Slice<TimePosition>

/**
 * A page of a list, newest first and then by id. `locate` finds the position of a cursor, which is an item's id, or nothing
 * if the list does not have it; `read` reads a slice. Throws `INVALID_INPUT` with every fault.
 */
export const connectionByTime = <T extends { readonly id: string }>(
  page: PageArguments,
  locate: (id: string) => Promise<TimePosition | undefined>,
  read: (slice: TimeSlice) => Promise<readonly T[]>,
): Promise<Connection<T>> =>
  connectionFromStore<T, TimePosition>(page, { idOf: ({ id }) => id, findCursor: locate, read })
