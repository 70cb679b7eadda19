import { existsSync, globSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { buildSchema, parse, validate } from 'graphql'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'))

/** Pages that describe today's product. The changelog and the decisions also name what existed earlier. */
const PAGES = ['README.md', ...globSync(['docs/*.md', 'examples/**/*.md'], { cwd: root })].filter(
  (page) => page !== 'docs/CHANGELOG.md' && !page.includes('node_modules'),
)
const LINKED_PAGES = [...PAGES, 'docs/CHANGELOG.md', ...globSync('docs/decisions/*.md', { cwd: root })]
const read = (page: string): string => readFileSync(join(root, page), 'utf8')
const withoutFences = (text: string): string => text.replaceAll(/^```[\s\S]*?^```/gm, '')
const codeSpansOf = (text: string): string[] =>
  [...withoutFences(text).matchAll(/`([^`\n]+)`/g)].map(([, span]) => span!)

/** GraphQL of a page: fenced blocks, operations of `guichet query`, and selections such as `client { id }` in the text. */
function operationsOf(page: string): string[] {
  const text = read(page)
  const blocks = [...text.matchAll(/^```graphql\n([\s\S]*?)^```/gm)].map(([, block]) => block!)
  const commands = [...text.matchAll(/guichet query '([^'<]+)'/g)].map(([, operation]) => operation!)
  const selections = codeSpansOf(text).filter((span) => /^[a-z]\w*(\([^`]*\))? \{ .*\}$/.test(span))
  return [...blocks, ...commands, ...selections.map((selection) => `{ ${selection} }`)]
}

/** Paths below the repository that a page names. */
const pathsOf = (page: string): string[] =>
  codeSpansOf(read(page)).filter(
    (span) => /^[\w.-]+\/[\w./*-]*$/.test(span) && /^(src|test|docs|docker|tools|bench|examples|prisma)\//.test(span),
  )

/** The anchors of a page's headings, as GitHub makes them. */
const anchorsOf = (page: string): string[] =>
  [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) =>
    heading!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )

describe('the documents', () => {
  test.each(PAGES.flatMap((page) => operationsOf(page).map((operation) => ({ page, operation }))))(
    '$page shows an operation that is valid in the contract: $operation',
    ({ operation }) => {
      expect(validate(schema, parse(operation)).map(({ message }) => message)).toEqual([])
    },
  )

  test('the page for platform developers has every operation of their first hour', () => {
    expect(operationsOf('docs/PLATFORMS.md').length).toBeGreaterThanOrEqual(8)
  })

  test.each(PAGES)('%s names only files and folders that exist', (page) => {
    const missing = pathsOf(page).filter((path) => globSync(path.replace(/\/$/, ''), { cwd: root }).length === 0)
    expect(missing).toEqual([])
  })

  describe('the page about the architecture', () => {
    const page = read('docs/ARCHITECTURE.md')
    const existsInSource = (path: string): boolean =>
      ['', 'src'].some((folder) => globSync(path.replace(/\/$/, ''), { cwd: join(root, folder) }).length > 0)
    /** Its code spans that are paths: those with a slash or the extension of a file. */
    const paths = codeSpansOf(page).filter((span) => /^[\w.*-]+(\/[\w.*-]*)+$|^[\w.-]+\.(ts|graphql|mjs)$/.test(span))

    test('every path on the architecture page exists in the repository or below src', () => {
      const missing = paths.filter((path) => !existsInSource(path) && !existsInSource(`*/*/${path}`))
      expect(missing).toEqual([])
      expect(paths.length).toBeGreaterThan(50)
    })

    test("every row in the page's table of questions names a file", () => {
      const rows = page.split('\n').filter((line) => /^\| .*\? +\|/.test(line))
      expect(rows.length).toBeGreaterThanOrEqual(12)
      for (const row of rows) {
        const named = [...row.matchAll(/`([^`]+)`/g)].map(([, span]) => span!)
        expect(named.length, row).toBeGreaterThan(0)
        expect(
          named.filter((path) => !existsInSource(path)),
          row,
        ).toEqual([])
      }
    })

    test('the architecture is one page of at most 120 lines', () => {
      expect(page.split('\n').length).toBeLessThanOrEqual(120)
    })
  })

  test.each(LINKED_PAGES)('%s links only to pages and headings that exist', (page) => {
    const links = [...withoutFences(read(page)).matchAll(/\]\((?!https?:)([^)\s#]*)(?:#([^)\s]+))?\)/g)]
    const broken = links.filter(([, path, anchor]) => {
      const target = path ? join(dirname(page), path) : page
      return !existsSync(join(root, target)) || (anchor !== undefined && !anchorsOf(target).includes(anchor))
    })
    expect(broken.map(([link]) => link)).toEqual([])
  })
})
