import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  buildSchema,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  getNamedType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLInputType,
} from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { executeGraphql, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let tokens: Token[]
beforeAll(async () => {
  gateway = await startGateway()
  tokens = [
    await gateway.own('admin', 'clients:manage organizations:manage banks:manage ledger:read'),
    await gateway.own('northbank-partner', 'connectors:manage connectors:read'),
    await gateway.own('chatterbox', 'webhooks:manage deliveries:read'),
    await gateway.customer('bo', ['northbank'], {
      scopes: ['accounts:read', 'balances:band', 'balances:exact', 'balances:threshold', 'alerts:read'],
    }),
  ]
})
afterAll(() => gateway.close())

const NUL = 'a\u0000b'
const HALF = 'a\ud800b'
const schema = buildSchema(readFileSync(join(import.meta.dirname, '../../schema.graphql'), 'utf8'))

/** Values for an input type, each with `text` in another of its places; every other place has something that fits. */
function* valuesWith(type: GraphQLInputType, text: string): Generator {
  if (isNonNullType(type)) {
    yield* valuesWith(type.ofType, text)
    return
  }
  if (isListType(type)) {
    for (const value of valuesWith(type.ofType, text)) yield [value]
    return
  }
  if (isInputObjectType(type)) {
    const fields = Object.values(type.getFields())
    const rest = (except: string) =>
      type.isOneOf
        ? {}
        : Object.fromEntries(
            fields
              .filter(({ name, type: its }) => name !== except && isNonNullType(its))
              .map(({ name, type: its }) => [name, fitting(its)]),
          )
    for (const { name, type: its } of fields)
      for (const value of valuesWith(its, text)) yield { ...rest(name), [name]: value }
    return
  }
  if (type.name === 'JsonWebKeySet') yield { keys: [{ kid: text }] }
  else if (type.name === 'ConnectorRegistration') yield { events: { issuer: text, [text]: 1 } }
  else if (/^(ID|String)$/.test(type.name)) yield text
}
function fitting(type: GraphQLInputType): unknown {
  if (isNonNullType(type)) return fitting(type.ofType)
  if (isListType(type)) return [fitting(type.ofType)]
  if (isEnumType(type)) return type.getValues()[0]!.name
  if (isInputObjectType(type))
    return Object.fromEntries(
      Object.values(type.getFields())
        .filter(({ type: its }) => isNonNullType(its))
        .slice(0, type.isOneOf ? 1 : undefined)
        .map(({ name, type: its }) => [name, fitting(its)]),
    )
  const VALUES: Readonly<Record<string, unknown>> = {
    DateTime: '2026-11-27T00:00:00.000Z',
    Decimal: '1',
    Url: 'https://example.com/x',
    Int: 1,
    Boolean: true,
    Currency: 'EUR',
    JsonWebKeySet: {},
    ConnectorRegistration: {},
  }
  return VALUES[type.name] ?? 'some-text'
}

/** An argument that can be given, and the others that its field then needs. */
interface Place {
  readonly name: string
  readonly document: string
  readonly arg: GraphQLArgument
  readonly others: readonly GraphQLArgument[]
}

function placesOf(field: GraphQLField<unknown, unknown>, name: string, around: (selection: string) => string): Place[] {
  const selection = isLeafType(getNamedType(field.type)) ? '' : ' { __typename }'
  return field.args.map((arg) => {
    const others = field.args.filter((one) => one !== arg && isNonNullType(one.type))
    const all = [arg, ...others]
    const given = all.map((one) => `${one.name}: $${one.name}`).join(', ')
    const declared = all.map((one) => `$${one.name}: ${String(one.type)}`).join(', ')
    const { kind, body } = { kind: name.split(' ')[0]!, body: around(`${field.name}(${given})${selection}`) }
    return { name: `${name}(${arg.name})`, document: `${kind} (${declared}) ${body}`, arg, others }
  })
}

/** Every argument of the contract's root fields, and of the fields of what they return where they need nothing. */
const PLACES = [
  { kind: 'query', root: schema.getQueryType()! },
  { kind: 'mutation', root: schema.getMutationType()! },
].flatMap(({ kind, root }) =>
  Object.values(root.getFields()).flatMap((field) => {
    const type = getNamedType(field.type)
    const children = isObjectType(type) && !field.args.some((arg) => isNonNullType(arg.type)) ? type.getFields() : {}
    return [
      ...placesOf(field, `${kind} ${field.name}`, (inner) => `{ ${inner} }`),
      ...Object.values(children).flatMap((child) =>
        placesOf(child, `${kind} ${field.name}.${child.name}`, (inner) => `{ ${field.name} { ${inner} } }`),
      ),
    ]
  }),
)
const WITH_TEXT = PLACES.filter(({ arg }) => [...valuesWith(arg.type, 'x')].length > 0)
const failures = (): string[] => gateway.log.filter((line) => line.includes('"level":"error"'))

describe('a text that PostgreSQL or UTF-8 cannot hold', () => {
  test('many variables accept text, so the tests below try something', () => {
    expect(WITH_TEXT.length).toBeGreaterThanOrEqual(30)
    expect(WITH_TEXT.map(({ name }) => name)).toEqual(
      expect.arrayContaining(['query node(id)', 'mutation registerClient(input)', 'query client.deliveries(filter)']),
    )
  })

  test.each(WITH_TEXT)(
    'text that PostgreSQL or UTF-8 cannot hold is refused in a variable for $name, with its path',
    async (place) => {
      const { document, arg, others } = place
      for (const text of [NUL, HALF])
        for (const value of valuesWith(arg.type, text)) {
          const variables = {
            [arg.name]: value,
            ...Object.fromEntries(others.map((one) => [one.name, fitting(one.type)])),
          }
          const answers = await Promise.all(
            tokens.map((token) => executeGraphql(gateway.issuer, token, document, variables)),
          )
          const codes = answers.flatMap(({ errors }) => errors?.map(({ extensions }) => extensions?.code) ?? [])
          expect(codes).not.toContain('INTERNAL')
          const refused = answers
            .flatMap(({ errors }) => errors?.[0] ?? [])
            .find(({ extensions }) => extensions?.code === 'INVALID_INPUT')
          expect(refused?.message).toMatch(/must hold no NUL character and no half of a surrogate pair/)
        }
      expect(failures()).toEqual([])
    },
  )

  test.each([
    String.raw`{ node(id: "a\u0000b") { id } }`,
    String.raw`{ node(id: "a\u{0}b") { id } }`,
    '{ node(id: """a\u0000b""") { id } }',
    '{ banks { nodes { id } } } # \u0000',
    String.raw`{ node(id: "a\uD800b") { id } }`,
  ])('text that PostgreSQL or UTF-8 cannot hold is refused in a document: %j', async (document) => {
    const { errors } = await executeGraphql(gateway.issuer, tokens[0], document)
    expect(errors).toMatchObject([{ extensions: { code: 'MALFORMED_REQUEST' } }])
    expect(failures()).toEqual([])
  })

  test('text that only resembles unstorable text is accepted', async () => {
    const { data } = await executeGraphql(
      gateway.issuer,
      tokens[0],
      String.raw`query ($id: ID!) { node(id: $id) { id } same: node(id: "a\\u0000😀") { id } }`,
      { id: String.raw`a\u0000 \ud800 😀` },
    )
    expect(data).toEqual({ node: null, same: null })
  })

  test('text that PostgreSQL or UTF-8 cannot hold is detected at any depth of a value', async () => {
    const nested = `${'['.repeat(20_000)}"a\\u0000b"${']'.repeat(20_000)}`
    const input = `{"organizationId":"org_x","name":"x","scopes":[],"redirectUris":[],"jwks":{"keys":[{"kid":${nested}}]}}`
    const answer = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `{"query":"mutation ($input: RegisterClientInput!) { registerClient(input: $input) { client { id } } }","variables":{"input":${input}}}`,
    })
    expect(answer.status).toBeLessThan(500)
    expect(failures()).toEqual([])
  })
})

describe('an instant', () => {
  test.each([
    '0000-01-01T00:00:00.000Z',
    '2026-02-31T00:00:00.000Z',
    '9999-12-31T24:00:00.000Z',
    '2026-11-27T23:59:60.000Z',
    '+10000-01-01T00:00:00.000Z',
  ])('a timestamp that cannot be returned unchanged is refused: %s', async (at) => {
    const query = 'query ($filter: ConsentFilter) { client { consents(filter: $filter) { nodes { id } } } }'
    const { errors } = await executeGraphql(gateway.issuer, tokens[2], query, { filter: { expiringBefore: at } })
    expect(errors).toMatchObject([{ extensions: { code: 'INVALID_INPUT', argument: 'expiringBefore' } }])
  })
})
