import type { ResponseIssue } from './response-issues.ts'

/** One page of a list. `next` is the standard's link or cursor to the next page. */
export interface Page<N> {
  readonly entries: readonly unknown[]
  readonly next: N | undefined
}

const MAX_PAGES = 20

/** Reads the entries of all pages, at most twenty. Reports `TOO_MANY_PAGES` if there are more. */
export async function readAllPages<N>(
  read: (next: N | undefined) => Promise<Page<N>>,
  report: (issue: ResponseIssue) => void,
): Promise<unknown[]> {
  const entries: unknown[] = []
  let next: N | undefined
  for (let pageCount = 0; pageCount < MAX_PAGES; pageCount++) {
    const page = await read(next)
    entries.push(...page.entries)
    next = page.next
    if (!next) return entries
  }
  report('TOO_MANY_PAGES')
  return entries
}
