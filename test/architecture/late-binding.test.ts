import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'

const root = join(import.meta.dirname, '../..')
const SOURCES = readdirSync(join(root, 'src'), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts') && !path.startsWith('generated'))
  .map((path) => join('src', path))
  .sort()

/** Resolvers explain and validate against the schema that they are part of. */
const LATE_BOUND = ['src/entrypoints/graphql/schema.ts: documents']

/** The names that a declaration binds, patterns included. */
const boundNames = (name: ts.BindingName): string[] =>
  ts.isIdentifier(name)
    ? [name.text]
    : name.elements.flatMap((element) => (ts.isBindingElement(element) ? boundNames(element.name) : []))

/** Whether the value is a service: the result of a function `create…`. */
function isService(initializer: ts.Expression | undefined): boolean {
  const call = initializer && ts.isAwaitExpression(initializer) ? initializer.expression : initializer
  return !!call && ts.isCallExpression(call) && /^create[A-Z]/.test(call.expression.getText())
}

/** Whether the identifier is a use of a variable, not the name of a property or member. */
const isUse = (identifier: ts.Identifier): boolean => {
  const { parent } = identifier
  if (ts.isPropertyAccessExpression(parent) || ts.isPropertyAssignment(parent)) return parent.name !== identifier
  return !ts.isPropertySignature(parent) && !ts.isParameter(parent)
}

/** Services that a function uses above their declaration, which only a closure that is called later can do. */
function findLateBound(source: ts.SourceFile): string[] {
  const found: string[] = []
  const visit = (node: ts.Node): void => {
    if (ts.isBlock(node))
      for (const [index, statement] of node.statements.entries()) {
        if (!ts.isVariableStatement(statement)) continue
        const services = statement.declarationList.declarations
          .filter(({ initializer }) => isService(initializer))
          .flatMap(({ name }) => boundNames(name))
        const findUses = (inner: ts.Node): void => {
          if (ts.isIdentifier(inner) && services.includes(inner.text) && isUse(inner)) found.push(inner.text)
          ts.forEachChild(inner, findUses)
        }
        if (services.length > 0) node.statements.slice(0, index).forEach(findUses)
      }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return [...new Set(found)].map((name) => `${source.fileName}: ${name}`)
}

const parse = (path: string, text: string): ts.SourceFile =>
  ts.createSourceFile(path, text, ts.ScriptTarget.Latest, true)

test('no service is given to another before it is built', () => {
  expect(SOURCES.flatMap((path) => findLateBound(parse(path, readFileSync(join(root, path), 'utf8'))))).toEqual(
    LATE_BOUND,
  )
})

test('the check finds a closure that calls a service that is built further down', () => {
  const late =
    'function f() { const deliveries = createDeliveries({ find: (id) => alerts.find(id) }); const alerts = createAlerts() }'
  expect(findLateBound(parse('late.ts', late))).toEqual(['late.ts: alerts'])
  const early =
    'function f() { const alerts = createAlerts(); const deliveries = createDeliveries({ find: () => alerts }) }'
  expect(findLateBound(parse('early.ts', early))).toEqual([])
})
