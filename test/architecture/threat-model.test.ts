import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'

const PAGE = new URL('../../docs/THREAT-MODEL.md', import.meta.url)

/** The rows of the page that name a threat: what is tried, the control, and the tests. */
const rows = readFileSync(PAGE, 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| ') && !/^\| (attack|failure|-+) +\|/.test(line))
  .map((line) =>
    line
      .slice(2, -2)
      .split(' | ')
      .map((cell) => cell.trim()),
  )

/** Each test of a row: the file that was linked last, and the title. */
function testsOf(cell: string): { file: string; title: string }[] {
  const tests: { file: string; title: string }[] = []
  let file = ''
  for (const [, link, title] of cell.matchAll(/\[[a-z-]+\]\(([^)]+)\)|“((?:[^“”]|“[^”]*”)*)”/g)) {
    if (link !== undefined) file = link
    else tests.push({ file, title: title ?? '' })
  }
  return tests
}

describe('the threat model', () => {
  test('the threat model has at least forty threats, each with a control and a test', () => {
    expect(rows.length).toBeGreaterThanOrEqual(40)
    for (const row of rows) {
      expect(row, row[0]).toHaveLength(3)
      expect(row[1], row[0]).not.toBe('')
      expect(testsOf(row[2] ?? ''), row[0]).not.toEqual([])
    }
  })

  test.each(rows.flatMap(([, , cell]) => testsOf(cell ?? '')))(
    'the threat model names a test that exists: $title',
    ({ file, title }) => {
      const path = new URL(file, PAGE)
      expect(file, title).not.toBe('')
      expect(existsSync(path), file).toBe(true)
      const source = readFileSync(path, 'utf8').replaceAll("\\'", "'")
      expect(
        ["'", '"', '`'].some((quote) => source.includes(`${quote}${title}${quote}`)),
        `${file}: ${title}`,
      ).toBe(true)
    },
  )
})
