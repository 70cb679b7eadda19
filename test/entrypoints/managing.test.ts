import { createHash, randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type GraphqlResponse, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
  await gateway.customer('ada', ['northbank', 'rheinbank'])
})
afterAll(() => gateway.close())

const codesOf = (answer: GraphqlResponse) => (answer.errors ?? []).map(({ extensions }) => extensions?.code)

describe('what a client manages', () => {
  const REPLAYED = 'deliveries { id } replayedCount'
  const change = async (token: Token, mutation: string, type: string, input: object, fields: string) =>
    (
      await gateway.askUnattended(
        token,
        `mutation ($input: ${type}!) { ${mutation}(input: $input) { ${fields} userErrors { code path message } } }`,
        {
          input,
        },
      )
    ).data![mutation] as Record<string, unknown> & { userErrors: { code: string; path: string[] }[] }

  test('repeated and concurrent requests with one idempotency key create one organization', async () => {
    const admin = await gateway.own('admin', 'organizations:manage')
    const idempotencyKey = randomUUID()
    const input = { kind: 'PLATFORM', name: 'Once Only', idempotencyKey }
    const answers = await Promise.all(
      Array.from({ length: 12 }, () =>
        change(admin, 'registerOrganization', 'RegisterOrganizationInput', input, 'organization { id name }'),
      ),
    )
    expect(new Set(answers.map(({ organization }) => (organization as { id: string }).id)).size).toBe(1)
    expect(await gateway.database.query("select 1 from organization where name = 'Once Only'")).toHaveLength(1)
    const other = await change(
      admin,
      'registerOrganization',
      'RegisterOrganizationInput',
      { ...input, name: 'Other' },
      'organization { id }',
    )
    expect(other).toMatchObject({
      organization: null,
      userErrors: [{ code: 'IDEMPOTENCY_KEY_REUSED', path: ['idempotencyKey'] }],
    })
  })

  test('a webhook that is registered twice with one key has one secret, and can be disabled and enabled', async () => {
    const own = await gateway.own('chatterbox', 'webhooks:manage')
    const input = { url: `${gateway.sandbox.platform}/webhooks?second`, idempotencyKey: randomUUID() }
    const FIELDS = 'webhookEndpoint { id status } signingSecret'
    const [one, two] = [
      await change(own, 'registerWebhookEndpoint', 'RegisterWebhookEndpointInput', input, FIELDS),
      await change(own, 'registerWebhookEndpoint', 'RegisterWebhookEndpointInput', input, FIELDS),
    ]
    expect(one['signingSecret']).toMatch(/^whsec_/)
    expect(two).toEqual(one)
    const { id } = one['webhookEndpoint'] as { id: string }
    for (const status of ['DISABLED', 'ACTIVE', 'DISABLED'])
      expect(
        await change(
          own,
          'updateWebhookEndpoint',
          'UpdateWebhookEndpointInput',
          { webhookEndpointId: id, status },
          'webhookEndpoint { status }',
        ),
      ).toEqual({
        webhookEndpoint: { status },
        userErrors: [],
      })
    expect(
      await change(
        own,
        'updateWebhookEndpoint',
        'UpdateWebhookEndpointInput',
        { webhookEndpointId: 'whep_x', status: 'ACTIVE' },
        'webhookEndpoint { status }',
      ),
    ).toMatchObject({ userErrors: [{ code: 'NOT_FOUND' }] })
  })

  test('a delivery is replayed with its ID, once per idempotency key, and never after its consent has ended', async () => {
    const token = await gateway.customer('finn', ['northbank'])
    const before = (await gateway.received()).length
    await gateway.alert('northbank', { customer: 'finn', type: 'NEW_SIGN_IN' })
    const own = await gateway.own('chatterbox', 'webhooks:manage deliveries:read')
    const newest = async () =>
      (
        (await gateway.ask(own, '{ client { deliveries(first: 1) { nodes { id status attempts { number } } } } }'))
          .data!['client'] as {
          deliveries: { nodes: { id: string; status: string; attempts: object[] }[] }
        }
      ).deliveries.nodes[0]!
    const { id } = await eventually('the delivery', async () => {
      const delivery = await newest()
      return (await gateway.received()).length > before && delivery.status === 'DELIVERED' && delivery
    })
    const input = { select: { deliveryIds: [id] }, idempotencyKey: randomUUID() }
    for (let repeat = 0; repeat < 3; repeat++)
      expect(await change(own, 'replayDeliveries', 'ReplayDeliveriesInput', input, REPLAYED)).toEqual({
        deliveries: [{ id }],
        replayedCount: 1,
        userErrors: [],
      })
    await eventually(
      'the replay',
      async () => (await newest()).attempts.length === 2 && (await newest()).status === 'DELIVERED',
    )
    expect((await gateway.received()).filter((message) => message.id === id)).toHaveLength(2)
    await gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    await change(own, 'replayDeliveries', 'ReplayDeliveriesInput', { select: { deliveryIds: [id] } }, REPLAYED)
    await eventually('the drop', async () => (await newest()).status === 'DROPPED')
    expect((await gateway.received()).filter((message) => message.id === id)).toHaveLength(2)
  })

  test("a client lists its customers' consents by status and end and can end them, and customer tokens cannot", async () => {
    const token = await gateway.customer('dan', ['northbank'])
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const LIST = `query ($filter: ConsentFilter) { client { consents(first: 100, filter: $filter) { nodes { id status customer { id } expiresAt } } } }`
    const list = async (filter: object) =>
      (
        (await gateway.ask(own, LIST, { filter })).data!['client'] as {
          consents: { nodes: { id: string; customer: { id: string } }[] }
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
        { consentId: newest!.id },
        'consent { status }',
      )
      if (caller === own) expect(ended).toEqual({ consent: { status: 'REVOKED' }, userErrors: [] })
      else expect(ended).toMatchObject({ consent: null, userErrors: [{ code: 'NOT_FOUND' }] })
    }
    const gone = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: {
        'content-type': 'application/json',
        ...(await createAuthorizationHeaders(token, 'POST', `${gateway.issuer}/graphql`)),
      },
      body: '{"query":"{ customer { id } }"}',
    })
    expect(gone.status).toBe(401)
  })

  test('a client can register operations, request them by hash, and be restricted to them', async () => {
    const own = await gateway.own('chatterbox-bearer', 'deliveries:read')
    const token = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    const DOCUMENT = 'query Mine { customer { id } }'
    const sha256Hash = createHash('sha256').update(DOCUMENT).digest('hex')
    const post = async (body: object, caller: Token = token) => {
      const answer = await fetch(`${gateway.issuer}/graphql`, {
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          ...(await createAuthorizationHeaders(caller, 'POST', `${gateway.issuer}/graphql`)),
        },
        body: JSON.stringify(body),
      })
      const { data, errors } = (await answer.json()) as GraphqlResponse
      return { status: answer.status, data, code: errors?.[0]?.extensions?.code }
    }
    const persisted = { extensions: { persistedQuery: { version: 1, sha256Hash } } }
    expect(await post(persisted)).toMatchObject({ status: 404, code: 'PERSISTED_QUERY_NOT_FOUND' })
    const wrong = await change(
      own,
      'registerOperations',
      'RegisterOperationsInput',
      { documents: [DOCUMENT, '{ nope }'] },
      'registeredOperations { sha256Hash }',
    )
    expect(wrong).toMatchObject({
      registeredOperations: null,
      userErrors: [{ code: 'INVALID_INPUT', path: ['documents', '1'] }],
    })
    expect(
      await change(
        own,
        'registerOperations',
        'RegisterOperationsInput',
        { documents: [DOCUMENT] },
        'registeredOperations { sha256Hash }',
      ),
    ).toEqual({
      registeredOperations: [{ sha256Hash }],
      userErrors: [],
    })
    expect((await post(persisted)).data).toMatchObject({ customer: { id: expect.any(String) as string } })

    const EVIL = 'query Evil { customer { accounts { totalCount } } }'
    expect((await post({ query: `${EVIL}\n${DOCUMENT}`, operationName: 'Evil' })).data).toBeTruthy()
    const { clients } = gateway.app.services
    await clients.update('admin', 'chatterbox-bearer', { operationPolicy: 'REGISTERED_ONLY' })
    expect(await post({ query: '{ customer { id } }' })).toMatchObject({
      status: 403,
      code: 'OPERATION_NOT_REGISTERED',
    })
    expect((await post({ query: DOCUMENT })).data).toBeTruthy()
    expect((await post(persisted)).data).toBeTruthy()
    // Nor by a name that reads like the beginning of a text which was asked before.
    for (const operationName of ['Evil', `Evil\n${EVIL}`, `\n${EVIL}`])
      expect(JSON.stringify(await post({ query: DOCUMENT, operationName }))).not.toContain('totalCount')
    await clients.update('admin', 'chatterbox-bearer', { operationPolicy: 'ANY' })

    // Automatic persisted queries: remembered for the client that sent it, and never for nobody.
    const BANKS = '{ banks { nodes { id } } }'
    const asked = {
      extensions: { persistedQuery: { version: 1, sha256Hash: createHash('sha256').update(BANKS).digest('hex') } },
    }
    expect((await post({ query: BANKS, ...asked })).data).toBeTruthy()
    expect((await post(asked)).data).toBeTruthy()
    const answer = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ query: '{ banks { nodes { name } } }', ...asked }),
    })
    expect(((await answer.json()) as GraphqlResponse).errors![0]!.extensions!.code).toBe('INVALID_INPUT')
    const anonymous = await fetch(`${gateway.issuer}/graphql`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(asked),
    })
    expect(anonymous.status).toBe(404)
  })

  test('a change of keys, scopes or quotas by an admin applies to the next request', async () => {
    const admin = await gateway.own('admin', 'clients:manage')
    const own = await gateway.own('chatterbox-bearer', 'deliveries:read')
    const update = (input: object) =>
      change(
        admin,
        'updateClient',
        'UpdateClientInput',
        { clientId: 'chatterbox-bearer', ...input },
        'client { pointsPerMinute scopes }',
      )
    expect((await update({ pointsPerMinute: 0 })).userErrors[0]).toMatchObject({
      code: 'INVALID_INPUT',
      path: ['pointsPerMinute'],
    })
    expect((await update({ jwks: { keys: [] } })).userErrors[0]).toMatchObject({ code: 'INVALID_INPUT' })
    const { client } = await update({ pointsPerMinute: 500_000, scopes: ['accounts:read', 'webhooks:manage'] })
    expect(client).toEqual({ pointsPerMinute: 500_000, scopes: ['accounts:read', 'webhooks:manage'] })
    const limit = await gateway.askUnattended(
      own,
      '{ rateLimit { limit remaining } client { deliveries { nodes { id } } } }',
    )
    expect(limit.data!['rateLimit']).toMatchObject({ limit: 500_000 })
    // A scope that was taken from the client opens nothing in a token that was issued before.
    expect(codesOf(limit)).toEqual(['UNAUTHORIZED_FIELD_OR_TYPE'])
  })

  test('a partner sees health and certification of its own connector, and announces an outage', async () => {
    const partner = await gateway.own('northbank-partner', 'connectors:manage connectors:read')
    await gateway.customer('dan', ['northbank'])
    const { data } = await gateway.ask(
      partner,
      '{ connectors { nodes { id health { operation status callCount failureCount meanDurationMs } certificationRuns { nodes { status checks { name status code } } } } } }',
    )
    const { nodes } = data!['connectors'] as {
      nodes: {
        id: string
        health: { operation: string; status: string; callCount: number }[]
        certificationRuns: { nodes: { status: string; checks: object[] }[] }
      }[]
    }
    const [connector] = nodes
    expect(connector!.health.find(({ operation }) => operation === 'SIGN_IN')).toMatchObject({ status: 'HEALTHY' })
    const [run] = connector!.certificationRuns.nodes
    expect(run).toMatchObject({ status: 'PASSED', checks: { length: 23 } })
    expect(run!.checks).toContainEqual({ name: 'NO_PURCHASE_DATA', status: 'PASSED', code: null })
    const [startsAt, endsAt] = [
      new Date(Date.now() + 3_600_000).toISOString(),
      new Date(Date.now() + 7_200_000).toISOString(),
    ]
    const input = { connectorId: connector!.id, startsAt, endsAt, idempotencyKey: randomUUID() }
    for (let repeat = 0; repeat < 2; repeat++)
      expect(
        await change(
          partner,
          'announceOutage',
          'AnnounceOutageInput',
          input,
          'outage { startsAt endsAt bank { outages { startsAt endsAt } } }',
        ),
      ).toEqual({
        outage: { startsAt, endsAt, bank: { outages: [{ startsAt, endsAt }] } },
        userErrors: [],
      })
    const foreign = await gateway.own('rheinbank-partner', 'connectors:manage')
    expect(
      (await change(foreign, 'announceOutage', 'AnnounceOutageInput', input, 'outage { id }')).userErrors[0],
    ).toMatchObject({ code: 'NOT_FOUND' })
    expect(
      (
        await change(
          partner,
          'announceOutage',
          'AnnounceOutageInput',
          { connectorId: connector!.id, startsAt: endsAt, endsAt: startsAt },
          'outage { id }',
        )
      ).userErrors[0],
    ).toMatchObject({ code: 'INVALID_INPUT', path: ['endsAt'] })
  })
})
