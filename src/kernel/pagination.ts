import { GatewayError, type InputFault } from './errors.ts'

/** Which part of a list is asked for (Relay cursor connections, 4.3). */
export interface PageArguments {
  readonly first?: number | null | undefined
  readonly after?: string | null | undefined
  readonly last?: number | null | undefined
  readonly before?: string | null | undefined
}

/** A part of a list. A cursor is the id of the item that it stands on. */
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

/** The part of a list that is in memory. Throws `INVALID_INPUT` with every size and cursor that is none. */
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

/**
 * How many rows a store must be asked for to answer `first`: one more than the page, which tells whether more follow. Throws
 * `INVALID_INPUT` with a size that is none and `others`, such as that of a cursor.
 */
export function rowLimit({ first }: PageArguments, otherFaults: readonly InputFault[] = []): number {
  throwIfFaulty([...sizeFaults('first', first), ...otherFaults])
  return (first ?? DEFAULT_PAGE_SIZE) + 1
}

/** The page at the head of rows that were asked for with `rowsFor`. */
export function connectionFromForwardRows<T>(
  rows: readonly T[],
  args: PageArguments,
  idOf: (item: T) => string,
): Connection<T> {
  const size = rowLimit(args) - 1
  return buildConnection(rows.slice(0, size), idOf, {
    hasNextPage: rows.length > size,
    hasPreviousPage: args.after !== null && args.after !== undefined,
    totalCount: rows.length,
  })
}

/**
 * Which end of a list is requested, and how many items. Throws `INVALID_INPUT` with each size that is none, the second of
 * two, and `others`, such as that of a cursor.
 */
export function parseSlice(
  { first, last }: PageArguments,
  otherFaults: readonly InputFault[] = [],
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

/** The page of rows that were read from the end that `sliceOf` names, one more than its size where there are more. */
export function connectionFromRows<T>(
  rows: readonly T[],
  args: PageArguments,
  idOf: (item: T) => string,
): Connection<T> {
  const { size, isBackward } = parseSlice(args)
  const page = rows.slice(0, size)
  const hasMore = rows.length > size
  const isPresent = (cursor: string | null | undefined): boolean => cursor !== null && cursor !== undefined
  return buildConnection(isBackward ? page.reverse() : page, idOf, {
    hasNextPage: isBackward ? isPresent(args.before) : hasMore,
    hasPreviousPage: isBackward ? hasMore : isPresent(args.after),
    totalCount: rows.length,
  })
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
export const cursorFault = (name: 'after' | 'before'): InputFault => ({
  path: [name],
  message: `\`${name}\` must be a cursor that this list gave.`,
})

/** Where an item lies in a list that is ordered by time and then by id. */
export interface TimePosition {
  readonly at: Date
  readonly id: string
}

/** The part of a list that is wanted, newest first unless it is read from its end. */
export interface TimeSlice {
  /** Only what comes after this one, which is older. */
  readonly after: TimePosition | undefined
  /** Only what comes before this one, which is newer. */
  readonly before: TimePosition | undefined
  readonly isBackward: boolean
  readonly limit: number
}

/**
 * A page of a list, newest first and then by id. `locate` finds the position of a cursor, which is an item's id, or nothing
 * if the list does not have it; `read` reads a slice. Throws `INVALID_INPUT` with every fault.
 */
export async function connectionByTime<T extends { readonly id: string }>(
  page: PageArguments,
  locate: (id: string) => Promise<TimePosition | undefined>,
  read: (slice: TimeSlice) => Promise<readonly T[]>,
): Promise<Connection<T>> {
  const faults: InputFault[] = []
  const locateCursor = async (name: 'after' | 'before'): Promise<TimePosition | undefined> => {
    const cursor = page[name]
    if (cursor === null || cursor === undefined) return undefined
    const position = await locate(cursor)
    if (!position) faults.push(cursorFault(name))
    return position
  }
  const after = await locateCursor('after')
  const before = await locateCursor('before')
  const { size, isBackward } = parseSlice(page, faults)
  return connectionFromRows(await read({ after, before, isBackward, limit: size + 1 }), page, ({ id }) => id)
}
