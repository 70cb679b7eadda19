import { globSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { describe, expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const SOURCES = globSync('src/**/*.ts', { cwd: root }).filter((path) => !path.startsWith('src/generated/'))

const MAX_FILE_LINES = 300
/** Lines of a function itself. A function inside it counts as one line there, and is measured on its own. */
const MAX_FUNCTION_LINES = 60
/** Lines of a closure with all functions inside it, such as a service with its methods: three functions of the largest size. */
const MAX_CLOSURE_LINES = 180

/** What may exceed a limit, with the reason. Whoever adds a line says here why splitting would make the code worse. */
const EXCEPTIONS: Readonly<Record<string, string>> = {
  'src/entrypoints/graphql/nodes.ts createNodeTypes': 'It is a table: one row for each kind of ID.',
}

interface Measure {
  readonly name: string
  readonly lines: number
  readonly ownLines: number
}

/** Every function with a body, with its lines in total and without those of the functions inside it. */
function measureFunctions(path: string, text: string): Measure[] {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)
  const lineOf = (position: number): number => file.getLineAndCharacterOfPosition(position).line
  const measures: Measure[] = []
  /** Returns how many lines the functions in `node` take beyond one each. */
  function visit(node: ts.Node): number {
    let innerLines = 0
    ts.forEachChild(node, (child) => void (innerLines += visit(child)))
    if (!ts.isFunctionLike(node) || !('body' in node) || !node.body) return innerLines
    const lines = lineOf(node.end) - lineOf(node.getStart()) + 1
    measures.push({ name: nameOf(node), lines, ownLines: lines - innerLines })
    return lines - 1
  }
  visit(file)
  return measures
}

function nameOf(node: ts.SignatureDeclaration): string {
  if (node.name) return node.name.getText()
  const { parent } = node
  return ts.isVariableDeclaration(parent) || ts.isPropertyAssignment(parent) ? parent.name.getText() : 'anonymous'
}

/** Everything over a limit in one file. */
function findExcess(path: string, text: string): string[] {
  const fileLines = text.trimEnd().split('\n').length
  return [
    ...(fileLines > MAX_FILE_LINES ? [`${path}: ${fileLines} lines`] : []),
    ...measureFunctions(path, text)
      .filter(({ lines, ownLines }) => ownLines > MAX_FUNCTION_LINES || lines > MAX_CLOSURE_LINES)
      .map(({ name, lines, ownLines }) => `${path} ${name}: ${lines} lines, ${ownLines} of its own`),
  ]
}

/** The key of a finding in the list of exceptions: a file, or a file and a function. */
const keyOf = (finding: string): string => finding.slice(0, finding.indexOf(': '))

describe('the size of the code', () => {
  const findings = SOURCES.flatMap((path) => findExcess(path, readFileSync(join(root, path), 'utf8')))

  test('no file has more than 300 lines, no function more than 60, and no closure more than 180 in all', () => {
    expect(findings.filter((finding) => !(keyOf(finding) in EXCEPTIONS))).toEqual([])
  })

  test('every exception is still needed and has a reason', () => {
    const needed = new Set(findings.map(keyOf))
    expect(Object.entries(EXCEPTIONS).filter(([key, reason]) => !needed.has(key) || reason === '')).toEqual([])
  })

  test('a long function is found, also inside another, and a closure is not charged for its methods', () => {
    const statements = (count: number): string => 'x()\n'.repeat(count)
    const long = `function outer() {\n  const inner = () => {\n${statements(61)}}\n}`
    expect(findExcess('a.ts', long)).toEqual(['a.ts inner: 63 lines, 63 of its own'])
    const method = `function method() {\n${statements(50)}}\n`
    expect(findExcess('a.ts', `function service() {\n${method.repeat(3)}}`)).toEqual([])
    expect(findExcess('a.ts', `function service() {\n${method.repeat(4)}}`)).toEqual([
      'a.ts service: 210 lines, 6 of its own',
    ])
    expect(findExcess('a.ts', statements(301))).toEqual(['a.ts: 301 lines'])
  })
})
