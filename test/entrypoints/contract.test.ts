import { createHash, randomUUID } from 'node:crypto'
import { buildClientSchema, getIntrospectionQuery, type IntrospectionQuery } from 'graphql'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { authorization, type GraphqlAnswer, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
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
const viewerOf = (answer: GraphqlAnswer) => answer.data!['viewer'] as Record<string, Page>
const codesOf = (answer: GraphqlAnswer) => (answer.errors ?? []).map(({ extensions }) => extensions?.code)

describe('lists', () => {
  const page = async (args: string, token = ada): Promise<Page> =>
    viewerOf(
      await gateway.askUnattended(
        token,
        `{ viewer { accounts${args} { edges { cursor node { id } } nodes { id type bank { id } } totalCount
          pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }`,
      ),
    )['accounts']!
  const ids = ({ nodes }: Page): string[] => nodes.map(({ id }) => id)

  test('are walked forwards and backwards, each item once, in one order', async () => {
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

  test('are filtered by every part that is given', async () => {
    expect(ids(await page('(filter: { bankIds: ["rheinbank"] })'))).toHaveLength(2)
    expect(ids(await page('(filter: { types: [SAVINGS] })'))).toHaveLength(1)
    expect(ids(await page('(filter: { bankIds: ["rheinbank"], types: [SAVINGS] })'))).toHaveLength(0)
    expect(ids(await page('(filter: { currencies: ["GBP"], statuses: [OPEN] })'))).toHaveLength(2)
  })

  test.each(['(first: -1)', '(first: 101)', '(last: 1000)', '(after: "account_nobody")', '(first: 0)'])(
    'take %s for what it is',
    async (args) => {
      const answer = await gateway.askUnattended(ada, `{ viewer { accounts${args} { totalCount nodes { id } } } }`)
      if (args === '(first: 0)') expect(viewerOf(answer)['accounts']).toEqual({ totalCount: 4, nodes: [] })
      else expect(codesOf(answer)).toEqual(['INVALID_INPUT'])
    },
  )

  test('of alerts and deliveries page by what they are', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    for (const type of ['NEW_SIGN_IN', 'CARD_SECURITY', 'NEW_SIGN_IN'])
      await gateway.alert('northbank', { account: 'nb-10003', type })
    const ask = async (args: string) =>
      viewerOf(
        await gateway.ask(
          token,
          `{ viewer { alerts${args} { totalCount nodes { id type } pageInfo { endCursor } } } }`,
        ),
      )['alerts']!
    const newest = await ask('(first: 2)')
    expect(newest.totalCount).toBe(3)
    const rest = await ask(`(first: 2, after: "${newest.pageInfo.endCursor!}")`)
    expect(rest.nodes.map(({ type }) => type)).toEqual(['NEW_SIGN_IN'])
    expect((await ask('(filter: { types: [CARD_SECURITY] })')).nodes).toHaveLength(1)
    expect((await ask('(filter: { since: "2099-01-01T00:00:00.000Z" })')).nodes).toHaveLength(0)

    const own = await gateway.own('chatterbox', 'deliveries:read')
    const deliveries = async (args: string) =>
      (
        (
          await gateway.ask(
            own,
            `{ client { deliveries${args} { nodes { id state } pageInfo { endCursor hasNextPage } } } }`,
          )
        ).data!['client'] as { deliveries: Page }
      ).deliveries
    await eventually(
      'deliveries',
      async () => (await deliveries('(first: 3, filter: { states: [DELIVERED] })')).nodes.length === 3,
    )
    const first = await deliveries('(first: 2)')
    const second = await deliveries(`(first: 2, after: "${first.pageInfo.endCursor!}")`)
    expect(new Set([...first.nodes, ...second.nodes].map(({ id }) => id)).size).toBe(
      first.nodes.length + second.nodes.length,
    )
  })
})

describe('ids', () => {
  test('lead back to their objects, each in its place, for whoever may have them', async () => {
    const answer = await gateway.ask(
      ada,
      '{ viewer { id accounts(first: 1) { nodes { id displayName } } consent { id } } }',
    )
    const viewer = answer.data!['viewer'] as {
      accounts: { nodes: { id: string; displayName: string }[] }
      consent: { id: string }
    }
    const [account] = viewer.accounts.nodes
    const found = await gateway.ask(
      ada,
      'query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id ... on Account { displayName } ... on Consent { status } ... on Bank { name } } }',
      { ids: [account!.id, 'account_nobody', viewer.consent.id, 'northbank', 'dlvr_x', 'clnt_x'] },
    )
    expect(found.data!['nodes']).toEqual([
      { __typename: 'Account', ...account },
      null,
      { __typename: 'Consent', id: viewer.consent.id, status: 'ACTIVE' },
      { __typename: 'Bank', id: 'northbank', name: 'Northbank' },
      null,
      null,
    ])
  })

  test('of somebody else answer as those of nobody, by content and by what is done to find out', async () => {
    const cleo = await gateway.customer('cleo', ['rheinbank'])
    const mine = viewerOf(await gateway.ask(ada, '{ viewer { accounts { nodes { id } } } }'))['accounts']!.nodes
    const NODE = 'query ($id: ID!) { node(id: $id) { __typename id } }'
    const answers = []
    for (const id of [mine[0]!.id, 'account_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'])
      answers.push((await gateway.ask(cleo, NODE, { id })).data)
    expect(answers).toEqual([{ node: null }, { node: null }])

    const consent = (await gateway.ask(ada, '{ viewer { consent { id } } }')).data!['viewer'] as {
      consent: { id: string }
    }
    for (const id of [consent.consent.id, 'cons_AAAAAAAAAAAAAAAAAAAAAA'])
      expect((await gateway.ask(cleo, NODE, { id })).data).toEqual({ node: null })
    const withdraw =
      'mutation ($input: WithdrawConsentInput!) { withdrawConsent(input: $input) { consent { id } errors { code path message } } }'
    const [foreign, nobody] = [
      await gateway.ask(cleo, withdraw, { input: { consentId: consent.consent.id } }),
      await gateway.ask(cleo, withdraw, { input: { consentId: 'cons_AAAAAAAAAAAAAAAAAAAAAA' } }),
    ]
    expect(foreign.data).toEqual(nobody.data)

    // In time: medians of many, interleaved, must not tell the two apart.
    const took: Record<string, number[]> = { foreign: [], nobody: [] }
    for (let round = 0; round < 60; round++)
      for (const [name, id] of [
        ['foreign', mine[0]!.id],
        ['nobody', `account_${'B'.repeat(43)}`],
      ] as const) {
        const began = performance.now()
        await gateway.askUnattended(cleo, NODE, { id })
        took[name]!.push(performance.now() - began)
      }
    const median = (all: number[]): number => all.sort((a, b) => a - b)[30]!
    expect(Math.abs(median(took['foreign']!) - median(took['nobody']!))).toBeLessThan(3)
  }, 60_000)

  test('are pairwise: two clients of one customer share none', async () => {
    const browser = createBrowser()
    const one = await gateway.customer('bo', ['northbank'], { browser })
    const other = await gateway.customer('bo', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    const QUERY = '{ viewer { id accounts { nodes { id } } } }'
    const [first, second] = [await gateway.ask(one, QUERY), await gateway.ask(other, QUERY)]
    const idsIn = (answer: GraphqlAnswer): string[] =>
      [...JSON.stringify(answer.data).matchAll(/"id":"([^"]+)"/g)].map(([, id]) => id!)
    expect(idsIn(first)).toHaveLength(3)
    expect(idsIn(first).filter((id) => idsIn(second).includes(id))).toEqual([])
    expect(idsIn(await gateway.ask(one, QUERY))).toEqual(idsIn(first))
  })

  test('more than fifty at a time are refused', async () => {
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

  test('is what its token opens: types, fields and mutations of others are not in the introspection', async () => {
    const anonymous = await schemaFor(undefined)
    expect(Object.keys(anonymous.getQueryType()!.getFields()).sort()).toEqual([
      'banks',
      'explainAccess',
      'node',
      'nodes',
    ])
    expect(anonymous.getMutationType() ?? null).toBeNull()
    for (const name of ['Account', 'Alert', 'ExactBalance', 'Client', 'Connector', 'Platform'])
      expect(anonymous.getType(name)).toBeUndefined()

    const band = await schemaFor(
      await gateway.customer('cleo', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] }),
    )
    const fields = Object.keys((band.getType('Account') as unknown as { getFields(): object }).getFields())
    expect(fields).toContain('balanceBand')
    expect(fields).not.toContain('balances')
    expect(fields).not.toContain('alerts')
    expect(band.getType('ExactBalance')).toBeUndefined()

    const admin = await schemaFor(await gateway.own('admin', 'clients:manage'))
    expect(Object.keys(admin.getMutationType()!.getFields())).toContain('suspendClient')
    expect(admin.getType('Account')).toBeUndefined()
    expect(admin.getDirectives().map(({ name }) => name)).not.toContain('requiresScopes')
  })

  test('an error message names nothing that the token does not open, and suggests nothing', async () => {
    for (const query of [
      '{ clients { nope } }',
      '{ viewer { acounts { nodes { id } } } }',
      '{ __type(name: "Client") { name } nope }',
      '{ viewer { id { x } } }',
      'query ($x: UpdateClientInput) { banks { id } }',
    ]) {
      const answer = await gateway.askUnattended(undefined, query)
      expect(JSON.stringify(answer)).not.toMatch(/Client|Viewer|accounts|UpdateClient|Did you mean/)
    }
    const hidden = await gateway.askUnattended(undefined, '{ __type(name: "Client") { name fields { name } } }')
    expect(hidden.data).toEqual({ __type: null })
  })

  test('explainAccess says for each field whether it is open, by what, and who can change it, and executes nothing', async () => {
    gateway.sent.length = 0
    const QUERY = `query ($input: ExplainAccessInput!) { explainAccess(input: $input) { path open because scopes consentIds purposes conditions changedBy } }`
    const explain = async (token: Token | undefined, input: object) => {
      const answer = await gateway.askUnattended(token, QUERY, { input })
      return Object.fromEntries(
        (
          answer.data!['explainAccess'] as { path: string; open: boolean; because: string; changedBy: string | null }[]
        ).map((field) => [field.path, field]),
      )
    }
    const document =
      '{ viewer { accounts { nodes { balances { ... on ExactBalance { amount } } balanceAtLeast(amount: "0") { __typename } } } } clients { id } banks { id } }'
    const own = await explain(ada, { document })
    expect(own['viewer.accounts.nodes.balances']).toMatchObject({
      open: true,
      because: 'CONSENT',
      scopes: [['balances:exact']],
      conditions: ['CUSTOMER_PRESENT', 'BUDGET'],
      purposes: expect.arrayContaining(['ANSWER_CUSTOMER']) as unknown,
      changedBy: null,
    })
    expect(own['viewer.accounts.nodes.balances.ExactBalance.amount']).toMatchObject({ open: true })
    expect(own['viewer.accounts.nodes.balanceAtLeast']).toMatchObject({
      open: false,
      because: 'SCOPE_MISSING',
      changedBy: 'CUSTOMER',
    })
    expect(own['clients']).toMatchObject({ open: false, because: 'SCOPE_MISSING', changedBy: 'OPERATOR' })
    expect(own['banks']).toMatchObject({ open: true, because: 'PUBLIC' })
    expect((await explain(undefined, { path: 'viewer.accounts' }))['viewer.accounts']).toMatchObject({
      open: false,
      because: 'TOKEN_MISSING',
      changedBy: 'CLIENT',
    })
    expect((await explain(ada, { path: 'client.consents' }))['client.consents']).toMatchObject({
      because: 'CLIENT_TOKEN_NEEDED',
    })
    expect(gateway.sent).toEqual([])
    const { banks } = gateway.app.services
    const [connector] = await banks.registeredBy('rheinbank-partner')
    const rhein = await gateway.customer('cleo', ['rheinbank'])
    await banks.suspend('admin', connector!.id)
    expect(
      (await explain(rhein, { path: 'viewer.accounts.nodes.balances' }))['viewer.accounts.nodes.balances'],
    ).toMatchObject({
      open: false,
      because: 'BANK_NOT_LIVE',
      changedBy: 'BANK',
    })
    await banks.putLive('admin', connector!.id)
    for (const input of [{ document: '{' }, { path: 'nope.nope' }, {}])
      expect(codesOf(await gateway.askUnattended(ada, QUERY, { input }))).toEqual(['INVALID_INPUT'])
  })
})

describe('what a client manages', () => {
  const change = async (token: Token, mutation: string, type: string, input: object, fields: string) =>
    (
      await gateway.askUnattended(
        token,
        `mutation ($input: ${type}!) { ${mutation}(input: $input) { ${fields} errors { code path message } } }`,
        {
          input,
        },
      )
    ).data![mutation] as Record<string, unknown> & { errors: { code: string; path: string[] }[] }

  test('the same idempotency key makes one thing, however often and however much at once', async () => {
    const admin = await gateway.own('admin', 'platforms:manage')
    const idempotencyKey = randomUUID()
    const input = { name: 'Once Only', idempotencyKey }
    const answers = await Promise.all(
      Array.from({ length: 12 }, () =>
        change(admin, 'registerPlatform', 'RegisterPlatformInput', input, 'platform { id name }'),
      ),
    )
    expect(new Set(answers.map(({ platform }) => (platform as { id: string }).id)).size).toBe(1)
    expect(await gateway.database.query("select 1 from platform where name = 'Once Only'")).toHaveLength(1)
    const other = await change(
      admin,
      'registerPlatform',
      'RegisterPlatformInput',
      { ...input, name: 'Other' },
      'platform { id }',
    )
    expect(other).toMatchObject({
      platform: null,
      errors: [{ code: 'IDEMPOTENCY_KEY_REUSED', path: ['idempotencyKey'] }],
    })
  })

  test('a webhook that is registered twice under one key has one secret; it can be stopped and begun again', async () => {
    const own = await gateway.own('chatterbox', 'webhooks:manage')
    const input = { url: `${gateway.sandbox.platform}/webhooks?second`, idempotencyKey: randomUUID() }
    const FIELDS = 'endpoint { id state } secret'
    const [one, two] = [
      await change(own, 'registerWebhookEndpoint', 'RegisterWebhookEndpointInput', input, FIELDS),
      await change(own, 'registerWebhookEndpoint', 'RegisterWebhookEndpointInput', input, FIELDS),
    ]
    expect(one['secret']).toMatch(/^whsec_/)
    expect(two).toEqual(one)
    const { id } = one['endpoint'] as { id: string }
    for (const state of ['DISABLED', 'ACTIVE', 'DISABLED'])
      expect(
        await change(own, 'updateWebhookEndpoint', 'UpdateWebhookEndpointInput', { id, state }, 'endpoint { state }'),
      ).toEqual({
        endpoint: { state },
        errors: [],
      })
    expect(
      await change(
        own,
        'updateWebhookEndpoint',
        'UpdateWebhookEndpointInput',
        { id: 'whep_x', state: 'ACTIVE' },
        'endpoint { state }',
      ),
    ).toMatchObject({ errors: [{ code: 'NOT_FOUND' }] })
  })

  test('a delivery is replayed under its own id, once per key, and never past a consent that has ended', async () => {
    const token = await gateway.customer('finn', ['northbank'])
    const before = (await gateway.received()).length
    await gateway.alert('northbank', { customer: 'finn', type: 'NEW_SIGN_IN' })
    const own = await gateway.own('chatterbox', 'webhooks:manage deliveries:read')
    const newest = async () =>
      (
        (await gateway.ask(own, '{ client { deliveries(first: 1) { nodes { id state attempts { number } } } } }'))
          .data!['client'] as {
          deliveries: { nodes: { id: string; state: string; attempts: object[] }[] }
        }
      ).deliveries.nodes[0]!
    const { id } = await eventually('the delivery', async () => {
      const delivery = await newest()
      return (await gateway.received()).length > before && delivery.state === 'DELIVERED' && delivery
    })
    const input = { id, idempotencyKey: randomUUID() }
    for (let repeat = 0; repeat < 3; repeat++)
      expect((await change(own, 'replayDelivery', 'ReplayDeliveryInput', input, 'delivery { id }')).errors).toEqual([])
    await eventually(
      'the replay',
      async () => (await newest()).attempts.length === 2 && (await newest()).state === 'DELIVERED',
    )
    expect((await gateway.received()).filter((message) => message.id === id)).toHaveLength(2)
    await gateway.ask(token, 'mutation { withdrawConsent(input: {}) { errors { code } } }')
    await change(own, 'replayDelivery', 'ReplayDeliveryInput', { id }, 'delivery { id }')
    await eventually('the drop', async () => (await newest()).state === 'DROPPED')
    expect((await gateway.received()).filter((message) => message.id === id)).toHaveLength(2)
  })

  test('its customers’ consents: listed by state and end, terminated by the client, and never seen by a customer’s token', async () => {
    const token = await gateway.customer('dan', ['northbank'])
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const LIST = `query ($filter: ConsentFilter) { client { consents(first: 100, filter: $filter) { nodes { id status customerId expiresAt } } } }`
    const list = async (filter: object) =>
      (
        (await gateway.ask(own, LIST, { filter })).data!['client'] as {
          consents: { nodes: { id: string; customerId: string }[] }
        }
      ).consents.nodes
    const active = await list({ statuses: ['ACTIVE'] })
    expect(active.length).toBeGreaterThan(1)
    expect(await list({ expiringBefore: '2026-01-01T00:00:00.000Z' })).toEqual([])
    expect((await list({ expiringBefore: '2099-01-01T00:00:00.000Z' })).length).toBe(active.length)
    const refused = await gateway.ask(token, '{ client { consents { nodes { id } } } }')
    expect(codesOf(refused)).toEqual(['UNAUTHORIZED_FIELD_OR_TYPE'])

    const [newest] = active
    const bearer = await gateway.own('chatterbox-bearer', 'deliveries:read')
    for (const caller of [bearer, own]) {
      const ended = await change(
        caller,
        'terminateConsent',
        'TerminateConsentInput',
        { id: newest!.id },
        'consent { status }',
      )
      if (caller === own) expect(ended).toEqual({ consent: { status: 'REVOKED' }, errors: [] })
      else expect(ended).toMatchObject({ consent: null, errors: [{ code: 'NOT_FOUND' }] })
    }
    const gone = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(await authorization(token, 'POST', `${gateway.issuer}/graphql`)),
      },
      body: '{"query":"{ viewer { id } }"}',
    })
    expect(gone.status).toBe(401)
  })

  test('its operations: registered, asked by hash, and for a client that is held to them nothing else', async () => {
    const own = await gateway.own('chatterbox-bearer', 'deliveries:read')
    const token = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    const DOCUMENT = 'query Mine { viewer { id } }'
    const sha256Hash = createHash('sha256').update(DOCUMENT).digest('hex')
    const post = async (body: object, caller: Token = token) => {
      const answer = await fetch(`${gateway.issuer}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(await authorization(caller, 'POST', `${gateway.issuer}/graphql`)),
        },
        body: JSON.stringify(body),
      })
      const { data, errors } = (await answer.json()) as GraphqlAnswer
      return { status: answer.status, data, code: errors?.[0]?.extensions?.code }
    }
    const persisted = { extensions: { persistedQuery: { version: 1, sha256Hash } } }
    expect(await post(persisted)).toMatchObject({ status: 404, code: 'PERSISTED_QUERY_NOT_FOUND' })
    const wrong = await change(
      own,
      'registerOperations',
      'RegisterOperationsInput',
      { documents: [DOCUMENT, '{ nope }'] },
      'operations { sha256Hash }',
    )
    expect(wrong).toMatchObject({ operations: null, errors: [{ code: 'INVALID_INPUT', path: ['documents', '1'] }] })
    expect(
      await change(
        own,
        'registerOperations',
        'RegisterOperationsInput',
        { documents: [DOCUMENT] },
        'operations { sha256Hash }',
      ),
    ).toEqual({
      operations: [{ sha256Hash }],
      errors: [],
    })
    expect((await post(persisted)).data).toMatchObject({ viewer: { id: expect.any(String) as string } })

    const { clients } = gateway.app.services
    await clients.update('admin', 'chatterbox-bearer', { operations: 'REGISTERED' })
    expect(await post({ query: '{ viewer { id } }' })).toMatchObject({ status: 403, code: 'OPERATION_NOT_REGISTERED' })
    expect((await post({ query: DOCUMENT })).data).toBeTruthy()
    expect((await post(persisted)).data).toBeTruthy()
    await clients.update('admin', 'chatterbox-bearer', { operations: 'ANY' })

    // Automatic persisted queries: remembered for the client that sent it, and never for nobody.
    const BANKS = '{ banks { id } }'
    const asked = {
      extensions: { persistedQuery: { version: 1, sha256Hash: createHash('sha256').update(BANKS).digest('hex') } },
    }
    expect((await post({ query: BANKS, ...asked })).data).toBeTruthy()
    expect((await post(asked)).data).toBeTruthy()
    const answer = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: '{ banks { name } }', ...asked }),
    })
    expect(((await answer.json()) as GraphqlAnswer).errors![0]!.extensions!.code).toBe('INVALID_INPUT')
    const anonymous = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(asked),
    })
    expect(anonymous.status).toBe(404)
  })

  test('an admin changes keys, scopes and quotas, and the next request knows', async () => {
    const admin = await gateway.own('admin', 'clients:manage')
    const own = await gateway.own('chatterbox-bearer', 'deliveries:read')
    const update = (input: object) =>
      change(
        admin,
        'updateClient',
        'UpdateClientInput',
        { id: 'chatterbox-bearer', ...input },
        'client { quotaPerMinute scopes }',
      )
    expect((await update({ quotaPerMinute: 0 })).errors[0]).toMatchObject({
      code: 'INVALID_INPUT',
      path: ['quotaPerMinute'],
    })
    expect((await update({ keys: { keys: [] } })).errors[0]).toMatchObject({ code: 'INVALID_INPUT' })
    const { client } = await update({ quotaPerMinute: 500_000, scopes: ['accounts:read', 'webhooks:manage'] })
    expect(client).toEqual({ quotaPerMinute: 500_000, scopes: ['accounts:read', 'webhooks:manage'] })
    const limit = await gateway.askUnattended(
      own,
      '{ rateLimit { limit remaining } client { deliveries { nodes { id } } } }',
    )
    expect(limit.data!['rateLimit']).toMatchObject({ limit: 500_000 })
    // A scope that was taken from the client opens nothing in a token that was issued before.
    expect(codesOf(limit)).toEqual(['UNAUTHORIZED_FIELD_OR_TYPE'])
  })

  test('a partner sees health and certification of its own connector, and announces maintenance', async () => {
    const partner = await gateway.own('northbank-partner', 'connectors:manage connectors:read')
    await gateway.customer('dan', ['northbank'])
    const { data } = await gateway.ask(
      partner,
      '{ connectors { id health { operation state calls failures meanMs } certifications { passed checks { name passed reason } } } }',
    )
    const [connector] = data!['connectors'] as {
      id: string
      health: { operation: string; state: string; calls: number }[]
      certifications: unknown[]
    }[]
    expect(connector!.health.find(({ operation }) => operation === 'SIGN_IN')).toMatchObject({ state: 'HEALTHY' })
    expect(connector!.certifications).toEqual([
      {
        passed: true,
        checks: [
          { name: 'CONSENT', passed: true, reason: null },
          { name: 'REVOCATION', passed: true, reason: null },
        ],
      },
    ])
    const [from, to] = [new Date(Date.now() + 3_600_000).toISOString(), new Date(Date.now() + 7_200_000).toISOString()]
    const input = { id: connector!.id, from, to, idempotencyKey: randomUUID() }
    for (let repeat = 0; repeat < 2; repeat++)
      expect(
        await change(
          partner,
          'announceMaintenance',
          'AnnounceMaintenanceInput',
          input,
          'bank { maintenance { from to } }',
        ),
      ).toEqual({
        bank: { maintenance: [{ from, to }] },
        errors: [],
      })
    const foreign = await gateway.own('rheinbank-partner', 'connectors:manage')
    expect(
      (await change(foreign, 'announceMaintenance', 'AnnounceMaintenanceInput', input, 'bank { id }')).errors[0],
    ).toMatchObject({ code: 'NOT_FOUND' })
    expect(
      (
        await change(
          partner,
          'announceMaintenance',
          'AnnounceMaintenanceInput',
          { id: connector!.id, from: to, to: from },
          'bank { id }',
        )
      ).errors[0],
    ).toMatchObject({ code: 'INVALID_INPUT', path: ['to'] })
  })
})
