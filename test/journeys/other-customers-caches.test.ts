import { afterAll, beforeAll, expect, test } from 'vitest'
import { createOauthClient, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { recordStatements } from '../support/statements.ts'

let gateway: TestGateway
beforeAll(async () => {
  // Without the worker, whose statements would be among those of the requests.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
})
afterAll(() => gateway.close())

const ACCOUNTS = '{ customer { accounts { nodes { id } } } }'
/** Reads everything that is cached for a customer; bank tokens only if the balance must be fetched. */
const EVERYTHING = `query ($id: ID!) {
  node(id: $id) { ... on Account { balances { __typename } } }
  customer { accounts { nodes { id } } alerts { nodes { id } } }
}`
/** What the requests read, each cached by another module. */
const TABLES = ['account', 'alert', 'connection', 'consent', 'consent_account', 'oauth_artifact', 'snapshot']

/** Sends a query and returns which of the tables the gateway read meanwhile. */
async function read(token: Token, query: string, variables: Record<string, unknown> = {}) {
  const statements = recordStatements()
  const { data, errors } = await gateway.ask(token, query, variables).finally(() => statements.stop())
  expect(errors).toBeUndefined()
  const named = [...statements.texts].flatMap((text) =>
    [...text.matchAll(/\b(?:from|join|into|update)\s+(?:"public"\.)?"?(\w+)/gi)].map(([, table]) => table),
  )
  return { data: data!, tables: TABLES.filter((table) => named.includes(table)) }
}
async function tablesReadFor(token: Token, id: string): Promise<string[]> {
  const { data, tables } = await read(token, EVERYTHING, { id })
  expect(data).toMatchObject({ node: { balances: [{ __typename: 'ExactBalance' }] } })
  return tables
}

test('a change of one customer’s consent leaves what is cached for another customer', async () => {
  const ada = await gateway.customer('ada', ['northbank'])
  const list = await read(ada, ACCOUNTS)
  expect(list.tables).toEqual(['account', 'consent', 'consent_account', 'oauth_artifact'])
  const [one, two] = (list.data['customer'] as { accounts: { nodes: { id: string }[] } }).accounts.nodes
  expect(await tablesReadFor(ada, one!.id)).toEqual(['account', 'alert', 'connection', 'snapshot'])
  // A fetched balance is stored a moment after the response.
  await eventually('no read at all', async () => (await tablesReadFor(ada, one!.id)).length === 0)

  const heard: string[] = []
  const unlisten = gateway.app.services.signals.onSignal(({ kind }) => heard.push(kind))
  const bo = await gateway.customer('bo', ['northbank'])
  await eventually('the signal of the new consent', () => Promise.resolve(heard.includes('CONSENT')))
  expect(await tablesReadFor(ada, one!.id)).toEqual([])

  heard.length = 0
  await createOauthClient(gateway.issuer, gateway.client('chatterbox')).revoke(bo.refreshToken!)
  const countOf = (kind: string) => heard.filter((one) => one === kind).length
  await eventually('the signals of the end', () =>
    Promise.resolve(countOf('CONSENT') >= 1 && countOf('OAUTH_GRANT') >= 1),
  )
  unlisten()
  const { errors } = await gateway.ask(bo, '{ customer { id } }')
  expect(errors?.map(({ extensions }) => extensions?.code)).toEqual(['UNAUTHENTICATED'])
  expect(await tablesReadFor(ada, one!.id)).toEqual([])
  // An account whose balance is fetched for the first time: the bank tokens for it are cached.
  expect(await tablesReadFor(ada, two!.id)).toEqual(['account', 'snapshot'])
})
