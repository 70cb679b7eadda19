import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { makeExecutableSchema } from '@graphql-tools/schema'
import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createPlanner } from '../../src/entrypoints/graphql/execution/planner.ts'
import { createDocumentReader } from '../../src/entrypoints/graphql/read-document.ts'
import { readRules } from '../../src/entrypoints/graphql/authorization/rules.ts'
import { ANONYMOUS } from '../../src/kernel/request-context.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let token: Token
beforeAll(async () => {
  gateway = await startGateway()
  token = await gateway.customer('ada', ['northbank'], { scopes: ['accounts:read'] })
})
afterAll(() => gateway.close())

const MARK = 'zqxmarkzqx'

async function post(
  body: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; text: string; requestId: string | null }> {
  const answer = await fetch(`${gateway.issuer}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  return { status: answer.status, text: await answer.text(), requestId: answer.headers.get('x-request-id') }
}

describe('a field that the token does not open', () => {
  test('a denied field is null with one error that has its path and the missing scopes', async () => {
    const { data, errors } = await gateway.ask(
      token,
      '{ customer { accounts { nodes { id balances { ... on ExactBalance { value { amount } } } } } } }',
    )
    const [row] = (data!['customer'] as { accounts: { nodes: { id: string; balances: null }[] } }).accounts.nodes
    expect(row!.id).toMatch(/^account_/)
    expect(row!.balances).toBeNull()
    expect(errors).toMatchObject([
      {
        path: ['customer', 'accounts', 'nodes', 'balances'],
        extensions: { code: 'UNAUTHORIZED_FIELD_OR_TYPE', missingScopes: [['balances:exact'], ['balances:band']] },
      },
    ])
  })

  test.each([
    ['by an alias', '{ customer { accounts { nodes { id: displayName x: balances { __typename } } } } }'],
    [
      'by a fragment',
      'query { customer { ...V } } fragment V on Customer { accounts { nodes { ...A } } } fragment A on Account { balances { ... on ExactBalance { value { amount } } } }',
    ],
    [
      'by an inline fragment',
      '{ customer { ... on Customer { accounts { nodes { ... { balances { __typename } } } } } } }',
    ],
    [
      'by a fragment within a fragment, twice',
      'query { customer { ...V ...V } } fragment V on Customer { accounts { nodes { balances { ...B } } } } fragment B on ExactBalance { value { amount } }',
    ],
    ['by a condition', 'query { customer { accounts { nodes { balances @include(if: true) { __typename } } } } }'],
    [
      'beside itself under two names',
      '{ customer { accounts { nodes { a: balances { __typename } b: balances(type: INTERIM_BOOKED) { __typename } } } } }',
    ],
  ])('a denied field is not returned and not resolved if it is selected %s', async (_how, query) => {
    gateway.sent.length = 0
    const { data, errors } = await gateway.ask(token, query)
    expect(JSON.stringify(data)).not.toMatch(/amount|ExactBalance|BalanceUnavailable/)
    expect(errors!.length).toBeGreaterThan(0)
    expect(errors!.every(({ extensions }) => extensions!.code === 'UNAUTHORIZED_FIELD_OR_TYPE')).toBe(true)
    // It was never executed: no bank was asked.
    expect(gateway.sent.filter(({ url }) => url.endsWith('/balances'))).toEqual([])
  })

  test('a denied field causes the refusal of the whole request if the client chose that', async () => {
    const url = `${gateway.issuer}/graphql`
    const { status, text } = await post(
      JSON.stringify({ query: '{ customer { id accounts { nodes { balances { __typename } } } } }' }),
      { ...(await createAuthorizationHeaders(token, 'POST', url)), 'guichet-unauthorized': 'all' },
    )
    expect(status).toBe(403)
    expect(JSON.parse(text)).toMatchObject({
      data: null,
      errors: [{ extensions: { code: 'UNAUTHORIZED_FIELD_OR_TYPE' } }],
    })
  })

  test('introspection without a token shows public fields and hides all others', async () => {
    const { data, errors } = await gateway.ask(
      undefined,
      '{ banks { nodes { name } } customer { id } client { id } clients { nodes { id } } }',
    )
    expect(data).toEqual({
      banks: { nodes: [{ name: 'Northbank' }, { name: 'Rheinbank' }, { name: 'Southbank' }, { name: 'Westbank' }] },
      customer: null,
      client: null,
      clients: null,
    })
    expect(errors!.map(({ path }) => path!.join('.'))).toEqual(['customer', 'client', 'clients'])
  })

  test('a field is denied by the rule of its type alone, also inside a union', () => {
    const union = makeExecutableSchema({
      typeDefs: `directive @public on FIELD_DEFINITION | OBJECT
        directive @requiresScopes(scopes: [[String!]!]!) on FIELD_DEFINITION | OBJECT
        type Query { one: Either @public } union Either = Open | Closed
        type Open @public { a: String } type Closed @requiresScopes(scopes: [["x:read"]]) { b: String c: Closed }`,
    })
    const source = '{ one { ... on Open { a } ... on Closed { b c { b } } } }'
    const planner = createPlanner(union, readRules(union), createDocumentReader(union))
    const plan = planner.planFor(
      planner.findOperation(planner.readDocument(source, ANONYMOUS), undefined)!,
      ANONYMOUS,
      {},
    )
    const { objects } = plan.root.fields[0]!
    expect(objects!.get('Closed')).toMatchObject({ denied: true, fields: [{ kind: 'denied' }, { kind: 'denied' }] })
    expect(objects!.get('Open')).toMatchObject({ denied: false, fields: [{ kind: 'authorized', name: 'a' }] })
    // Only the answer shows whether there is one, so it is told with the object.
    expect(plan.denied).toEqual([])
    expect(objects!.get('Closed')!.conditionalDenials.map(({ path }) => path.join('.'))).toEqual(['one.b', 'one.c'])
  })

  test('a gateway does not start if the contract has a field without an authorization rule', () => {
    const directives =
      'directive @public on FIELD_DEFINITION | OBJECT\ndirective @authenticated on FIELD_DEFINITION | OBJECT\ndirective @requiresScopes(scopes: [[String!]!]!) on FIELD_DEFINITION | OBJECT\n'
    const open = makeExecutableSchema({
      typeDefs: `${directives} type Query { a: String @public b: String c: Inner @public } type Inner { d: Int }`,
    })
    expect(() => readRules(open)).toThrow('fields without an authorization rule: Query.b, Inner.d')
    const closed = makeExecutableSchema({
      typeDefs: `${directives} type Query { a: Inner @public } type Inner @authenticated { d: Int }`,
    })
    expect(readRules(closed).get('Inner')).toEqual({ kind: 'AUTHENTICATED' })
  })
})

describe('bad input', () => {
  const deep = `{ customer ${'{ accounts { nodes { bank '.repeat(30)}`
  test.each<[string, string, number]>([
    ['half a JSON', `{"query": "{ ${MARK}`, 400],
    ['JSON that is a text', `"${MARK}"`, 400],
    ['a list of requests', `[{"query":"{ ${MARK} }"}]`, 400],
    ['no query', '{}', 400],
    ['a query that is a number', '{"query": 12}', 400],
    ['half a document', JSON.stringify({ query: `{ customer { ${MARK}` }), 400],
    ['a field that does not exist', JSON.stringify({ query: `{ ${MARK} }` }), 400],
    [
      'an argument that does not exist',
      JSON.stringify({ query: `{ customer { alerts(${MARK}: 1) { nodes { id } } } }` }),
      400,
    ],
    [
      'a value of the wrong type',
      JSON.stringify({ query: `{ customer { alerts(first: "${MARK}") { nodes { id } } } }` }),
      400,
    ],
    [
      'an operation that is not there',
      JSON.stringify({
        query: 'query A { banks { nodes { id } } } query B { banks { nodes { id } } }',
        operationName: MARK,
      }),
      400,
    ],
    [
      'two operations and no name',
      JSON.stringify({ query: 'query A { banks { nodes { id } } } query B { banks { nodes { id } } }' }),
      400,
    ],
    ['a document without end', JSON.stringify({ query: deep }), 400],
    ['two thousand tokens', JSON.stringify({ query: `{ ${'banks { nodes { id } } '.repeat(600)} }` }), 400],
    [
      'thirty aliases within thirty fragments',
      JSON.stringify({
        query: `query { ...F0 } ${Array.from({ length: 12 }, (_, i) => `fragment F${i} on Query { ${i < 11 ? `...F${i + 1} ...F${i + 1}` : 'banks { nodes { id } }'} }`).join(' ')}`,
      }),
      400,
    ],
    [
      'a fragment that contains itself',
      JSON.stringify({ query: 'query { ...A } fragment A on Query { ...B } fragment B on Query { ...A }' }),
      400,
    ],
    [
      'seventy kilobytes',
      JSON.stringify({ query: '{ banks { nodes { id } } }', variables: { x: 'y'.repeat(70_000) } }),
      413,
    ],
  ])('%s gets a clear error with a request ID, and none of it is repeated', async (_what, body, status) => {
    const answer = await post(body)
    expect(answer.status).toBe(status)
    expect(answer.text).not.toContain(MARK)
    expect(answer.text).not.toMatch(/at .*\.ts:\d+|node_modules|stack/)
    const { errors } = JSON.parse(answer.text) as {
      errors: { message: string; extensions: { code: string; requestId: string } }[]
    }
    expect(errors[0]!.message.length).toBeGreaterThan(5)
    expect(errors[0]!.extensions.requestId).toBe(answer.requestId)
  })

  test('the error about a variable of the wrong type has its path and not its value', async () => {
    const { data, errors } = await gateway.ask(
      token,
      'query ($n: Int!) { customer { alerts(first: $n) { nodes { id } } } }',
      {
        n: MARK,
      },
    )
    expect(data ?? null).toBeNull()
    expect(JSON.stringify(errors)).not.toContain(MARK)
    expect(errors![0]!.extensions!.code).toBe('INVALID_INPUT')
  })

  test('a wrong content type, method, host or path is refused with its own error', async () => {
    expect((await post('query=x', { 'content-type': 'application/x-www-form-urlencoded' })).status).toBe(415)
    expect((await fetch(`${gateway.issuer}/graphql`, { method: 'DELETE' })).status).toBe(405)
    expect((await fetch(`${gateway.issuer}/${MARK}`)).status).toBe(404)
    expect(await (await fetch(`${gateway.issuer}/${MARK}`)).text()).not.toContain(MARK)
    expect(await raw('GET /graphql HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1.1 421 /,
    )
  })

  test('garbage on the socket, huge headers and a mutation by GET do not end the process', async () => {
    expect(await raw('\x00\x01\x02 garbage\r\n\r\n')).toMatch(/^HTTP\/1.1 400 /)
    expect(
      await raw(`GET / HTTP/1.1\r\nHost: ${new URL(gateway.issuer).host}\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`),
    ).toMatch(/^HTTP\/1.1 431 /)
    const mutation = encodeURIComponent(
      'mutation { registerOrganization(input: { kind: PLATFORM, name: "x" }) { organization { id } } }',
    )
    expect(
      (await fetch(`${gateway.issuer}/graphql?query=${mutation}`, { headers: { 'apollo-require-preflight': '1' } }))
        .status,
    ).toBe(405)
    expect((await fetch(`${gateway.issuer}/livez`)).status).toBe(200)
  })

  test('an invalid bank response becomes a typed reason, and none of its text is in the response or the log', async () => {
    const exact = await gateway.customer('ada', ['northbank'])
    const answers = [
      `<html>${MARK}</html>`,
      `{"Data":{"Balance":[{"${MARK}"`,
      `{"Data":{"Balance":"${MARK}"}}`,
      '[]',
      'null',
      `${'['.repeat(5_000)}${']'.repeat(5_000)}`,
      `"${MARK}"`,
      '',
    ]
    for (const text of answers) {
      gateway.forward(16_000)
      gateway.intercept = (request) =>
        request.url.endsWith('/balances')
          ? Promise.resolve({ status: 200, headers: { [MARK]: MARK }, text })
          : undefined
      const answer = await gateway.ask(
        exact,
        '{ customer { accounts { nodes { balances { __typename ... on BalanceUnavailable { reason { code } } } } } } }',
      )
      gateway.intercept = undefined
      const rows = (answer.data!['customer'] as { accounts: { nodes: { balances: unknown }[] } }).accounts.nodes
      for (const { balances } of rows)
        expect(balances).toEqual([{ __typename: 'BalanceUnavailable', reason: { code: 'BANK_RESPONSE_INVALID' } }])
      expect(JSON.stringify(answer)).not.toContain(MARK)
    }
    expect(gateway.log.join('\n')).not.toContain(MARK)
  })
})

describe('where a customer connects from', () => {
  const consentHeader = () =>
    gateway.sent.findLast(({ url, method }) => method === 'POST' && url.endsWith('/consents'))!.headers![
      'psu-ip-address'
    ]
  const forwarded = '198.51.100.7, unknown, 203.0.113.9:4711'

  test("the customer's address is that of the connection, and an untrusted header is ignored", async () => {
    const real = globalThis.fetch
    globalThis.fetch = (input, init) =>
      real(input, { ...init, headers: { ...(init?.headers as Record<string, string>), 'x-forwarded-for': forwarded } })
    try {
      await gateway.customer('cleo', ['rheinbank'])
      expect(consentHeader()).toBe('127.0.0.1')
      const behindProxy = await startGateway({ env: { GUICHET_TRUSTED_PROXIES: '127.0.0.0/8' } })
      await behindProxy.customer('cleo', ['rheinbank'])
      expect(
        behindProxy.sent.findLast(({ url, method }) => method === 'POST' && url.endsWith('/consents'))!.headers![
          'psu-ip-address'
        ],
      ).toBe('203.0.113.9')
      await behindProxy.close()
    } finally {
      globalThis.fetch = real
    }
  })
})

function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(gateway.issuer)
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => socket.write(text))
    let answer = ''
    socket.setEncoding('utf8').on('data', (chunk: string) => {
      answer += chunk
      socket.end()
    })
    socket.on('close', () => resolve(answer))
    socket.on('error', () => resolve(answer))
  })
}
