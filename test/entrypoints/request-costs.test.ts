import { createHash } from 'node:crypto'
import { getIntrospectionQuery } from 'graphql'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createAuthorizationHeaders, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { nodeResolvers } from '../../src/entrypoints/graphql/nodes.ts'
import type { Services } from '../../src/entrypoints/graphql/services.ts'
import { networkOf } from '../../src/kernel/addresses.ts'
import { ANONYMOUS, type Caller, type RequestContext } from '../../src/kernel/request-context.ts'
import { databaseUnavailableError } from '../../src/kernel/errors.ts'
import { createQuotas } from '../../src/modules/clients/quota.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'

let gateway: TestGateway
let token: Token
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_TRUSTED_PROXIES: '127.0.0.1' } })
  token = await gateway.customer('ada', ['northbank'])
  // Points are counted by the minute: none ends during a test.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
})
afterAll(() => gateway.close())

interface Cost {
  requested: number
  used: number
  remaining: number
}
interface Answer {
  status: number
  body: { errors?: { extensions?: { code: string } }[]; extensions?: { cost: Cost } }
}
async function send(body: string, headers: Record<string, string> = {}): Promise<Answer> {
  const answer = await fetch(`${gateway.issuer}/graphql`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body,
  })
  return { status: answer.status, body: (await answer.json()) as Answer['body'] }
}
const from = (address: string) => ({ 'x-forwarded-for': address })
const remainingOf = async (headers: Record<string, string>): Promise<number> =>
  (await send('{"query":"{ __typename }"}', headers)).body.extensions!.cost.remaining

const unknownHash = createHash('sha256').update('nothing').digest('hex')
const REQUESTS: readonly (readonly [name: string, body: string])[] = [
  ['an operation of free fields', JSON.stringify({ query: '{ __typename }' })],
  ['a text that does not parse', JSON.stringify({ query: '{ banks {' })],
  ['a document that is not valid', JSON.stringify({ query: '{ nothing }' })],
  ['a document beyond a limit', JSON.stringify({ query: `{ ${'banks { nodes { id } } '.repeat(30)} }` })],
  [
    'a hash that is not known',
    JSON.stringify({ extensions: { persistedQuery: { version: 1, sha256Hash: unknownHash } } }),
  ],
  [
    'variables of the wrong type',
    JSON.stringify({ query: 'query($id: ID!) { node(id: $id) { id } }', variables: { id: {} } }),
  ],
  ['an operation name that is not there', JSON.stringify({ query: '{ __typename }', operationName: 'a' })],
  ['a body that is not JSON', '{'],
]

describe('every request costs at least one point', () => {
  test.each(REQUESTS)('%s is charged to an anonymous address', async (_name, body) => {
    const address = from(`192.0.2.${REQUESTS.findIndex(([, one]) => one === body) + 1}`)
    const before = await remainingOf(address)
    await send(body, address)
    expect(before - (await remainingOf(address))).toBe(2)
  })

  test.each(REQUESTS)('%s is charged to a client', async (_name, body) => {
    const url = `${gateway.issuer}/graphql`
    const headers = async () => ({ ...(await createAuthorizationHeaders(token, 'POST', url)) })
    const before = await remainingOf(await headers())
    await send(body, await headers())
    expect(before - (await remainingOf(await headers()))).toBe(2)
  })

  test('a token that is not accepted is charged to its address', async () => {
    const address = from('192.0.2.99')
    const before = await remainingOf(address)
    expect(
      (await send('{"query":"{ __typename }"}', { ...address, authorization: `Bearer ${unknownHash}` })).status,
    ).toBe(401)
    expect(before - (await remainingOf(address))).toBe(2)
  })

  test('a request from an address without points is refused before its body is read', async () => {
    const address = from('192.0.2.100')
    const spend = (aliases: number, ids: number): Promise<Answer> => {
      const fields = Array.from({ length: aliases }, (_, index) => `n${index}: nodes(ids: $ids) { id }`)
      const query = `query($ids: [ID!]!) { ${fields.join(' ')} }`
      return send(JSON.stringify({ query, variables: { ids: Array.from({ length: ids }, () => 'a') } }), address)
    }
    const left = await remainingOf(address)
    await spend(20, Math.floor(left / 40))
    const rest = await remainingOf(address)
    await spend(1, Math.floor(rest / 2))
    const limited = await eventually('the limit', async () => {
      const answer = await send('{"query":"{ __typename }"}', address)
      return answer.status === 429 && answer
    })
    expect(limited.body.errors![0]!.extensions!.code).toBe('RATE_LIMITED')
    for (const [, body] of REQUESTS) expect((await send(body, address)).status).toBe(429)
    expect((await send('{"query":"{ __typename }"}', from('192.0.2.101'))).status).toBe(200)
  })
})

describe('what is done is what is charged', () => {
  const costOf = async (query: string, variables: object = {}, address = '198.51.100.1'): Promise<Cost> =>
    (await send(JSON.stringify({ query, variables }), from(address))).body.extensions!.cost

  test('the field nodes is charged per ID, for literals and variables alike', async () => {
    const ids = Array.from({ length: 50 }, (_, index) => `bank-${index}`)
    const QUERY = 'query($ids: [ID!]!) { nodes(ids: $ids) { id } }'
    expect(await costOf(QUERY, { ids })).toMatchObject({ requested: 100, used: 100 })
    expect(await costOf(QUERY, { ids: ids.slice(0, 1) })).toMatchObject({ requested: 2, used: 2 })
    expect(await costOf(`{ nodes(ids: ${JSON.stringify(ids)}) { id } }`)).toMatchObject({ requested: 100, used: 100 })
  })

  test('a thousand ids by aliases cost two thousand points', async () => {
    const ids = JSON.stringify(Array.from({ length: 50 }, () => 'a'))
    const fields = Array.from({ length: 20 }, (_, index) => `n${index}: nodes(ids: $ids) { id }`).join(' ')
    const cost = await costOf(`query($ids: [ID!]!) { ${fields} }`, { ids: JSON.parse(ids) as string[] }, '198.51.100.2')
    expect(cost).toMatchObject({ requested: 2_000, used: 2_000 })
  })

  test('introspection is charged before it runs, by the size of the contract', async () => {
    const whole = await costOf(getIntrospectionQuery(), {}, '198.51.100.3')
    expect(whole.used).toBeGreaterThan(100)
    expect(whole.requested).toBeGreaterThanOrEqual(whole.used)
    const often = Array.from({ length: 20 }, (_, index) => `a${index}: __schema { types { fields { args { name } } } }`)
    const refused = await send(JSON.stringify({ query: `{ ${often.join(' ')} }` }), from('198.51.100.4'))
    expect([400, 429]).toContain(refused.status)
  })

  test('each replayed event of a resumed stream is charged', async () => {
    const fresh = await gateway.customer('bo', ['northbank'])
    for (let index = 0; index < 3; index++)
      expect(await gateway.alert('northbank', { customer: 'bo', type: 'NEW_SIGN_IN' })).toEqual([202])
    const LEFT = '{ rateLimit { customerRemaining } }'
    const left = async (): Promise<number> =>
      ((await gateway.askUnattended(fresh, LEFT)).data!['rateLimit'] as { customerRemaining: number }).customerRemaining
    const RECEIVED = 'subscription { alertReceived { id type } }'
    const before = await left()
    const first = await listen(gateway.issuer, fresh, RECEIVED)
    first.close()
    const beginning = before - (await left())
    const begun = await left()
    const replay = await listen(gateway.issuer, fresh, RECEIVED, { 'last-event-id': 'alert_none' })
    await eventually('the events', () => Promise.resolve(replay.text().split('event: next').length > 3))
    expect(begun - (await left())).toBeGreaterThanOrEqual(beginning + 3)
    replay.close()
  })
})

describe('an id that cannot be the caller’s', () => {
  const IDS = ['cons', 'whep', 'dlvr', 'cnct', 'cert', 'clnt', 'org'].map((prefix) => `${prefix}_${'A'.repeat(22)}`)
  const PUBLIC_IDS = ['account', 'alert'].map((prefix) => `${prefix}_${'A'.repeat(43)}`)
  const client: Caller = {
    kind: 'CLIENT',
    tokenType: 'DPoP',
    clientId: 'c',
    quota: { pointsPerMinute: 1, pointsPerCustomerPerMinute: 1 },
    registeredOnly: false,
    scopes: new Set(['clients:manage', 'organizations:manage', 'banks:manage']),
  }

  /** The modules that were asked for these ids. */
  async function askedFor(caller: Caller, ids: readonly string[]): Promise<string[]> {
    const asked: string[] = []
    const module = (name: string): unknown =>
      new Proxy(() => undefined, {
        get: (_target, part) => module(`${name}.${String(part)}`),
        apply() {
          asked.push(name)
          return Promise.resolve(name === 'banks.activeBanks' ? [] : null)
        },
      })
    const services = new Proxy({}, { get: (_target, name) => module(String(name)) }) as Services
    const context: RequestContext = {
      caller,
      requestId: 'req_x',
      presence: 'CUSTOMER_PRESENCE_REQUIRED',
      customer: null,
    }
    const { node } = nodeResolvers(services).Query
    for (const id of ids)
      await (node as (parent: unknown, args: { id: string }, context: RequestContext) => unknown)({}, { id }, context)
    return asked
  }

  test('an ID from a caller without a token causes no lookup in any module', async () => {
    expect(await askedFor(ANONYMOUS, [...IDS, ...PUBLIC_IDS])).toEqual([])
    expect(await askedFor(client, IDS)).toHaveLength(IDS.length)
  })

  test('a malformed ID causes no lookup in any module', async () => {
    const wrong = [...IDS, ...PUBLIC_IDS].flatMap((id) => [
      `${id}A`,
      id.slice(0, -1),
      `${id.slice(0, -1)}'`,
      id.toUpperCase(),
    ])
    expect(await askedFor(client, [...wrong, '', 'x_', 'constructor_a', `b${'a'.repeat(60)}`, 'A B'])).toEqual([])
  })

  test('the bank IDs of a request cause one lookup, for any number of them', async () => {
    expect(await askedFor(ANONYMOUS, ['northbank', 'rheinbank', 'nobody'])).toEqual(['banks.activeBanks'])
  })
})

describe('addresses are counted', () => {
  test('IPv6 addresses are counted per 64-bit network, in every spelling', () => {
    expect(networkOf('2001:db8:1:2:3:4:5:6')).toBe(networkOf('2001:0DB8:1:2::9%eth0'))
    expect(networkOf('2001:db8:1:3::1')).not.toBe(networkOf('2001:db8:1:2::1'))
    expect(networkOf('::ffff:192.0.2.1')).toBe('192.0.2.1')
    expect(networkOf('')).toBe('unknown')
  })

  test('beyond 10,000 addresses in a minute, new ones share one token bucket, and no bucket is refilled', () => {
    const store = {
      take: () => Promise.resolve(undefined),
      spent: () => Promise.resolve(0),
      sweep: () => Promise.resolve(0),
    }
    const quotas = createQuotas(store, { clock: { now: () => new Date(0) } }, { record: () => undefined })
    const chargeOf = (address: string, points: number) =>
      (quotas.charge({ ...ANONYMOUS, address }, points) as { remainingQuota(): { remaining: number } }).remainingQuota()
        .remaining
    expect(chargeOf('192.0.2.1', 2_000)).toBe(1_000)
    for (let index = 0; index < 12_000; index++)
      chargeOf(`2001:db8:${(index >> 8).toString(16)}:${(index & 255).toString(16)}::1`, 1)
    expect(chargeOf('192.0.2.1', 1)).toBe(999)
    expect(chargeOf('203.0.113.1', 1)).toBeLessThan(1_000)
    expect(chargeOf('203.0.113.2', 1)).toBeLessThan(1_000)
  })
})

describe('points while the database cannot write', () => {
  const CLIENT = { ...ANONYMOUS, kind: 'CLIENT', clientId: 'a', quota: { pointsPerMinute: 100 } } as unknown as Caller
  const quotasWith = (sqlState: string) => {
    const error = databaseUnavailableError(Object.assign(new Error('refused'), { code: sqlState }))
    const store = {
      take: () => Promise.reject(error),
      spent: () => Promise.resolve(0),
      sweep: () => Promise.resolve(0),
    }
    return createQuotas(store, { clock: { now: () => new Date(0) } }, { record: () => undefined })
  }

  test('while the disk of the database is full, a process allows a client its limit and no more', async () => {
    const quotas = quotasWith('53100')
    for (let used = 0; used < 100; used += 10) await quotas.charge(CLIENT, 10)
    await expect(Promise.resolve(quotas.charge(CLIENT, 1))).rejects.toMatchObject({ code: 'RATE_LIMITED' })
  })

  test('a database that fails in any other way refuses points', async () => {
    await expect(Promise.resolve(quotasWith('57P01').charge(CLIENT, 1))).rejects.toMatchObject({
      code: 'DATABASE_UNAVAILABLE',
    })
  })
})
