import type { Problem } from './problems.ts'

/** One page of a list, and where the next one is, in whatever way a standard says so. */
export interface Page<N> {
  readonly entries: readonly unknown[]
  readonly next: N | undefined
}

const MAX_PAGES = 20

/** Every entry of a list, over all of its pages; of a list without end the first twenty, with a problem. */
export async function overPages<N>(
  read: (next: N | undefined) => Promise<Page<N>>,
  report: (problem: Problem) => void,
): Promise<unknown[]> {
  const found: unknown[] = []
  let next: N | undefined
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const page = await read(next)
    found.push(...page.entries)
    next = page.next
    if (!next) return found
  }
  report('TOO_MANY_PAGES')
  return found
}
