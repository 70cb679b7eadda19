import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildSchema, isEnumType, Kind, parse, print, type DefinitionNode } from 'graphql'

const root = join(import.meta.dirname, '../..')
const schema = buildSchema(readFileSync(join(root, 'schema.graphql'), 'utf8'))

/** The values of an enum of the contract. */
export function valuesOf(type: string): string[] {
  const found = schema.getType(type)
  return isEnumType(found) ? found.getValues().map(({ name }) => name) : []
}

/** A cell without the marks of code. */
export const withoutTicks = (cell: string): string => cell.replaceAll('`', '')

/** A page of the documentation, with its examples and tables. */
export interface Page {
  readonly text: string
  /** The fenced blocks with this info string, such as `json set`. */
  blocksOf(info: string): string[]
  /** The only block with this info string. */
  blockOf(info: string): string
  /** The object in the only block with this info string. */
  jsonOf(info: string): Record<string, unknown>
  /** The GraphQL operation with this name, by itself. */
  operationOf(name: string): string
  /** The cells of each row of the first table whose first column has this name. */
  rowsOf(column: string): string[][]
}

/** Reads a page, such as `docs/WEBHOOKS.md`. */
export function readPage(path: string): Page {
  const text = readFileSync(join(root, path), 'utf8')
  const blocksOf = (info: string): string[] =>
    [...text.matchAll(/^```(.*)\n([\s\S]*?)^```/gm)].flatMap(([, stated, block]) => (stated === info ? [block!] : []))
  function blockOf(info: string): string {
    const [block, ...others] = blocksOf(info)
    if (block === undefined || others.length > 0) throw new Error(`${path} has not exactly one block \`${info}\``)
    return block
  }
  return {
    text,
    blocksOf,
    blockOf,
    jsonOf: (info) => JSON.parse(blockOf(info)) as Record<string, unknown>,
    operationOf(name) {
      const isNamed = (definition: DefinitionNode): boolean =>
        definition.kind === Kind.OPERATION_DEFINITION && definition.name?.value === name
      const found = blocksOf('graphql').flatMap((block) => parse(block).definitions.filter(isNamed))
      if (found.length !== 1) throw new Error(`${path} has not exactly one operation ${name}`)
      return print(found[0]!)
    },
    rowsOf: (column) =>
      text
        .slice(text.search(new RegExp(`^\\| ${column} +\\|`, 'm')))
        .split('\n\n')[0]!
        .trim()
        .split('\n')
        .slice(2)
        .map((line) =>
          line
            .split('|')
            .slice(1, -1)
            .map((cell) => cell.trim()),
        ),
  }
}

/** A folder with programs of a page, as a reader stores them. `remove` deletes it. */
export function storePrograms(programs: Readonly<Record<string, string>>): {
  readonly folder: string
  remove(): void
} {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-page-'))
  for (const [name, program] of Object.entries(programs)) writeFileSync(join(folder, name), program)
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) }
}
