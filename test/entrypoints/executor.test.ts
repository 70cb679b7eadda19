import { makeExecutableSchema } from '@graphql-tools/schema'
import { execute, parse, validate } from 'graphql'
import { describe, expect, test } from 'vitest'
import { compileOperation } from '../../src/entrypoints/graphql/execution/compile.ts'
import { createPlanner } from '../../src/entrypoints/graphql/execution/planner.ts'
import { createDocumentReader } from '../../src/entrypoints/graphql/read-document.ts'
import { readRules } from '../../src/entrypoints/graphql/authorization/rules.ts'
import { ANONYMOUS, type RequestContext } from '../../src/kernel/request-context.ts'

const DIRECTIVES = `directive @public on FIELD_DEFINITION | OBJECT
directive @authenticated on FIELD_DEFINITION | OBJECT
directive @policy(policies: [String!]!) on FIELD_DEFINITION | OBJECT
directive @requiresScopes(scopes: [[String!]!]!) on FIELD_DEFINITION | OBJECT
directive @cost(weight: Int!) on FIELD_DEFINITION | OBJECT
directive @listSize(assumedSize: Int!, slicingArguments: [String!]) on FIELD_DEFINITION
`

/** Everything that the specification lets go wrong, in one contract. */
const schema = makeExecutableSchema({
  typeDefs: `${DIRECTIVES}
    interface Named { name: String }
    type Query @public {
      thing(id: Int! = 1): Thing later: Thing things(first: Int): [Thing!] @listSize(assumedSize: 5, slicingArguments: ["first"]) holes: [Thing] strict: [Thing!]!
      any: [Either!] named: Named echo(text: String, n: Int = 7, flag: Boolean): String
      free: Free notFree: Free @cost(weight: 4)
      fails: String failsLater: String! broken: Thing clash: Thing clashes: [Thing!] clashesBefore: [Thing!] number: Int float: Float yes: Boolean colour: Colour missing: Thing!
    }
    type Mutation @public { add(n: Int!): Int }
    type Thing implements Named @public {
      id: ID! name: String inner: Thing must: String! mustLater: String! list: [[Int]] fails: String awkward: String colour: Colour
    }
    type Other implements Named @public { name: String size: Int }
    type Free @public @cost(weight: 0) { id: Int }
    union Either = Thing | Other
    enum Colour { RED BLUE }`,
  resolvers: {
    Query: {
      thing: (_: unknown, { id }: { id: number }) => thing(id),
      later: () => Promise.resolve(thing(2)),
      things: (_: unknown, { first }: { first?: number }) => [1, 2, 3].slice(0, first ?? 3).map(thing),
      holes: () => [thing(1), null, Promise.resolve(thing(3)), Promise.reject(new Error('x')), new Error('y')],
      strict: () => [thing(1), Promise.resolve(null)],
      any: () => [thing(1), { __typename: 'Other', name: 'o', size: 3 }],
      named: () => Promise.resolve(thing(4)),
      echo: (_: unknown, args: unknown) => JSON.stringify(args),
      fails: () => {
        throw new Error('no')
      },
      failsLater: () => Promise.reject(new Error('no')),
      broken: () => thing(5),
      clash: () => thing(56),
      clashes: () => [Promise.reject(new Error('later')), null],
      clashesBefore: () => [null, Promise.reject(new Error('later'))],
      number: () => 3.5,
      float: () => 0.1,
      yes: () => true,
      colour: () => 'GREEN',
      missing: () => Promise.resolve(undefined),
    },
    Thing: {
      inner: ({ id }: { id: number }) => (id < 9 ? thing(id + 1) : null),
      must: ({ id }: { id: number }) => (id === 6 || id === 56 ? null : 'must'),
      mustLater: ({ id }: { id: number }) => Promise.resolve(id === 5 || id === 56 ? null : 'later'),
      fails: () => Promise.reject(new Error('thing fails')),
      awkward: () => 'ä "quoted" \\ \u2028 😀 \u0000',
      colour: () => 'BLUE',
    },
    Either: { __resolveType: (value: { __typename: string }) => value.__typename },
    Named: { __resolveType: () => 'Thing' },
    Mutation: {
      add: (_: unknown, { n }: { n: number }) => new Promise((resolve) => setTimeout(() => resolve((sum += n)), 5 - n)),
    },
  },
})
let sum = 0
const thing = (id: number) => ({ __typename: 'Thing', id, name: `thing ${id}`, list: [[1, null], null, [id]] })

const NOTHING_MEMOIZABLE = new Set<never>()
const planner = createPlanner(schema, readRules(schema), createDocumentReader(schema))
const context: RequestContext = {
  caller: ANONYMOUS,
  requestId: 'req_test',
  presence: 'CUSTOMER_PRESENCE_REQUIRED',
  customer: null,
}

async function both(source: string, variables: Record<string, unknown> = {}) {
  const document = parse(source)
  expect(validate(schema, document)).toEqual([])
  sum = 0
  const expected = await execute({ schema, document, variableValues: variables, contextValue: context })
  const operation = planner.findOperation(planner.readDocument(source, ANONYMOUS), undefined)!
  const plan = planner.planFor(operation, ANONYMOUS, variables)
  sum = 0
  const { data, failures, usedPoints } = await compileOperation(plan, NOTHING_MEMOIZABLE).run({
    variables,
    context,
    visibleSchema: schema,
  })
  return {
    expected: {
      data: JSON.parse(JSON.stringify(expected.data)) as unknown,
      paths: (expected.errors ?? []).map(({ path }) => path!.join('.')).sort(),
    },
    given: { data: JSON.parse(data) as unknown, paths: failures.map(({ path }) => path.join('.')).sort() },
    text: data,
    used: usedPoints,
    most: plan.cost(variables),
  }
}

describe('a compiled operation returns what the reference implementation returns', () => {
  test.each<[string, Record<string, unknown>?]>([
    ['{ thing { id name } }'],
    ['{ a: thing(id: 1) { id } b: thing(id: 2) { id n: name } }'],
    ['{ thing { inner { inner { id } } } thing { inner { inner { name } id } } }'],
    ['{ later { id inner { name mustLater } } }'],
    ['{ things { id list } holes { id } }'],
    ['{ strict { id } }'],
    ['{ missing { id } thing { id } }'],
    ['{ fails thing { fails name } }'],
    ['{ failsLater }'],
    ['{ broken { id must inner { must name } } }'],
    ['{ broken { mustLater } later { id } }'],
    ['{ number float yes colour }'],
    ['{ thing { awkward colour } }'],
    ['{ any { __typename ... on Thing { id name } ... on Other { size name } ... on Named { name } } }'],
    ['{ named { __typename name ... on Thing { id } ... on Other { size } } }'],
    ['query ($n: Int, $t: String) { echo(text: $t, n: $n) x: echo y: echo(n: 3, flag: true) }', { n: 5, t: 'hi' }],
    ['query ($n: Int) { echo(n: $n) }', {}],
    ['query ($id: Int = 3) { thing(id: $id) { id } }', { id: 3 }],
    ['query ($s: Boolean!) { thing { id name @skip(if: $s) inner @include(if: $s) { id } } }', { s: true }],
    ['query ($s: Boolean!) { thing { id name @skip(if: $s) inner @include(if: $s) { id } } }', { s: false }],
    ['query ($s: Boolean!) { ...F @include(if: $s) yes } fragment F on Query { thing { id } }', { s: false }],
    ['{ ...A ...B } fragment A on Query { thing { id } ...B } fragment B on Query { thing { name } }'],
    ['{ thing { ... { id } ... on Thing @include(if: true) { name } ... on Named { name } } }'],
    ['mutation { a: add(n: 1) b: add(n: 2) c: add(n: 3) }'],
    ['{ __typename thing { __typename t: __typename } }'],
    [
      '{ __schema { queryType { name } types { name kind } } __type(name: "Thing") { fields { name type { name ofType { name } } } } }',
    ],
  ])('%s', async (source, variables) => {
    const { expected, given, text } = await both(source, variables)
    expect(given.data).toEqual(expected.data)
    expect(given.paths).toEqual(expected.paths)
    // The order that was asked for, and nothing but ASCII on the wire.
    expect(JSON.stringify(given.data)).toBe(JSON.stringify(expected.data))
    expect(text).toMatch(/^[\x20-\x7e]*$/)
  })

  test.each([
    '{ clash { mustLater must } }',
    '{ clash { inner { mustLater } mustLater must } }',
    '{ clashes { id } }',
    '{ clashesBefore { id } }',
  ])('a promise beside a value that fails synchronously causes no unhandled rejection: %s', async (source) => {
    const unhandled: unknown[] = []
    const note = (reason: unknown) => void unhandled.push(reason)
    process.on('unhandledRejection', note)
    const operation = planner.findOperation(planner.readDocument(source, ANONYMOUS), undefined)!
    const plan = planner.planFor(operation, ANONYMOUS, {})
    const { data, failures } = await compileOperation(plan, NOTHING_MEMOIZABLE).run({
      variables: {},
      context,
      visibleSchema: schema,
    })
    // Node reports a rejection that nobody handles once the microtasks are done.
    await new Promise((resolve) => setImmediate(resolve))
    await new Promise((resolve) => setImmediate(resolve))
    process.off('unhandledRejection', note)
    expect(unhandled).toEqual([])
    expect(Object.values(JSON.parse(data) as object)).toEqual([null])
    expect(failures).toHaveLength(1)
  })

  test('the weight of a type applies to its fields, unless a field has its own', async () => {
    expect((await both('{ free { id } }')).most).toBe(0)
    expect((await both('{ notFree { id } }')).most).toBe(4)
  })

  test('used points never exceed estimated points, and are fewer if fewer items are returned', async () => {
    const all = await both('{ things(first: 3) { id inner { id } } }')
    expect(all.used).toBe(all.most)
    const less = await both('{ things(first: 90) { id inner { id } } }')
    expect(less.used).toBeLessThan(less.most)
  })
})
