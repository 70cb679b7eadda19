import { GatewayError, type ErrorCode } from '../kernel/errors.ts'
import type { ResponseIssue } from './response-issues.ts'

/** One page of a list. `next` is the standard's link or cursor to the next page; `UNUSABLE` if the bank's cannot be followed. */
export interface Page<N> {
  readonly entries: readonly unknown[]
  readonly next: N | 'UNUSABLE' | undefined
}

/** The entries of a list. If it is partial, an entry that is missing may be on a page that could not be read. */
export interface PagedList {
  readonly entries: readonly unknown[]
  readonly isPartial: boolean
}

const MAX_PAGES = 20
/** No page is requested after so many entries: to parse them takes time in which the process does nothing else. */
const MAX_LIST_ENTRIES = 10_000

/**
 * Reads the entries of all pages, at most twenty, and no further page after 10,000 entries. A fault of the list keeps the pages
 * before it: the list is partial, and an issue is reported if there are more pages, if the link or cursor to the next one cannot
 * be followed or was followed before (links are compared as they are requested), or if a later page is refused or cannot be parsed.
 * An error passes if it says that the customer has to connect again, or if the same read can succeed later: the first page
 * alone would hide it from the caller, who can repeat the read or use what it has saved.
 */
export async function readAllPages<N>(
  read: (next: N | undefined) => Promise<Page<N>>,
  report: (issue: ResponseIssue) => void,
  keyOf: (next: N | undefined) => string = (next) => JSON.stringify(next),
): Promise<PagedList> {
  const entries: unknown[] = []
  const visited = new Set<string>()
  let next: N | undefined
  const partial = (issue: ResponseIssue): PagedList => {
    report(issue)
    return { entries, isPartial: true }
  }
  for (let pageCount = 0; pageCount < MAX_PAGES; pageCount++) {
    const page = await readPage(read, next)
    if (page === 'UNREADABLE') return partial('UNREADABLE_PAGE')
    entries.push(...page.entries)
    visited.add(keyOf(next))
    if (page.next === undefined) return { entries, isPartial: false }
    if (page.next === 'UNUSABLE') return partial('INVALID_NEXT_PAGE')
    next = page.next
    if (visited.has(keyOf(next))) return partial('REPEATED_PAGE')
    if (entries.length >= MAX_LIST_ENTRIES) return partial('TOO_MANY_PAGES')
  }
  return partial('TOO_MANY_PAGES')
}

async function readPage<N>(
  read: (next: N | undefined) => Promise<Page<N>>,
  next: N | undefined,
): Promise<Page<N> | 'UNREADABLE'> {
  try {
    return await read(next)
  } catch (error) {
    if (next !== undefined && error instanceof GatewayError && PAGE_FAULTS.has(error.code)) return 'UNREADABLE'
    throw error
  }
}

/** The errors that say something about one page: what cannot be parsed, or is refused, is likely to stay so. */
const PAGE_FAULTS: ReadonlySet<ErrorCode> = new Set(['BANK_RESPONSE_INVALID', 'BANK_REFUSED', 'BALANCE_NOT_PROVIDED'])

/**
 * Resolves a bank's link to a further page of the list at `listUrl`, the address of the first page. Returns the address of the
 * page, or `UNUSABLE` for a link to another host or path: only the query of a link is used, so that it can lead nowhere else.
 * `http` is accepted in the link, because banks behind a proxy write it, and never used. `aliases` are other addresses by which
 * the bank may name the same list; nothing is sent there.
 */
export function resolveNextLink(listUrl: string, link: string, aliases: readonly string[] = []): string {
  const next = URL.parse(link, listUrl)
  if (!next || ![listUrl, ...aliases].some((url) => namesList(next, new URL(url)))) return 'UNUSABLE'
  const { origin, pathname } = new URL(listUrl)
  return `${origin}${pathname}${next.search}`
}

const namesList = (next: URL, list: URL): boolean =>
  next.host === list.host &&
  (next.protocol === list.protocol || next.protocol === 'http:') &&
  isSamePath(next.pathname, list.pathname)

/** Whether two paths are equal except for a final slash and for characters that are encoded in one of them only. */
function isSamePath(one: string, other: string): boolean {
  const [segments, otherSegments] = [one, other].map((path) => path.replace(/\/$/, '').split('/'))
  return (
    segments!.length === otherSegments!.length &&
    segments!.every((segment, index) => decodeSegment(segment) === decodeSegment(otherSegments![index]!))
  )
}

/** Decodes once; a segment that is not valid UTF-8 stays as it is. */
export function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment)
  } catch {
    return segment
  }
}
