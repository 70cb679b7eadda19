import { makeExecutableSchema } from '@graphql-tools/schema'
import { execute, parse, validate } from 'graphql'
import { describe, expect, test } from 'vitest'
import { createOperations } from '../../src/entrypoints/graphql/execution/operation.ts'
import { createPlanner } from '../../src/entrypoints/graphql/execution/planner.ts'
import { createDocumentReader } from '../../src/entrypoints/graphql/read-document.ts'
import { readRules } from '../../src/entrypoints/graphql/authorization/rules.ts'
import { createLog } from '../../src/kernel/log.ts'
import { ANONYMOUS, type RequestContext } from '../../src/kernel/request-context.ts'

const schema = makeExecutableSchema({
  typeDefs: `directive @public on FIELD_DEFINITION | OBJECT
    directive @cost(weight: Int!) on FIELD_DEFINITION
    directive @listSize(assumedSize: Int!, slicingArguments: [String!]) on FIELD_DEFINITION
    type Query @public {
      thing: Thing
      page(first: Int! = 2): [Thing!] @listSize(assumedSize: 2, slicingArguments: ["first"])
      byIds(ids: [ID!]!): [Thing] @listSize(assumedSize: 1, slicingArguments: ["ids"]) @cost(weight: 2)
      filtered(filter: Filter, flag: Boolean): String
    }
    input Filter { size: Int! = 3, names: [String!] }
    type Thing @public { id: ID! name: String inner: Thing }`,
  resolvers: {
    Query: {
      thing: () => ({ id: 1, name: 'one', inner: { id: 2, name: 'two' } }),
      page: (_: unknown, { first }: { first: number }) => [1, 2, 3].slice(0, first).map((id) => ({ id })),
      byIds: (_: unknown, { ids }: { ids: string[] }) => ids.map((id) => ({ id })),
      filtered: (_: unknown, args: unknown) => JSON.stringify(args),
    },
  },
})

const planner = createPlanner(schema, readRules(schema), createDocumentReader(schema))
const operations = createOperations({
  schema,
  planner,
  visibleSchemaFor: () => schema,
  issuer: 'https://gateway.example',
  clock: { now: () => new Date(0) },
  ledger: { commitReads: () => Promise.resolve() } as never,
  log: createLog(
    'error',
    () => new Date(0),
    () => undefined,
  ),
})
const charge = {
  markFailed: () => undefined,
  add: () => undefined,
  refund: () => undefined,
  remainingQuota: () => ({ limit: 1, remaining: 1, resetsAt: '' }),
} as never
const context: RequestContext = {
  caller: ANONYMOUS,
  requestId: 'req_test',
  presence: 'CUSTOMER_PRESENCE_REQUIRED',
  customer: null,
}

interface Answer {
  data?: unknown
  errors?: { message: string; path?: string[]; extensions: { code: string; requestId: string } }[]
}

async function both(source: string, variables: Record<string, unknown>, operationName?: string) {
  const document = parse(source)
  expect(validate(schema, document)).toEqual([])
  const reference = await execute({
    schema,
    document,
    variableValues: variables,
    ...(operationName && { operationName }),
  })
  const operation = planner.findOperation(planner.readDocument(source, ANONYMOUS), operationName)!
  const { status, body } = await operations.run(operation, { context, variables, charge })
  return { reference, status, given: JSON.parse(body) as Answer }
}

/** A document, and what its one variable would take. */
const IN_DIRECTIVES: [string][] = [
  ['query ($x: Boolean = true) { thing @include(if: $x) { id } }'],
  ['query ($x: Boolean = false) { thing @skip(if: $x) { id } }'],
  ['query ($x: Boolean = true) { thing { id inner @include(if: $x) { name } } }'],
  ['query ($x: Boolean = true) { thing { ... @include(if: $x) { name } } }'],
  ['query ($x: Boolean = true) { ...F @skip(if: $x) thing { id } } fragment F on Query { page { id } }'],
  ['query ($x: Boolean = true) { thing { ...F } } fragment F on Thing { inner { name @include(if: $x) } }'],
]
const IN_VALUES: [string, unknown][] = [
  ['query ($x: Int = 1) { page(first: $x) { id } }', 1],
  ['query ($x: ID = "a") { byIds(ids: [$x, "b"]) { id } }', 'a'],
  ['query ($x: [ID!] = ["a"]) { byIds(ids: $x) { id } }', ['a']],
  ['query ($x: Int = 1) { filtered(filter: { size: $x }) }', 1],
  ['query ($x: String = "a") { filtered(filter: { names: [$x] }) }', 'a'],
]

describe('null for a defaulted variable', () => {
  test.each(IN_DIRECTIVES)(
    'null for a defaulted variable in a directive is a request error, whether or not a plan is cached: %s',
    async (source) => {
      for (const variables of [{ x: null }, { x: true }, { x: false }, {}, { x: null }]) {
        const { reference, status, given } = await both(source, variables)
        if (variables.x !== null) {
          expect(reference.errors).toBeUndefined()
          expect(given.data).toEqual(JSON.parse(JSON.stringify(reference.data)))
          continue
        }
        expect(reference.errors).toHaveLength(1)
        expect(status).toBe(400)
        expect(given).not.toHaveProperty('data')
        expect(given.errors).toMatchObject([{ extensions: { code: 'INVALID_INPUT', requestId: 'req_test' } }])
        expect(given.errors![0]!.message).toContain('null')
      }
    },
  )

  test.each(IN_VALUES)(
    'null for a defaulted variable in an argument is an error of that field, as in graphql-js: %s',
    async (source, value) => {
      for (const variables of [{ x: null }, { x: value }, {}, { x: null }]) {
        const { reference, status, given } = await both(source, variables)
        expect(status).toBe(200)
        expect(given.data).toEqual(JSON.parse(JSON.stringify(reference.data)))
        expect(given.errors?.map(({ path }) => path)).toEqual(reference.errors?.map(({ path }) => path))
        if (variables.x === null) expect(given.errors).toMatchObject([{ extensions: { code: 'INVALID_INPUT' } }])
      }
    },
  )

  test('null for a defaulted variable is accepted if only another operation uses it in a directive', async () => {
    const source = `query A($x: Boolean = true) { filtered(flag: $x) }
      query B($x: Boolean = true) { thing @include(if: $x) { id } ...F }
      fragment F on Query { page @skip(if: $x) { id } }`
    const { reference, status, given } = await both(source, { x: null }, 'A')
    expect([status, given.data]).toEqual([200, JSON.parse(JSON.stringify(reference.data))])
    expect((await both(source, { x: null }, 'B')).status).toBe(400)
  })

  test('null for a defaulted variable is accepted if the directive is in a fragment that is not used', async () => {
    const source = `query A($x: Boolean = true) { ...F } query B($x: Boolean = true) { ...G }
      fragment F on Query { filtered(flag: $x) } fragment G on Query { thing @include(if: $x) { id } }`
    expect((await both(source, { x: null }, 'A')).status).toBe(200)
    expect((await both(source, { x: null }, 'B')).status).toBe(400)
  })
})
