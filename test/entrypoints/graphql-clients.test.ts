import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let customer: Token
let client: Token
beforeAll(async () => {
  gateway = await startGateway()
  customer = await gateway.customer('ada', ['northbank'])
  client = await gateway.own('chatterbox', 'webhooks:manage')
})
afterAll(() => gateway.close())

const JSON_TYPE = 'application/json; charset=utf-8'
const RESPONSE_TYPE = 'application/graphql-response+json; charset=utf-8'
const STREAM_TYPE = 'text/event-stream; charset=utf-8'

interface Expected {
  /** Of queries and mutations. */
  readonly type: string
  /** Of a document that is not valid. */
  readonly invalid: number
  /** Whether a subscription is answered with events. */
  readonly streams: boolean
}
const CURRENT: Expected = { type: RESPONSE_TYPE, invalid: 400, streams: false }
const LEGACY: Expected = { type: JSON_TYPE, invalid: 200, streams: false }
const ANYTHING: Expected = { type: JSON_TYPE, invalid: 400, streams: false }

/** What clients send, as they send it. */
const CLIENTS: readonly (readonly [client: string, accept: string, Expected])[] = [
  ['Apollo Client 4', 'application/graphql-response+json,application/json;q=0.9', CURRENT],
  [
    'Apollo Client 4 with @defer',
    'multipart/mixed;deferSpec=20220824,application/graphql-response+json,application/json;q=0.9',
    CURRENT,
  ],
  [
    'Apollo Client 4, multipart subscriptions',
    'multipart/mixed;boundary="graphql";subscriptionSpec=1.0,application/graphql-response+json,application/json;q=0.9',
    CURRENT,
  ],
  ['Apollo Client 3', '*/*', ANYTHING],
  ['Apollo Client 3 with @defer', 'multipart/mixed; deferSpec=20220824, application/json', LEGACY],
  [
    'urql',
    'application/graphql-response+json, application/graphql+json, application/json, text/event-stream, multipart/mixed',
    { ...CURRENT, streams: true },
  ],
  [
    'StrawberryShake',
    'application/graphql-response+json, application/json, multipart/mixed, text/event-stream',
    { ...CURRENT, streams: true },
  ],
  ['graphql-request', 'application/graphql-response+json; charset=utf-8, application/json; charset=utf-8', CURRENT],
  ['Relay, by its documentation', 'application/json', LEGACY],
  ['GraphiQL', 'application/json, multipart/mixed', LEGACY],
  ['axios', 'application/json, text/plain, */*', LEGACY],
  ['curl', '*/*', ANYTHING],
  [
    'Chrome, address bar',
    'text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7',
    ANYTHING,
  ],
  ['Firefox, address bar', 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8', ANYTHING],
  ['EventSource and graphql-sse', 'text/event-stream', { type: STREAM_TYPE, invalid: 400, streams: true }],
  ['one that ranks JSON first', 'application/graphql-response+json;q=0.5, APPLICATION/JSON', LEGACY],
  ['one that ranks events first', 'text/event-stream, application/json;q=0.1', { ...LEGACY, streams: true }],
  ['one that refuses events', 'text/event-stream;q=0, application/json', LEGACY],
  ['one that refuses JSON', 'application/json;q=0, */*', { ...CURRENT, type: RESPONSE_TYPE }],
]

async function ask(
  token: Token,
  accept: string,
  query: string,
  method: 'GET' | 'POST' = 'POST',
): Promise<{ status: number; type: string | null; answer: Response }> {
  const url = `${gateway.issuer}/graphql`
  const answer = await fetch(method === 'GET' ? `${url}?${new URLSearchParams({ query }).toString()}` : url, {
    method,
    headers: {
      accept,
      ...(await createAuthorizationHeaders(token, method, url)),
      ...(method === 'POST' && { 'content-type': 'application/json' }),
    },
    ...(method === 'POST' && { body: JSON.stringify({ query }) }),
  })
  return { status: answer.status, type: answer.headers.get('content-type'), answer }
}

/** The data of an answer, also where it comes as the one event of a stream. */
async function dataOf({ type, answer }: Awaited<ReturnType<typeof ask>>): Promise<unknown> {
  const text = await answer.text()
  if (type !== STREAM_TYPE) return (JSON.parse(text) as { data: unknown }).data
  const [, json] = /^event: next\ndata: (.*)\n\nevent: complete\ndata:\n\n$/.exec(text)!
  return (JSON.parse(json!) as { data: unknown }).data
}

const QUERY = '{ banks { nodes { id } } }'
const MUTATION =
  'mutation { replayDeliveries(input: { select: { deliveryIds: ["dlvr_none"] } }) { userErrors { code } } }'
const SUBSCRIPTION = 'subscription { alertReceived { id } }'

describe.each(CLIENTS)('the Accept header of %s', (_client, accept, { type, invalid, streams }) => {
  test('queries and mutations by GET and POST are answered in the best format that the request accepts', async () => {
    for (const method of ['GET', 'POST'] as const) {
      const query = await ask(customer, accept, QUERY, method)
      expect([query.status, query.type]).toEqual([200, type])
      expect(await dataOf(query)).toHaveProperty('banks')
    }
    const mutation = await ask(client, accept, MUTATION)
    expect([mutation.status, mutation.type]).toEqual([200, type])
    expect(await dataOf(mutation)).toEqual({ replayDeliveries: { userErrors: [{ code: 'NOT_FOUND' }] } })
  })

  test('an invalid document gets a readable error with a status that the accepted format allows', async () => {
    const { status, answer } = await ask(customer, accept, '{ banks { nodes { nope } } }')
    expect(status).toBe(invalid)
    expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code: 'MALFORMED_REQUEST' } }] })
  })

  test('a subscription is a stream if the Accept header allows it, and otherwise an error that names the format', async () => {
    const { status, type: given, answer } = await ask(customer, accept, SUBSCRIPTION)
    if (streams) {
      expect([status, given]).toEqual([200, STREAM_TYPE])
      await answer.body!.cancel()
    } else {
      expect([status, given]).toEqual([invalid, type])
      expect(await answer.text()).toContain('text/event-stream')
    }
  })
})

describe('an Accept header that names nothing the gateway can write', () => {
  test.each(['text/html', 'multipart/mixed', 'image/png, */*;q=0', 'application/json;charset=utf-16', '§', ','])(
    '%s is 406, and nothing is executed',
    async (accept) => {
      for (const [token, query] of [
        [customer, QUERY],
        [client, MUTATION],
        [customer, SUBSCRIPTION],
      ] as const) {
        const { status, type, answer } = await ask(token, accept.replace('§', 'nonsense'), query)
        expect([status, type]).toEqual([406, JSON_TYPE])
        const { errors, data } = (await answer.json()) as {
          errors: [{ message: string; extensions: object }]
          data?: object
        }
        expect(data).toBeUndefined()
        expect(errors[0].extensions).toMatchObject({
          code: 'NOT_ACCEPTABLE',
          requestId: answer.headers.get('x-request-id'),
        })
        expect(errors[0].message).toContain('application/graphql-response+json')
      }
    },
  )
})

describe('a mutation by GET', () => {
  test.each(['*/*', 'application/json', 'text/event-stream', 'application/graphql-response+json'])(
    'a mutation by GET is refused with 405 for any Accept header: %s',
    async (accept) => {
      const { status, answer } = await ask(client, accept, MUTATION, 'GET')
      expect([status, answer.headers.get('allow')]).toEqual([405, 'POST'])
      expect(await answer.json()).toMatchObject({ errors: [{ extensions: { code: 'METHOD_NOT_ALLOWED' } }] })
    },
  )
})
