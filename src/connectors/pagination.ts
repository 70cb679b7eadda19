import type { ResponseIssue } from './response-issues.ts'

/** One page of a list, and where the next one is, in whatever way a standard says so. */
export interface Page<N> {
  readonly entries: readonly unknown[]
  readonly next: N | undefined
}

const MAX_PAGES = 20

/** Every entry of a list, over all of its pages; of a list without end the first twenty, with a problem. */
export async function readAllPages<N>(
  read: (next: N | undefined) => Promise<Page<N>>,
  report: (problem: ResponseIssue) => void,
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
