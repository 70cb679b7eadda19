import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  executeGraphql,
  createOauthClient,
  type ClientFile,
  type GraphqlResponse,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'
import type { Scope } from '../../src/kernel/scopes.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const CANARY = 'CANARY-audit'
let gateway: TestGateway
let admin: Token
beforeAll(async () => {
  gateway = await startGateway({ canary: CANARY })
  admin = await gateway.own('admin', 'ledger:read clients:manage')
})
afterAll(() => gateway.close())

interface Entry {
  readonly id: string
  readonly action: string
  readonly occurredAt: string
  readonly clientId: string | null
  readonly subjectId: string | null
  readonly consentId: string | null
  readonly detail: string | null
  readonly changes: readonly { field: string; before: string[]; after: string[] }[]
}
interface Page {
  readonly nodes: readonly Entry[]
  readonly edges: readonly { cursor: string }[]
  readonly pageInfo: {
    hasNextPage: boolean
    hasPreviousPage: boolean
    startCursor: string | null
    endCursor: string | null
  }
}
const QUERY = `query ($first: Int, $after: Cursor, $last: Int, $before: Cursor, $filter: AuditLogFilter, $orderBy: AuditLogOrder) {
  auditLog(first: $first, after: $after, last: $last, before: $before, filter: $filter, orderBy: $orderBy) {
    nodes { id action occurredAt clientId subjectId consentId requestId detail purposes changes { field before after } }
    edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } }`
const ask = (token: Token, variables: Record<string, unknown> = {}): Promise<GraphqlResponse> =>
  executeGraphql(gateway.issuer, token, QUERY, variables)
async function read(token: Token, variables: Record<string, unknown> = {}): Promise<Page> {
  const { data, errors } = await ask(token, variables)
  expect(errors).toBeUndefined()
  return data!['auditLog'] as Page
}

/** A client of a platform, with these scopes. */
async function newClient(platform: string, name: string, scopes: readonly Scope[]): Promise<ClientFile> {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const { clients } = gateway.app.services
  const organizationId =
    (await clients.organizations.findByName(platform))?.id ??
    (await clients.organizations.register('admin', { kind: 'PLATFORM', name: platform })).id
  const jwks = { keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'k' }] }
  const { id } = await clients.register('admin', {
    organizationId,
    name,
    jwks,
    redirectUris: [],
    scopes,
    tokenBinding: 'DPOP',
  })
  return { clientId: id, key: { ...(pair.privateKey.export({ format: 'jwk' }) as ClientFile['key']), kid: 'k' } }
}

describe('the audit log', () => {
  test('each change of a client is in the audit log with its author and the values before and after, without keys', async () => {
    const { clients } = gateway.app.services
    await clients.update('admin', 'chatterbox', { name: 'Chatter', pointsPerMinute: 500_000 })
    await clients.update('admin', 'chatterbox', { name: 'Chatterbox' })
    await clients.suspend('admin', 'chatterbox')
    await clients.resume('admin', 'chatterbox')
    const { nodes } = await read(admin, { first: 4, filter: { subjectIds: ['chatterbox'] } })
    expect(nodes.map(({ action, clientId, changes }) => ({ action, clientId, changes }))).toEqual([
      {
        action: 'CLIENT_RESUMED',
        clientId: 'admin',
        changes: [{ field: 'status', before: ['SUSPENDED'], after: ['ACTIVE'] }],
      },
      {
        action: 'CLIENT_SUSPENDED',
        clientId: 'admin',
        changes: [{ field: 'status', before: ['ACTIVE'], after: ['SUSPENDED'] }],
      },
      {
        action: 'CLIENT_CHANGED',
        clientId: 'admin',
        changes: [{ field: 'name', before: ['Chatter'], after: ['Chatterbox'] }],
      },
      {
        action: 'CLIENT_CHANGED',
        clientId: 'admin',
        changes: [
          { field: 'name', before: ['Chatterbox'], after: ['Chatter'] },
          { field: 'pointsPerMinute', before: ['600000'], after: ['500000'] },
        ],
      },
    ])
    const registered = (await read(admin, { filter: { actions: ['CLIENT_REGISTERED'], subjectIds: ['chatterbox'] } }))
      .nodes[0]!
    expect(registered.changes.map(({ field }) => field)).toEqual(
      expect.arrayContaining(['name', 'scopes', 'redirectUris', 'jwks', 'status']),
    )
    const { x, y } = gateway.client('chatterbox').key
    expect(JSON.stringify(registered)).not.toContain(x)
    expect(JSON.stringify(registered)).not.toContain(y)
  })

  test('the audit log has the status before and after each step of a connector', async () => {
    const { nodes } = await read(admin, { filter: { actions: ['CONNECTOR_ACTIVATED', 'CONNECTOR_CERTIFIED'] } })
    expect(nodes.length).toBeGreaterThanOrEqual(8)
    for (const { action, changes } of nodes)
      expect(changes).toEqual([
        action === 'CONNECTOR_ACTIVATED'
          ? { field: 'status', before: ['CERTIFIED'], after: ['ACTIVE'] }
          : { field: 'status', before: ['CERTIFYING'], after: ['CERTIFIED'] },
      ])
  })

  test('the audit log contains no purchase, balance, customer or account for any reader', async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    const BALANCES =
      '{ customer { id accounts { nodes { id displayName balances { ... on ExactBalance { value { amount } } } } } alerts { nodes { id } } } }'
    const { data } = await gateway.ask(token, BALANCES)
    const amounts = [...JSON.stringify(data).matchAll(/"amount":"(-?\d+\.\d+)"/g)].map(([, amount]) => amount!)
    expect(amounts.length).toBeGreaterThan(0)
    await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
    const { nodes } = await read(admin, { first: 100 })
    expect(nodes.map(({ action }) => action)).toEqual(
      expect.arrayContaining(['READ_BALANCES', 'READ_ALERTS', 'ALERT_RECEIVED']),
    )
    const text = JSON.stringify(nodes)
    const hidden = [
      CANARY,
      ...amounts,
      ...(await gateway.database.query<{ id: string }>('select id from customer')).map(({ id }) => id),
      ...(await gateway.database.query<{ id: string }>('select id from account')).map(({ id }) => id),
      ...(await gateway.database.query<{ id: string }>('select id from alert')).map(({ id }) => id),
    ]
    for (const secret of hidden) expect(text).not.toContain(secret)
    const fields = (
      await executeGraphql(gateway.issuer, admin, '{ __type(name: "AuditLogEntry") { fields { name } } }')
    ).data!
    expect(JSON.stringify(fields)).not.toMatch(/customer|account|amount|balance/i)
  })

  test('a platform sees only its own audit log entries, by list, filter, cursor and ID', async () => {
    const [one, other] = [
      await newClient('Parley', 'Parley audit', ['ledger:read', 'webhooks:manage']),
      await newClient('Palaver', 'Palaver audit', ['ledger:read', 'webhooks:manage']),
    ]
    const own = await createOauthClient(gateway.issuer, one).clientCredentials('ledger:read webhooks:manage')
    const their = await createOauthClient(gateway.issuer, other).clientCredentials('ledger:read webhooks:manage')
    const register = (token: Token, path: string) =>
      executeGraphql(
        gateway.issuer,
        token,
        'mutation ($input: RegisterWebhookEndpointInput!) { registerWebhookEndpoint(input: $input) { userErrors { code } } }',
        {
          input: { url: `${gateway.sandbox.platform}/${path}` },
        },
      )
    await register(own, 'one')
    await register(their, 'other')
    await gateway.app.services.clients.update('admin', one.clientId, { pointsPerMinute: 400_000 })

    const { nodes } = await read(own)
    expect(nodes.map(({ action, clientId }) => [action, clientId])).toEqual([
      // What an admin did to it is its own; which admin is the operator's matter.
      ['CLIENT_CHANGED', null],
      ['WEBHOOK_ENDPOINT_REGISTERED', one.clientId],
      ['CLIENT_REGISTERED', null],
    ])
    const all = await read(admin, { first: 100 })
    const foreign = all.nodes.filter(({ id }) => !nodes.some((mine) => mine.id === id))
    expect(foreign.length).toBeGreaterThan(20)
    for (const filter of [
      { clientIds: [other.clientId] },
      { clientIds: ['admin'] },
      { clientIds: ['chatterbox'] },
      { subjectIds: [other.clientId] },
      { subjectIds: ['chatterbox'] },
      { clientIds: [other.clientId], subjectIds: [other.clientId] },
      { actions: ['READ_BALANCES', 'CONNECTOR_ACTIVATED'] },
    ])
      expect((await read(own, { filter })).nodes, JSON.stringify(filter)).toEqual([])
    for (const cursor of foreign.slice(0, 5).map(({ id }) => id))
      for (const page of [{ after: cursor }, { before: cursor, last: 20 }])
        for (const { id } of (await read(own, page)).nodes) expect(nodes.map((mine) => mine.id)).toContain(id)

    const node = async (token: Token, id: string) =>
      (
        await executeGraphql(
          gateway.issuer,
          token,
          'query ($id: ID!) { node(id: $id) { ... on AuditLogEntry { id action } } }',
          { id },
        )
      ).data!['node']
    expect(await node(own, nodes[0]!.id)).toEqual({ id: nodes[0]!.id, action: 'CLIENT_CHANGED' })
    expect(await node(own, foreign[0]!.id)).toBeNull()
    expect(await node(admin, foreign[0]!.id)).toEqual({ id: foreign[0]!.id, action: foreign[0]!.action })
    expect(await node(own, `ldgr_${'A'.repeat(22)}`)).toBeNull()
  })

  test('the IDs of audit log entries do not reveal the number of entries between them', async () => {
    const { nodes } = await read(admin, { first: 100 })
    const rest = nodes.map(({ id }) => id.replace(/^ldgr_/, ''))
    expect(new Set(rest.map((name) => name.slice(0, 6))).size).toBe(rest.length)
    for (const name of rest) expect(name).toMatch(/^[\w-]{22}$/)
  })

  test('the audit log is paged in both directions and orders without a gap or a repetition', async () => {
    const whole: string[] = []
    for (let after: string | null = null, more = true; more;) {
      const { nodes, pageInfo }: Page = await read(admin, {
        first: 30,
        after,
        orderBy: { field: 'OCCURRED_AT', direction: 'ASC' },
      })
      whole.push(...nodes.map(({ id }) => id))
      ;[after, more] = [pageInfo.endCursor, pageInfo.hasNextPage]
    }
    const count = await gateway.database.query<{ count: string }>('select count(*) from ledger_entry')
    expect(whole).toHaveLength(Number(count[0]!.count))
    expect(new Set(whole).size).toBe(whole.length)
    const newest = await read(admin, { first: 10 })
    expect(newest.nodes.map(({ id }) => id)).toEqual(whole.slice(-10).reverse())
    expect(newest.pageInfo).toMatchObject({ hasNextPage: true, hasPreviousPage: false })
    const back = await read(admin, { last: 10, before: newest.pageInfo.endCursor })
    expect(back.nodes.map(({ id }) => id)).toEqual(whole.slice(-9).reverse())
    const oldest = await read(admin, { last: 3 })
    expect(oldest.nodes.map(({ id }) => id)).toEqual(whole.slice(0, 3).reverse())
    const until = newest.nodes[9]!.occurredAt
    const earlier = await read(admin, { first: 100, filter: { occurred: { until } } })
    for (const { occurredAt } of earlier.nodes) expect(occurredAt < until).toBe(true)
  })

  test('the audit log is denied without the scope, to customer tokens, and for invalid page sizes and cursors', async () => {
    const codeOf = async (token: Token, variables: Record<string, unknown> = {}) =>
      (await ask(token, variables)).errors?.[0]?.extensions?.code
    expect(await codeOf(await gateway.own('chatterbox', 'deliveries:read'))).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
    expect(await codeOf(await gateway.own('admin', 'clients:manage'))).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
    expect(await codeOf(await gateway.customer('bo', ['northbank']))).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
    for (const variables of [
      { first: 101 },
      { first: -1 },
      { last: 101 },
      { first: 1, last: 1 },
      { after: 'ldgr_nonsense' },
      { after: `ldgr_${'A'.repeat(22)}` },
      { filter: { clientIds: Array.from({ length: 51 }, (_, at) => `c${at}`) } },
    ])
      expect(await codeOf(admin, variables), JSON.stringify(variables)).toMatch(/^(INVALID_INPUT|OPERATION_TOO_LARGE)$/)
  })
})
