import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { execute, GraphQLError, isObjectType, parse, validate, type GraphQLSchema } from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readRules } from '../../src/entrypoints/graphql/authorization/rules.ts'
import { compileOperation } from '../../src/entrypoints/graphql/execution/compile.ts'
import { readMemoizableFields } from '../../src/entrypoints/graphql/execution/memoizable.ts'
import { createPlanner } from '../../src/entrypoints/graphql/execution/planner.ts'
import { createDocumentReader } from '../../src/entrypoints/graphql/read-document.ts'
import { ANONYMOUS, type Caller } from '../../src/kernel/request-context.ts'
import { SCOPES } from '../../src/kernel/scopes.ts'
import { createFakeGraph, type FakeContext } from '../support/fake-graph.ts'
import { createRandom, createRandomDocument, type RandomDocument } from '../support/random-documents.ts'

/** `node tools/test.ts --cases=20000 test/entrypoints/executor-property.test.ts` runs more of them. */
const CASES = Number(process.env['GUICHET_CASES'] ?? 300)
const FIRST_SEED = Number(process.env['GUICHET_SEED'] ?? 1)

const typeDefs = readFileSync(join(import.meta.dirname, '../../schema.graphql'), 'utf8')

type MemoizablePlaces = (typeName: string, fieldName: string) => boolean
/** What the schema says is memoizable. */
const declared: MemoizablePlaces = (() => {
  const schema = createFakeGraph(typeDefs, () => false, 'ENGINE')
  const memoizable = readMemoizableFields(schema)
  return (typeName, fieldName) => {
    const type = schema.getType(typeName)
    return isObjectType(type) && memoizable.has(type.getFields()[fieldName]!)
  }
})()

function createHarness(memoizesEverything = false) {
  const engineSchema = createFakeGraph(typeDefs, declared, 'ENGINE')
  const reader = createDocumentReader(engineSchema)
  const allFields = Object.values(engineSchema.getTypeMap())
    .filter(isObjectType)
    .flatMap((type) => Object.values(type.getFields()))
  return {
    engineSchema,
    referenceSchema: createFakeGraph(typeDefs, declared, 'REFERENCE'),
    reader,
    planner: createPlanner(engineSchema, readRules(engineSchema), reader),
    memoizable: memoizesEverything ? new Set(allFields) : readMemoizableFields(engineSchema),
  }
}
type Harness = ReturnType<typeof createHarness>

function createCaller(random: () => number): Caller {
  const kind = (['ANONYMOUS', 'CUSTOMER', 'CUSTOMER', 'CLIENT'] as const)[Math.floor(random() * 4)]!
  if (kind === 'ANONYMOUS') return ANONYMOUS
  const share = random()
  const scopes = new Set(SCOPES.filter(() => random() < share))
  return { kind, clientId: 'client', scopes } as unknown as Caller
}

/** Where each error made null of the data: a position may have several errors below it, of which one is reported or all. */
function nullPositions(data: unknown, paths: readonly (readonly (string | number)[])[]): string[] {
  const positions = paths.map((path) => {
    let value = data
    const way: (string | number)[] = []
    for (const key of path) {
      if (value === null || value === undefined) break
      value = (value as Record<string | number, unknown>)[key]
      way.push(key)
    }
    return way.join('.')
  })
  return [...new Set(positions)].sort()
}

/** A document that can be executed, or undefined if the generator made one that breaks a rule or a limit. */
function createCase(
  schema: GraphQLSchema,
  reader: Harness['reader'],
  random: () => number,
): RandomDocument | undefined {
  const document = createRandomDocument(schema, random)
  return reader.readIfValid(document.text) && document
}

async function compare(
  harness: Harness,
  { text, variables }: RandomDocument,
  caller: Caller,
  salts: readonly string[],
) {
  const { planner, memoizable, referenceSchema } = harness
  const operation = planner.findOperation(planner.readDocument(text, caller), undefined)!
  const compiled = compileOperation(planner.planFor(operation, caller, variables), memoizable)
  const document = parse(text)
  for (const salt of salts) {
    const context = { caller, requestId: 'req_test', salt } as FakeContext
    const expected = await execute({
      schema: referenceSchema,
      document,
      variableValues: variables,
      contextValue: context,
    })
    const given = await compiled.run({ variables, context, visibleSchema: referenceSchema })
    const expectedData = JSON.parse(JSON.stringify(expected.data)) as unknown
    const givenData = JSON.parse(given.data) as unknown
    // The order of the keys counts, too.
    expect(JSON.stringify(givenData)).toBe(JSON.stringify(expectedData))
    expect(
      nullPositions(
        givenData,
        given.failures.map(({ path }) => path),
      ),
    ).toEqual(
      nullPositions(
        expectedData,
        (expected.errors ?? []).map(({ path }) => path ?? []),
      ),
    )
    const denied = given.failures.filter(({ thrown }) => String(thrown).includes('DENIED FIELD RESOLVED'))
    expect(denied.map(({ thrown }) => String(thrown))).toEqual([])
  }
}

/** Runs cases of consecutive seeds until `count` of them were valid. */
async function runCases(harness: Harness, count: number): Promise<Record<string, number>> {
  const seen = { documents: 0, fragments: 0, conditions: 0, variables: 0, aliases: 0, mutations: 0 }
  for (let seed = FIRST_SEED; seen.documents < count; seed++) {
    const random = createRandom(seed)
    const caller = createCaller(random)
    const document = createCase(harness.engineSchema, harness.reader, random)
    if (!document) continue
    seen.documents++
    if (document.text.includes('fragment F')) seen.fragments++
    if (/@(skip|include)/.test(document.text)) seen.conditions++
    if (document.text.includes('$v')) seen.variables++
    if (/a\d+: /.test(document.text)) seen.aliases++
    if (document.text.startsWith('mutation')) seen.mutations++
    try {
      await compare(harness, document, caller, [`${seed} a`, `${seed} b`, `${seed} a`])
    } catch (error) {
      const message = `GUICHET_SEED=${seed}, ${caller.kind} ${[...caller.scopes].join(' ')}, ${JSON.stringify(document)}`
      throw new Error(message, { cause: error })
    }
  }
  return seen
}

/** graphql-js 16 leaves promises beside a failed non-null value unhandled; a compiled operation must not. */
const unhandled: unknown[] = []
const listeners = process.listeners('unhandledRejection')
const note = (reason: unknown): void => {
  if (!(reason instanceof GraphQLError) && !String(reason).includes('REFERENCE')) unhandled.push(reason)
}
beforeAll(() => {
  process.removeAllListeners('unhandledRejection')
  process.on('unhandledRejection', note)
})
afterAll(() => {
  process.off('unhandledRejection', note)
  for (const listener of listeners) process.on('unhandledRejection', listener)
})

describe('a compiled operation', () => {
  test(
    'a compiled random operation returns what graphql-js returns and resolves no denied field',
    async () => {
      const seen = await runCases(createHarness(), CASES)
      // Node reports a rejection that nobody handles once the microtasks are done.
      await new Promise((resolve) => setImmediate(resolve))
      await new Promise((resolve) => setImmediate(resolve))
      expect(unhandled).toEqual([])
      for (const [what, count] of Object.entries(seen)) expect([what, count > CASES / 50]).toEqual([what, true])
    },
    60_000 + CASES * 100,
  )

  test('the same cases detect a memoized field that depends on the request', async () => {
    await expect(runCases(createHarness(true), 300)).rejects.toThrow('GUICHET_SEED')
  }, 60_000)
})

test('most random documents are valid', () => {
  const { engineSchema } = createHarness()
  const valid = Array.from({ length: 100 }, (_, seed) => createRandomDocument(engineSchema, createRandom(seed))).filter(
    ({ text }) => validate(engineSchema, parse(text)).length === 0,
  )
  expect(valid.length).toBeGreaterThan(50)
})
