import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { hashDocument } from '../../src/modules/clients/index.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let customer: Token
beforeAll(async () => {
  gateway = await startGateway()
  customer = await gateway.customer('ada', ['northbank'])
})
afterAll(() => gateway.close())

const MARK = 'zqxmarkzqx'
const QUERY = '{ banks { nodes { id } } }'
const JSON_HEADERS = { 'content-type': 'application/json' }

interface Answer {
  status: number
  type: string | null
  requestId: string | null
  body: { data?: Record<string, unknown> | null; errors?: { message: string; extensions: Record<string, unknown> }[] }
  text: string
}
async function send(path: string, init: RequestInit = {}, token?: Token): Promise<Answer> {
  const proof = token ? await createAuthorizationHeaders(token, init.method ?? 'GET', `${gateway.issuer}/graphql`) : {}
  const answer = await fetch(`${gateway.issuer}/graphql${path}`, {
    ...init,
    headers: { ...proof, ...(init.headers as Record<string, string>) },
  })
  const text = await answer.text()
  const type = answer.headers.get('content-type')
  return {
    status: answer.status,
    type,
    requestId: answer.headers.get('x-request-id'),
    body: (text !== '' && type?.includes('json') ? JSON.parse(text) : {}) as Answer['body'],
    text,
  }
}
const post = (body: unknown, headers: Record<string, string> = {}, token?: Token) =>
  send('', { method: 'POST', headers: { ...JSON_HEADERS, ...headers }, body: JSON.stringify(body) }, token)
const get = (parameters: Record<string, string> | [string, string][], headers: Record<string, string> = {}) =>
  send(`?${new URLSearchParams(parameters).toString()}`, { headers })

describe('a parameter that is empty', () => {
  test.each<[string, Record<string, string>]>([
    ['operationName', { operationName: '' }],
    ['variables', { variables: '' }],
    ['extensions', { extensions: '' }],
    ['every optional one', { operationName: '', variables: '', extensions: '' }],
  ])('a parameter that is empty counts as absent in a GET: %s', async (_name, empty) => {
    const { status, body } = await get({ query: QUERY, ...empty })
    expect([status, body.errors]).toEqual([200, undefined])
  })

  test('a parameter that is empty counts as absent in a POST', async () => {
    const { status, body } = await post({ query: QUERY, operationName: '' })
    expect([status, body.errors]).toEqual([200, undefined])
  })
})

describe('a parameter that cannot be read', () => {
  test.each<[string, Record<string, string> | [string, string][], string[]]>([
    ['variables that are no JSON', { query: QUERY, variables: `{"${MARK}` }, ['variables']],
    ['variables that are a list', { query: QUERY, variables: '[]' }, ['variables']],
    ['both that are no JSON', { query: QUERY, variables: MARK, extensions: MARK }, ['variables', 'extensions']],
    [
      'a query twice',
      [
        ['query', QUERY],
        ['query', `{ ${MARK} }`],
      ],
      ['query'],
    ],
  ])('invalid parameters are refused by their names, all together: %s', async (_what, parameters, names) => {
    const { status, body, text } = await get(parameters)
    expect([status, body.errors?.[0]?.extensions['code']]).toEqual([400, 'MALFORMED_REQUEST'])
    for (const name of names) expect(body.errors![0]!.message).toContain(`\`${name}\` must be`)
    expect(text).not.toContain(MARK)
  })

  test('invalid parameters of a POST are refused by their names, all together', async () => {
    const { status, body } = await post({ query: 12, operationName: [], variables: 'x', extensions: 1 })
    expect(status).toBe(400)
    expect(body.errors![0]!.message).toBe(
      '`query` must be a string. `operationName` must be a string. `variables` must be a JSON object. `extensions` must be a JSON object.',
    )
  })
})

describe('a body', () => {
  test.each([
    'application/json; charset=utf-16',
    'application/json; charset=iso-8859-1',
    'application/json; charset="UTF-7"',
    'text/plain',
    'application/jsonx',
    'json',
  ])('a body that is not JSON in UTF-8 gets 415: %s', async (type) => {
    const { status, body, requestId } = await post({ query: QUERY }, { 'content-type': type })
    expect([status, body.errors![0]!.extensions]).toMatchObject([415, { code: 'UNSUPPORTED_MEDIA_TYPE', requestId }])
  })

  test.each(['application/json; charset=utf-8', 'application/json;charset="UTF-8"', 'APPLICATION/JSON ; CharSet=utf8'])(
    'a body in UTF-8 is accepted with any spelling of the charset: %s',
    async (type) => expect((await post({ query: QUERY }, { 'content-type': type })).status).toBe(200),
  )

  test('a compressed body gets 415, and a body with invalid UTF-8 gets 400', async () => {
    expect((await post({ query: QUERY }, { 'content-encoding': 'gzip' })).status).toBe(415)
    const bytes = Buffer.from('{"query":"{ banks { nodes { id } } } #é"}', 'latin1')
    const { status, body } = await send('', { method: 'POST', headers: JSON_HEADERS, body: bytes })
    expect([status, body.errors?.[0]?.extensions['code']]).toEqual([400, 'MALFORMED_REQUEST'])
  })
})

describe('every error', () => {
  const faults: [string, () => Promise<Answer>][] = [
    ['no JSON', () => send('', { method: 'POST', headers: JSON_HEADERS, body: '{' })],
    ['a batch', () => post([{ query: QUERY }])],
    ['no query', () => post({})],
    ['a document that does not parse', () => post({ query: '{' })],
    ['a document that is not valid', () => post({ query: '{ nope }' })],
    ['an operation that is not there', () => post({ query: QUERY, operationName: 'A' })],
    [
      'a variable of the wrong type',
      () => post({ query: 'query ($i: ID!) { node(id: $i) { id } }', variables: { i: {} } }),
    ],
    [
      'a hash that is not known',
      () => post({ extensions: { persistedQuery: { version: 1, sha256Hash: hashDocument('x') } } }),
    ],
    ['a hash that is none', () => post({ extensions: { persistedQuery: { version: 1, sha256Hash: 'x' } } })],
    ['an operation that is too large', () => post({ query: `{ ${'__typename '.repeat(90)} }` })],
    ['an Accept header of nothing', () => post({ query: QUERY }, { accept: 'image/png' })],
    ['a content type of a form', () => post({ query: QUERY }, { 'content-type': 'application/x-www-form-urlencoded' })],
    ['a body that is too large', () => post({ query: QUERY, variables: { x: 'y'.repeat(70_000) } })],
    ['a token that is none', () => post({ query: QUERY }, { authorization: 'Bearer nobody-knows-this-one' })],
    ['an authorization header that is none', () => post({ query: QUERY }, { authorization: 'Basic x' })],
    ['a mutation by GET', () => get({ query: 'mutation { __typename }' })],
    ['a subscription without a stream', () => post({ query: 'subscription { alertReceived { id } }' })],
    ['a method that is none of ours', () => send('', { method: 'DELETE' })],
  ]
  test.each(faults)('every error has a code and the request id: %s', async (_what, ask) => {
    const { status, body, requestId } = await ask()
    expect(status).toBeGreaterThanOrEqual(400)
    const { error } = body as { error?: Record<string, unknown> }
    const all = body.errors?.map(({ extensions }) => extensions) ?? [error]
    expect(all.length).toBeGreaterThan(0)
    for (const one of all) expect(one).toMatchObject({ code: expect.any(String) as unknown, requestId })
  })
})

describe('HEAD', () => {
  const raw = (text: string): Promise<string> => {
    const { hostname, port } = new URL(gateway.issuer)
    return new Promise((resolve) => {
      const socket = connect(Number(port), hostname, () => socket.write(text))
      let answer = ''
      socket.setEncoding('latin1').on('data', (chunk: string) => (answer += chunk))
      socket.on('close', () => resolve(answer))
      socket.on('error', () => resolve(answer))
    })
  }
  const SUBSCRIPTION = 'subscription { alertReceived { id } }'

  test('HEAD of a subscription gets the headers of the stream and no body', async () => {
    const url = `${gateway.issuer}/graphql`
    const headers = {
      ...(await createAuthorizationHeaders(customer, 'HEAD', url)),
      accept: 'text/event-stream',
      connection: 'close',
    }
    const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
    const target = `/graphql?${new URLSearchParams({ query: SUBSCRIPTION }).toString()}`
    const answer = await raw(`HEAD ${target} HTTP/1.1\r\nHost: ${new URL(url).host}\r\n${lines.join('')}\r\n`)
    expect(answer).toMatch(/^HTTP\/1\.1 200 OK\r\n/)
    expect(answer.toLowerCase()).toContain('content-type: text/event-stream')
    expect(answer.toLowerCase()).not.toContain('content-length')
    expect(answer.split('\r\n\r\n')[1]).toBe('')
  })

  test('HEAD of a query has the headers of its GET', async () => {
    const path = `?${new URLSearchParams({ query: QUERY }).toString()}`
    const [head, full] = [await send(path, { method: 'HEAD' }), await send(path)]
    expect([head.status, head.type, head.text]).toEqual([full.status, full.type, ''])
  })
})

describe('null for a condition', () => {
  const BODY = {
    query: 'query ($x: Boolean = true) { banks @include(if: $x) { nodes { id } } }',
    variables: { x: null },
  }
  const refused = ({ status, body, requestId }: Answer) => {
    expect(status).toBe(400)
    expect(body).not.toHaveProperty('data')
    expect(body.errors).toMatchObject([{ extensions: { code: 'INVALID_INPUT', requestId } }])
  }

  test('null for a condition is refused by POST and GET, whether or not the plan is cached', async () => {
    refused(await post(BODY))
    for (const x of [true, false]) expect((await post({ ...BODY, variables: { x } })).status).toBe(200)
    refused(await post(BODY))
    refused(await get({ query: BODY.query, variables: '{"x":null}' }))
  })

  test('null for a condition is refused in an operation that is requested by its hash', async () => {
    const extensions = { persistedQuery: { version: 1, sha256Hash: hashDocument(BODY.query) } }
    const own = await gateway.own('chatterbox', 'webhooks:manage')
    await gateway.app.services.clients.registerOperations('chatterbox', [BODY.query])
    refused(await post({ variables: BODY.variables, extensions }, {}, own))
    expect((await post({ extensions }, {}, own)).status).toBe(200)
    refused(await post({ variables: BODY.variables, extensions }, {}, own))
  })

  test('null for a condition is refused for a subscription', async () => {
    const query = 'subscription ($x: Boolean = true) { alertReceived { id type @include(if: $x) } }'
    refused(await post({ query, variables: { x: null } }, { accept: 'text/event-stream' }, customer))
  })

  test.each([
    'subscription ($x: Boolean = true) { alertReceived @include(if: $x) { id } }',
    'subscription ($x: Boolean!) { ...F @skip(if: $x) } fragment F on Subscription { alertReceived { id } }',
    'subscription ($x: Boolean!) { ...F } fragment F on Subscription { alertReceived @skip(if: $x) { id } }',
    'subscription ($x: Boolean!) { ... @skip(if: $x) { alertReceived { id } } }',
    'subscription { ...F } fragment F on Subscription { ...F @include(if: $x) }',
    'subscription { alertReceived @include { id } }',
    'subscription { alertReceived @include(if: 1) { id } }',
    'subscription { alertReceived @skip(if: true) { id } }',
    '{ banks { nodes { id } } } subscription S($x: Boolean) { alertReceived @skip(if: $x) { id } }',
  ])('null for a condition at the root of a subscription is refused with its location: %s', async (query) => {
    for (const accept of ['text/event-stream', 'application/graphql-response+json']) {
      const { status, body } = await post({ query, variables: { x: true } }, { accept })
      expect(status).toBe(400)
      expect(body.errors![0]).toMatchObject({
        message: 'A root field of a subscription must not have @skip or @include.',
        locations: [{ line: 1 }],
        extensions: { code: 'MALFORMED_REQUEST' },
      })
    }
  })

  test('null for a condition does not change what explainAccess returns for the document', async () => {
    const explain = 'query ($target: ExplainAccessTarget!) { explainAccess(target: $target) { path } }'
    const { body } = await post({ query: explain, variables: { target: { document: BODY.query } } })
    expect(body.data).toEqual({
      explainAccess: [{ path: 'banks' }, { path: 'banks.nodes' }, { path: 'banks.nodes.id' }],
    })
  })
})
