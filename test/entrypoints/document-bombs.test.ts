import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type GraphqlResponse, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { leastCpuUs } from '../support/cpu-time.ts'
import { DOCUMENT_BOMBS, harmlessDocument } from '../support/document-bombs.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let own: Token
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_TRUSTED_PROXIES: '127.0.0.1' } })
  own = await gateway.own('chatterbox', 'webhooks:manage')
})
afterAll(() => gateway.close())

/** What a bomb may cost, beside a harmless document of the same size. */
const MOST_TIMES = 5

let sent = 0
/** Every request comes from another address, so that none is refused for its number. */
const headers = (): Record<string, string> => ({
  'content-type': 'application/json',
  'x-forwarded-for': `192.0.${(++sent >> 8) & 255}.${sent & 255}`,
})
const post = (body: unknown, more: Record<string, string> = {}): Promise<Response> =>
  fetch(`${gateway.issuer}/graphql`, { method: 'POST', headers: { ...headers(), ...more }, body: JSON.stringify(body) })

const EXPLAIN = 'query($document:String!){explainAccess(target:{document:$document}){path}}'
const REGISTER = 'mutation($documents:[String!]!){registerOperations(input:{documents:$documents}){userErrors{code}}}'
/** Every way that a document can enter by. */
const PATHS: Readonly<Record<string, (document: string) => Promise<Response>>> = {
  'a POST request': (query) => post({ query }),
  'a GET request': (query) =>
    fetch(`${gateway.issuer}/graphql?${new URLSearchParams({ query }).toString()}`, { headers: headers() }),
  'a subscription': (query) => post({ query }, { accept: 'text/event-stream' }),
  explainAccess: (document) => post({ query: EXPLAIN, variables: { document } }),
  registerOperations: async (document) =>
    post(
      { query: REGISTER, variables: { documents: [document] } },
      await createAuthorizationHeaders(own, 'POST', `${gateway.issuer}/graphql`),
    ),
}

/** The cost of a document, with another text each time, so that nothing of it is cached. */
const costOf = (send: (document: string) => Promise<Response>, document: string, bound?: number): Promise<number> =>
  leastCpuUs(async () => (await send(`${document}#${++sent}`)).text(), bound)

describe.each(Object.entries(PATHS))('by %s', (_path, send) => {
  const harmless = new Map<number, number>()
  /** The same for documents that are about as long. */
  async function costOfHarmless(length: number): Promise<number> {
    const size = Math.ceil(length / 500) * 500
    const known = harmless.get(size) ?? (await costOf(send, harmlessDocument(size)))
    harmless.set(size, known)
    return known
  }

  test.each(DOCUMENT_BOMBS)('%s costs at most five times what a harmless document does', async (_name, document) => {
    const bound = (await costOfHarmless(document.length)) * MOST_TIMES
    expect(await costOf(send, document, bound)).toBeLessThan(bound)
    expect((await fetch(`${gateway.issuer}/livez`)).status).toBe(200)
  })
})

describe('explainAccess', () => {
  const explain = async (document: string, aliases = 1): Promise<GraphqlResponse> => {
    const fields = Array.from(
      { length: aliases },
      (_, index) => `e${index}: explainAccess(target:{document:$document}){path}`,
    )
    const query = `query($document:String!){${fields.join(' ')}}`
    return (await (await post({ query, variables: { document } })).json()) as GraphqlResponse
  }

  test('explainAccess returns each field once, even if its fragment is spread repeatedly', async () => {
    const answer = await explain('{banks{nodes{...a ...a ...b}}} fragment a on Bank{id ...b} fragment b on Bank{name}')
    const rows = answer.data!['explainAccess'] ?? answer.data!['e0']
    expect((rows as { path: string }[]).map(({ path }) => path)).toEqual([
      'banks',
      'banks.nodes',
      'banks.nodes.id',
      'banks.nodes.name',
    ])
  })

  test('explainAccess refuses a document that cannot be executed', async () => {
    for (const document of [
      '{banks{nodes{...a}}}',
      '{banks{nodes{ida}}}',
      '{...a} fragment a on Query{...a}',
      '{banks{nodes{id}}',
      'query a{banks{nodes{id}}} query b{banks{nodes{id}}}',
    ]) {
      const answer = await explain(document)
      expect([document, answer.errors?.[0]?.extensions?.code]).toEqual([document, 'INVALID_INPUT'])
    }
  })

  test('explainAccess parses a document once for all fields of a request', async () => {
    const document = harmlessDocument(40_000)
    const once = await costOf((text) => post({ query: EXPLAIN, variables: { document: text } }), document)
    const fields = Array.from(
      { length: 20 },
      (_, index) => `e${index}: explainAccess(target:{document:$document}){path}`,
    )
    const query = `query($document:String!){${fields.join(' ')}}`
    const bound = once * MOST_TIMES
    const often = await costOf((text) => post({ query, variables: { document: text } }), document, bound)
    expect(often).toBeLessThan(bound)
  })
})
