import { buildClientSchema, getIntrospectionQuery, type IntrospectionQuery } from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { type GraphqlResponse, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let ada: Token
beforeAll(async () => {
  gateway = await startGateway()
  ada = await gateway.customer('ada', ['northbank', 'rheinbank'])
})
afterAll(() => gateway.close())

interface Page {
  edges: { cursor: string; node: { id: string } }[]
  nodes: { id: string; type: string; bank: { id: string } }[]
  pageInfo: { hasNextPage: boolean; hasPreviousPage: boolean; startCursor: string | null; endCursor: string | null }
  totalCount: number
}
const viewerOf = (answer: GraphqlResponse) => answer.data!['customer'] as Record<string, Page>
const codesOf = (answer: GraphqlResponse) => (answer.errors ?? []).map(({ extensions }) => extensions?.code)

describe('lists', () => {
  const page = async (args: string, token = ada): Promise<Page> =>
    viewerOf(
      await gateway.askUnattended(
        token,
        `{ customer { accounts${args} { edges { cursor node { id } } nodes { id type bank { id } } totalCount
          pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }`,
      ),
    )['accounts']!
  const ids = ({ nodes }: Page): string[] => nodes.map(({ id }) => id)

  test('a list is paged forwards and backwards in one order, with each item once', async () => {
    const all = await page('')
    expect(all).toMatchObject({ totalCount: 4, pageInfo: { hasNextPage: false, hasPreviousPage: false } })
    const one = await page('(first: 3)')
    const two = await page(`(first: 3, after: "${one.pageInfo.endCursor!}")`)
    expect([...ids(one), ...ids(two)]).toEqual(ids(all))
    expect([one.pageInfo.hasNextPage, two.pageInfo.hasNextPage, two.pageInfo.hasPreviousPage]).toEqual([
      true,
      false,
      true,
    ])
    const back = await page(`(last: 2, before: "${all.edges[3]!.cursor}")`)
    expect(ids(back)).toEqual(ids(all).slice(1, 3))
    expect(back.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: true })
  })

  test('a list is filtered by all given conditions together', async () => {
    expect(ids(await page('(filter: { bankIds: ["rheinbank"] })'))).toHaveLength(2)
    expect(ids(await page('(filter: { types: [SAVINGS] })'))).toHaveLength(1)
    expect(ids(await page('(filter: { bankIds: ["rheinbank"], types: [SAVINGS] })'))).toHaveLength(0)
    expect(ids(await page('(filter: { currencies: ["GBP"], statuses: [OPEN] })'))).toHaveLength(2)
  })

  test.each(['(first: -1)', '(first: 101)', '(last: 1000)', '(after: "account_nobody")', '(first: 0)'])(
    'a list accepts a page of zero and refuses other invalid arguments: %s',
    async (args) => {
      const answer = await gateway.askUnattended(ada, `{ customer { accounts${args} { totalCount nodes { id } } } }`)
      if (args === '(first: 0)') expect(viewerOf(answer)['accounts']).toEqual({ totalCount: 4, nodes: [] })
      else expect(codesOf(answer)).toEqual(['INVALID_INPUT'])
    },
  )

  test.each([
    ['DateTime', '{ customer { alerts(filter: { occurred: { since: "2026-13-45T99:00:00.000Z" } }) { totalCount } } }'],
    ['DateTime', '{ customer { alerts(filter: { occurred: { since: "yesterday" } }) { totalCount } } }'],
    ['CurrencyCode', '{ customer { accounts(filter: { currencies: ["euro"] }) { totalCount } } }'],
    ['Cursor', '{ customer { accounts(after: "a b") { totalCount } } }'],
    [
      'Decimal',
      '{ customer { accounts { nodes { balanceAtLeast(threshold: { amount: "1e9", currency: "EUR" }) { __typename } } } } }',
    ],
  ])('a list refuses an invalid %s: %s', async (_name, query) => {
    expect(codesOf(await gateway.askUnattended(ada, query))).toEqual(['MALFORMED_REQUEST'])
  })

  test('the refusal of a page that is too large names the argument and its limit', async () => {
    const answer = await gateway.askUnattended(ada, '{ customer { accounts(first: 200) { totalCount } } }')
    expect(answer.errors).toMatchObject([
      { message: '`first` must be from 0 to 100.', extensions: { code: 'INVALID_INPUT', argument: 'first' } },
    ])
  })

  test('a list accepts an instant without milliseconds', async () => {
    const query = '{ customer { alerts(filter: { occurred: { since: "2026-11-01T00:00:00Z" } }) { totalCount } } }'
    expect((await gateway.ask(ada, query)).errors).toBeUndefined()
  })

  test('lists of alerts and deliveries are paged and filtered by their type', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    for (const type of ['NEW_SIGN_IN', 'CARD_SECURITY', 'NEW_SIGN_IN'])
      await gateway.alert('northbank', { account: 'nb-10003', type })
    const ask = async (args: string) =>
      viewerOf(
        await gateway.ask(
          token,
          `{ customer { alerts${args} { totalCount nodes { id type } pageInfo { endCursor } } } }`,
        ),
      )['alerts']!
    const newest = await ask('(first: 2)')
    expect(newest.totalCount).toBe(3)
    const rest = await ask(`(first: 2, after: "${newest.pageInfo.endCursor!}")`)
    expect(rest.nodes.map(({ type }) => type)).toEqual(['NEW_SIGN_IN'])
    expect((await ask('(filter: { types: [CARD_SECURITY] })')).nodes).toHaveLength(1)
    expect((await ask('(filter: { occurred: { since: "2099-01-01T00:00:00.000Z" } })')).nodes).toHaveLength(0)

    const own = await gateway.own('chatterbox', 'deliveries:read')
    const deliveries = async (args: string) =>
      (
        (
          await gateway.ask(
            own,
            `{ client { deliveries${args} { nodes { id status } pageInfo { endCursor hasNextPage } } } }`,
          )
        ).data!['client'] as { deliveries: Page }
      ).deliveries
    await eventually(
      'deliveries',
      async () => (await deliveries('(first: 3, filter: { statuses: [DELIVERED] })')).nodes.length === 3,
    )
    const first = await deliveries('(first: 2)')
    const second = await deliveries(`(first: 2, after: "${first.pageInfo.endCursor!}")`)
    expect(new Set([...first.nodes, ...second.nodes].map(({ id }) => id)).size).toBe(
      first.nodes.length + second.nodes.length,
    )
  })
})

describe('ids', () => {
  test('IDs resolve to their objects, in order, for an authorized caller', async () => {
    const answer = await gateway.ask(
      ada,
      '{ customer { id accounts(first: 1) { nodes { id displayName } } currentConsents { id } } }',
    )
    const customer = answer.data!['customer'] as {
      accounts: { nodes: { id: string; displayName: string }[] }
      currentConsents: [{ id: string }]
    }
    const [consent] = customer.currentConsents
    const [account] = customer.accounts.nodes
    const found = await gateway.ask(
      ada,
      'query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Account { displayName } ... on Consent { status } ... on Bank { name } } }',
      { ids: [account!.id, 'account_nobody', consent.id, 'northbank', 'dlvr_x', 'clnt_x'] },
    )
    expect(found.data!['nodes']).toEqual([
      { __typename: 'Account', ...account },
      null,
      { __typename: 'Consent', id: consent.id, status: 'ACTIVE' },
      { __typename: 'Bank', id: 'northbank', name: 'Northbank' },
      null,
      null,
    ])
  })

  test('foreign IDs get the response and the number of queries of unknown IDs', async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'])
    const mine = viewerOf(await gateway.ask(ada, '{ customer { accounts { nodes { id } } } }'))['accounts']!.nodes
    const NODE = 'query ($id: ID!) { node(id: $id) { __typename id } }'
    const answers = []
    for (const id of [mine[0]!.id, 'account_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'])
      answers.push((await gateway.ask(cleo, NODE, { id })).data)
    expect(answers).toEqual([{ node: null }, { node: null }])

    const consent = (await gateway.ask(ada, '{ customer { currentConsents { id } } }')).data!['customer'] as {
      currentConsents: [{ id: string }]
    }
    const [theirs] = consent.currentConsents
    for (const id of [theirs.id, 'cons_AAAAAAAAAAAAAAAAAAAAAA'])
      expect((await gateway.ask(cleo, NODE, { id })).data).toEqual({ node: null })
    const withdraw =
      'mutation ($input: WithdrawConsentsInput!) { withdrawConsents(input: $input) { consents { id } userErrors { code path message } } }'
    const [foreign, nobody] = [
      await gateway.ask(cleo, withdraw, { input: { consentIds: [theirs.id] } }),
      await gateway.ask(cleo, withdraw, { input: { consentIds: ['cons_AAAAAAAAAAAAAAAAAAAAAA'] } }),
    ]
    expect(foreign.data).toEqual(nobody.data)

    // In time: medians of many, interleaved, must not tell the two apart. Whatever else the machine does is not the same
    // each time, and a difference that is there would be.
    const differenceMs = async (): Promise<number> => {
      const took = { foreign: [] as number[], nobody: [] as number[] }
      for (let round = 0; round < 60; round++)
        for (const [name, id] of [
          ['foreign', mine[0]!.id],
          ['nobody', `account_${'B'.repeat(43)}`],
        ] as const) {
          const began = performance.now()
          await gateway.askUnattended(cleo, NODE, { id })
          took[name].push(performance.now() - began)
        }
      const median = (all: number[]): number => all.sort((a, b) => a - b)[30]!
      return Math.abs(median(took.foreign) - median(took.nobody))
    }
    await eventually('no difference in time', async () => (await differenceMs()) < 3)
  })

  test('two clients of one customer see different IDs for every object', async () => {
    const browser = createBrowser()
    const one = await gateway.customer('bo', ['northbank'], { browser })
    const other = await gateway.customer('bo', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    const QUERY = '{ customer { id accounts { nodes { id } } } }'
    const [first, second] = [await gateway.ask(one, QUERY), await gateway.ask(other, QUERY)]
    const idsIn = (answer: GraphqlResponse): string[] =>
      [...JSON.stringify(answer.data).matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id!)
    expect(idsIn(first)).toHaveLength(3)
    expect(idsIn(first).filter((id) => idsIn(second).includes(id))).toEqual([])
    expect(idsIn(await gateway.ask(one, QUERY))).toEqual(idsIn(first))
  })

  test('a request for more than fifty IDs is refused', async () => {
    const answer = await gateway.ask(ada, 'query ($ids: [ID!]!) { nodes(ids: $ids) { id } }', {
      ids: Array(51).fill('x'),
    })
    expect(codesOf(answer)).toEqual(['INVALID_INPUT'])
  })
})

describe('what a caller learns of the contract', () => {
  const schemaFor = async (token: Token | undefined) => {
    const { data } = await gateway.askUnattended(token, getIntrospectionQuery())
    return buildClientSchema(data as unknown as IntrospectionQuery)
  }

  test('introspection shows only the types, fields and mutations that the token authorizes', async () => {
    const anonymous = await schemaFor(undefined)
    expect(Object.keys(anonymous.getQueryType()!.getFields()).sort()).toEqual([
      'bank',
      'banks',
      'explainAccess',
      'node',
      'nodes',
    ])
    expect(anonymous.getMutationType() ?? null).toBeNull()
    for (const name of ['Account', 'Alert', 'ExactBalance', 'Client', 'Connector', 'Organization'])
      expect(anonymous.getType(name)).toBeUndefined()

    const band = await schemaFor(
      await gateway.customer('cleo', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] }),
    )
    const fields = Object.keys((band.getType('Account') as unknown as { getFields(): object }).getFields())
    expect(fields).toContain('balances')
    expect(fields).not.toContain('balanceAtLeast')
    expect(fields).not.toContain('alerts')
    expect(band.getType('ExactBalance')).toBeUndefined()

    const admin = await schemaFor(await gateway.own('admin', 'clients:manage'))
    expect(Object.keys(admin.getMutationType()!.getFields())).toContain('suspendClient')
    expect(admin.getType('Account')).toBeUndefined()
    expect(admin.getDirectives().map(({ name }) => name)).not.toContain('requiresScopes')
  })

  test('a scalar names its specification in the introspection', async () => {
    const query = '{ __type(name: "DateTime") { specifiedByURL } }'
    expect((await gateway.askUnattended(ada, query)).data).toEqual({
      __type: { specifiedByURL: 'https://www.rfc-editor.org/rfc/rfc3339' },
    })
  })

  test('an error message names and suggests nothing that the token does not authorize', async () => {
    for (const query of [
      '{ clients { nodes { nope } } }',
      '{ customer { acounts { nodes { id } } } }',
      '{ __type(name: "Client") { name } nope }',
      '{ customer { id { x } } }',
      'query ($x: UpdateClientInput) { banks { nodes { id } } }',
    ]) {
      const answer = await gateway.askUnattended(undefined, query)
      expect(JSON.stringify(answer)).not.toMatch(/Client|Customer|accounts|UpdateClient/)
    }
    const hidden = await gateway.askUnattended(undefined, '{ __type(name: "Client") { name fields { name } } }')
    expect(hidden.data).toEqual({ __type: null })
  })

  test('explainAccess states for each field whether and why it is allowed and who can grant it, without executing it', async () => {
    gateway.sent.length = 0
    const QUERY = `query ($target: ExplainAccessTarget!) { explainAccess(target: $target) { path allowed reason scopes consentIds purposes conditions grantableBy } }`
    const explain = async (token: Token | undefined, target: object) => {
      const answer = await gateway.askUnattended(token, QUERY, { target })
      return Object.fromEntries(
        (answer.data!['explainAccess'] as { path: string }[]).map((field) => [field.path, field]),
      )
    }
    const document =
      '{ customer { accounts { nodes { balances { ... on ExactBalance { value { amount } } } balanceAtLeast(threshold: { amount: "0", currency: "EUR" }) { __typename } } } } clients { nodes { id } } banks { nodes { id } } }'
    const own = await explain(ada, { document })
    expect(own['customer.accounts.nodes.balances']).toMatchObject({
      allowed: true,
      reason: 'CONSENT',
      scopes: [['balances:exact'], ['balances:band']],
      conditions: [],
      purposes: expect.arrayContaining(['ANSWER_CUSTOMER']) as unknown,
      grantableBy: null,
    })
    expect(own['customer.accounts.nodes.balances.ExactBalance.value']).toMatchObject({
      allowed: true,
      scopes: [['balances:exact']],
      conditions: ['CUSTOMER_PRESENT', 'WITHIN_BUDGET'],
    })
    expect(own['customer.accounts.nodes.balanceAtLeast']).toMatchObject({
      allowed: false,
      reason: 'SCOPE_MISSING',
      grantableBy: 'CUSTOMER',
    })
    expect(own['clients']).toMatchObject({ allowed: false, reason: 'SCOPE_MISSING', grantableBy: 'OPERATOR' })
    expect(own['banks']).toMatchObject({ allowed: true, reason: 'PUBLIC' })
    expect((await explain(undefined, { path: 'customer.accounts' }))['customer.accounts']).toMatchObject({
      allowed: false,
      reason: 'TOKEN_MISSING',
      grantableBy: 'CLIENT',
    })
    expect((await explain(ada, { path: 'client.consents' }))['client.consents']).toMatchObject({
      reason: 'CLIENT_TOKEN_REQUIRED',
    })
    expect(gateway.sent).toEqual([])
    const { banks } = gateway.app.services
    const [connector] = await banks.connectorsOfClient('rheinbank-partner')
    const rhein = await gateway.customer('cleo', ['rheinbank'])
    await banks.suspend('admin', connector!.id)
    expect(
      (await explain(rhein, { path: 'customer.accounts.nodes.balances' }))['customer.accounts.nodes.balances'],
    ).toMatchObject({
      allowed: false,
      reason: 'BANK_NOT_ACTIVE',
      grantableBy: 'BANK',
    })
    await banks.activate('admin', connector!.id)
    expect((await explain(ada, { path: 'rateLimit' }))['rateLimit']).toMatchObject({
      allowed: true,
      reason: 'ANY_TOKEN',
    })
    const invalid = [{ document: '{' }, { path: 'nope.nope' }, { document: '' }, {}, { document: '{', path: 'banks' }]
    for (const target of invalid)
      expect(codesOf(await gateway.askUnattended(ada, QUERY, { target }))).toEqual(['INVALID_INPUT'])
  })
})
