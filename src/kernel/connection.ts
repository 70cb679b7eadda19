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

const USUAL = 20
const MOST = 100

/** The part of a list that is in memory. Throws `INVALID_INPUT` with every size and cursor that is none. */
export function pageOf<T>(items: readonly T[], args: PageArguments, idOf: (item: T) => string): Connection<T> {
  const faults = [...sizeFaults('first', args.first), ...sizeFaults('last', args.last)]
  const at = (name: 'after' | 'before'): number | undefined => {
    const cursor = args[name]
    if (cursor === null || cursor === undefined) return undefined
    const index = items.findIndex((item) => idOf(item) === cursor)
    if (index < 0) faults.push(cursorFault(name))
    return index
  }
  let start = (at('after') ?? -1) + 1
  let end = at('before') ?? items.length
  refuseAll(faults)
  const { first, last } = args
  if (first !== null && first !== undefined) end = Math.min(end, start + first)
  if (last !== null && last !== undefined) start = Math.max(start, end - last)
  else if (first === null || first === undefined) end = Math.min(end, start + USUAL)
  return connectionOf(items.slice(start, end), idOf, {
    hasNextPage: end < items.length,
    hasPreviousPage: start > 0,
    totalCount: items.length,
  })
}

/**
 * How many rows a store must be asked for to answer `first`: one more than the page, which tells whether more follow. Throws
 * `INVALID_INPUT` with a size that is none and `others`, such as that of a cursor.
 */
export function rowsFor({ first }: PageArguments, others: readonly InputFault[] = []): number {
  refuseAll([...sizeFaults('first', first), ...others])
  return (first ?? USUAL) + 1
}

/** The page at the head of rows that were asked for with `rowsFor`. */
export function headOf<T>(rows: readonly T[], args: PageArguments, idOf: (item: T) => string): Connection<T> {
  const size = rowsFor(args) - 1
  return connectionOf(rows.slice(0, size), idOf, {
    hasNextPage: rows.length > size,
    hasPreviousPage: args.after !== null && args.after !== undefined,
    totalCount: rows.length,
  })
}

/**
 * Which end of a list is requested, and how many items. Throws `INVALID_INPUT` with each size that is none, the second of
 * two, and `others`, such as that of a cursor.
 */
export function sliceOf(
  { first, last }: PageArguments,
  others: readonly InputFault[] = [],
): { size: number; isBackward: boolean } {
  const isBackward = last !== null && last !== undefined
  const isBoth = isBackward && first !== null && first !== undefined
  refuseAll([
    ...sizeFaults('first', first),
    ...sizeFaults('last', last),
    ...(isBoth ? [{ path: ['last'], message: '`last` must be absent beside `first`.' }] : []),
    ...others,
  ])
  return { size: (isBackward ? last : first) ?? USUAL, isBackward }
}

/** The page of rows that were read from the end that `sliceOf` names, one more than its size where there are more. */
export function sliced<T>(rows: readonly T[], args: PageArguments, idOf: (item: T) => string): Connection<T> {
  const { size, isBackward } = sliceOf(args)
  const page = rows.slice(0, size)
  const hasMore = rows.length > size
  const isGiven = (cursor: string | null | undefined): boolean => cursor !== null && cursor !== undefined
  return connectionOf(isBackward ? page.reverse() : page, idOf, {
    hasNextPage: isBackward ? isGiven(args.before) : hasMore,
    hasPreviousPage: isBackward ? hasMore : isGiven(args.after),
    totalCount: rows.length,
  })
}

function connectionOf<T>(
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

function refuseAll(faults: readonly InputFault[]): void {
  if (faults.length > 0) throw new GatewayError('INVALID_INPUT', { faults })
}

const sizeFaults = (name: 'first' | 'last', given: number | null | undefined): InputFault[] =>
  typeof given !== 'number' || (given >= 0 && given <= MOST)
    ? []
    : [{ path: [name], message: `\`${name}\` must be from 0 to ${MOST}.` }]

/** The fault of a cursor that is no item's of the list. */
export const cursorFault = (name: 'after' | 'before'): InputFault => ({
  path: [name],
  message: `\`${name}\` must be a cursor that this list gave.`,
})
