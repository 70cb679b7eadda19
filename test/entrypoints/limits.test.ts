import { connect, type Socket } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAuthorizationHeaders, type GraphqlResponse, type Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createLoadShedder } from '../../src/entrypoints/graphql/load-shedding.ts'
import { systemClock, systemTimers } from '../../src/kernel/clock.ts'
import { createLoadingCache } from '../../src/kernel/loading-cache.ts'
import { leastCpuUs } from '../support/cpu-time.ts'
import { harmlessDocument } from '../support/document-bombs.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

let gateway: TestGateway
let token: Token
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_MAX_CONCURRENT_REQUESTS: '12', GUICHET_KEEP_ALIVE_SECONDS: '5' } })
  token = await gateway.customer('ada', ['northbank'])
})
afterAll(() => gateway.close())

interface Answer {
  status: number
  headers: Headers
  body: GraphqlResponse
  tookMs: number
}
async function post(body: string, headers: Record<string, string> = {}, caller?: Token): Promise<Answer> {
  const url = `${gateway.issuer}/graphql`
  const began = patientTimers.monotonicMs()
  const answer = await fetch(url, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      ...(caller && (await createAuthorizationHeaders(caller, 'POST', url))),
      ...headers,
    },
    body,
  })
  const text = await answer.text()
  return {
    status: answer.status,
    headers: answer.headers,
    body: (text ? JSON.parse(text) : {}) as GraphqlResponse,
    tookMs: patientTimers.monotonicMs() - began,
  }
}
const query = (text: string, caller?: Token) => post(JSON.stringify({ query: text }), {}, caller)
const codeOf = ({ body }: Answer): string | undefined => body.errors?.[0]?.extensions?.code

const many = (count: number, make: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => make(index)).join(' ')
const BOMBS: [string, string, string[]][] = [
  ['a body of a megabyte', `{ banks { nodes { id } } } #${'x'.repeat(1_000_000)}`, ['PAYLOAD_TOO_LARGE']],
  [
    'two thousand tokens',
    `{ ${many(1_100, () => 'banks { nodes { id } }')} }`,
    ['MALFORMED_REQUEST', 'PAYLOAD_TOO_LARGE'],
  ],
  ['three hundred aliases', `{ ${many(150, (i) => `a${i}: __typename`)} }`, ['OPERATION_TOO_LARGE']],
  [
    'ninety aliases of one field below another',
    `{ banks { nodes { ${many(90, (i) => `a${i}: name`)} } } }`,
    ['OPERATION_TOO_LARGE'],
  ],
  ['thirty root fields', `{ ${many(30, (i) => `b${i}: __typename`)} }`, ['OPERATION_TOO_LARGE']],
  [
    'a field with forty directives',
    `{ banks { nodes { id ${many(40, () => '@include(if: true)')} } } }`,
    ['OPERATION_TOO_LARGE', 'MALFORMED_REQUEST'],
  ],
  [
    'a depth of forty',
    `{ customer ${'{ consents { nodes '.repeat(20)}{ id }${'} }'.repeat(20)} }`,
    ['OPERATION_TOO_LARGE'],
  ],
  [
    'fragments that double twenty times',
    `{ ...F0 } ${many(20, (i) => `fragment F${i} on Query { ...F${i + 1} ...F${i + 1} }`)} fragment F20 on Query { banks { nodes { id } } }`,
    ['OPERATION_TOO_LARGE'],
  ],
  ['a fragment within itself', '{ ...F } fragment F on Query { banks { nodes { id } } ...F }', ['MALFORMED_REQUEST']],
  [
    'fields that all must be compared',
    `{ ${many(14, () => `banks { nodes { ${many(14, (i) => `x: name y${i}: id`)} } }`)} }`,
    ['OPERATION_TOO_LARGE', 'MALFORMED_REQUEST'],
  ],
  [
    'introspection that comes back to itself',
    `{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }`,
    ['MALFORMED_REQUEST', 'OPERATION_TOO_LARGE'],
  ],
  [
    'twenty-one operations',
    many(21, (i) => `query Q${i} { banks { nodes { id } } }`),
    ['OPERATION_TOO_LARGE', 'MALFORMED_REQUEST'],
  ],
  ['a text that never ends', '{ banks { nodes { id } }'.repeat(300), ['MALFORMED_REQUEST']],
]

describe('a bomb', () => {
  /** Sends the document with four other requests, which must be served. Returns its own answer. */
  async function sendAmongOthers(text: string): Promise<Answer> {
    const [answer, ...neighbours] = await Promise.all([
      query(text),
      ...Array.from({ length: 4 }, () => query('{ banks { nodes { id } } }')),
    ])
    expect(neighbours.every(({ body }) => body.errors === undefined)).toBe(true)
    return answer
  }

  test.each(BOMBS)(
    '%s is refused for at most ten times the cost of a harmless document, and other requests are served',
    async (_name, text, codes) => {
      const harmless = harmlessDocument(10_000)
      const bound = 10 * (await leastCpuUs((run) => sendAmongOthers(`${harmless}#${run}`)))
      const cost = await leastCpuUs(async () => expect(codes).toContain(codeOf(await sendAmongOthers(text))), bound)
      expect(cost).toBeLessThan(bound)
      expect((await fetch(`${gateway.issuer}/livez`)).status).toBe(200)
    },
  )

  test('an array of requests in one body is refused', async () => {
    const answer = await post(
      JSON.stringify([{ query: '{ banks { nodes { id } } }' }, { query: '{ banks { nodes { id } } }' }]),
    )
    expect([answer.status, codeOf(answer)]).toEqual([400, 'MALFORMED_REQUEST'])
  })

  test('nested pages are estimated with the values of the variables, and refused before execution', async () => {
    const text = `query ($n: Int) { customer { accounts(first: $n) { nodes { alerts(first: $n) { nodes { bank { outages { startsAt } } } } } } } }`
    gateway.sent.length = 0
    const refused = await post(JSON.stringify({ query: text, variables: { n: 100 } }), {}, token)
    expect([refused.status, codeOf(refused)]).toEqual([400, 'OPERATION_TOO_LARGE'])
    const small = await post(JSON.stringify({ query: text, variables: { n: 2 } }), {}, token)
    expect(small.body.errors).toBeUndefined()
    expect(gateway.sent).toEqual([])
  })
})

describe('what is spent', () => {
  const LIMIT = '{ rateLimit { limit remaining customerLimit customerRemaining resetsAt } }'
  const cost = ({ body }: Answer) =>
    (body as unknown as { extensions: { cost: { requested: number; used: number; remaining: number } } }).extensions
      .cost

  test('every response states reserved, used and remaining points, and unused points are refunded', async () => {
    // Points are counted by the minute: none ends during the test.
    await gateway.withStoppedClock(async () => {
      const first = cost(await query('{ customer { accounts(first: 100) { nodes { id bank { id } } } } }', token))
      expect(first.requested).toBeGreaterThan(first.used)
      const second = cost(await query('{ customer { accounts(first: 100) { nodes { id bank { id } } } } }', token))
      expect(first.remaining - second.remaining).toBe(second.used)
      expect((await query(LIMIT, token)).body.data!['rateLimit']).toMatchObject({
        limit: 600_000,
        customerLimit: 6_000,
      })
    })
  })

  test('a points budget ends per client and per customer, and the error states the seconds to wait', async () => {
    const { clients } = gateway.app.services
    const bearer = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    await clients.update('admin', 'chatterbox-bearer', { pointsPerCustomerPerMinute: 20 })
    const until = async (caller: Token): Promise<Answer> =>
      eventually('the limit', async () => {
        const answer = await query('{ customer { accounts { nodes { id } } } }', caller)
        return answer.status === 429 && answer
      })
    const limited = await until(bearer)
    expect(codeOf(limited)).toBe('RATE_LIMITED')
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(Number(limited.headers.get('retry-after'))).toBeLessThanOrEqual(60)
    const other = await gateway.customer('cleo', ['rheinbank'], { clientId: 'chatterbox-bearer' })
    expect((await query('{ customer { id } }', other)).status).toBe(200)
    // A minute later there is as much as before.
    gateway.forward(61_000)
    expect((await query('{ customer { id } }', await gateway.renew(bearer, 'chatterbox-bearer'))).status).toBe(200)
    await clients.update('admin', 'chatterbox-bearer', { pointsPerMinute: 600_000, pointsPerCustomerPerMinute: 6_000 })
  })

  test('a points budget is shared by all processes, and concurrent requests never exceed it', async () => {
    // Points are counted by the minute: none ends during the test.
    await gateway.withStoppedClock(async () => {
      const { quotas } = gateway.app.services.clients
      const caller = {
        kind: 'CLIENT' as const,
        tokenType: 'DPoP' as const,
        clientId: 'nobody-in-particular',
        scopes: new Set<never>(),
        quota: { pointsPerMinute: 100, pointsPerCustomerPerMinute: 10 },
        registeredOnly: false,
      }
      const { createQuotas } = await import('../../src/modules/clients/quota.ts')
      const { quotaStore } = await import('../../src/modules/clients/store.ts')
      const { openDatabase } = await import('../../src/storage/database.ts')
      const database = openDatabase(gateway.database.url, 4)
      const elsewhere = createQuotas(quotaStore(database), { clock: systemClock }, { record: () => undefined })
      const took = await Promise.allSettled(
        Array.from({ length: 80 }, async (_, index) => (index % 2 === 0 ? quotas : elsewhere).charge(caller, 3)),
      )
      const granted = took.filter(({ status }) => status === 'fulfilled').length
      expect(granted * 3).toBeLessThanOrEqual(100)
      expect(granted * 3).toBeGreaterThan(80)
      await database.close()
    })
  })
})

describe('load shedding', () => {
  test('an overloaded gateway immediately responds with 503, and still accepts events of banks', async () => {
    gateway.forward(6 * 3_600_000)
    const fresh = await gateway.renew(token)
    let release: () => void = () => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    gateway.intercept = (request) =>
      request.url.endsWith('/balances') ? held.then(() => ({ status: 503, headers: {}, text: '' })) : undefined
    // More than there is room for, so that whoever comes late finds it full as well.
    const stuck = Array.from({ length: 40 }, () =>
      gateway.ask(fresh, '{ customer { accounts { nodes { balances(detail: BAND) { __typename } } } } }'),
    )
    const refused = await eventually('a refusal', async () => {
      const answer = await query('{ banks { nodes { id } } }')
      return answer.status === 503 && answer
    })
    expect(codeOf(refused)).toBe('OVERLOADED')
    expect(refused.headers.get('retry-after')).toBe('1')
    expect(refused.tookMs).toBeLessThan(2_000)
    expect(await gateway.alert('northbank', { customer: 'ada', type: 'NEW_SIGN_IN' })).toEqual([202])
    expect((await fetch(`${gateway.issuer}/livez`)).status).toBe(200)
    release()
    gateway.intercept = undefined
    await Promise.all(stuck)
    expect((await query('{ banks { nodes { id } } }')).status).toBe(200)
  })

  /** How many of the samples were taken so far, and whether a request is let in. */
  const watched = (times: readonly number[], after: number) => {
    let taken = 0
    const shedding = createLoadShedder(10, {
      ...systemTimers,
      monotonicMs: () => times[taken++] ?? times.at(-1)! + (taken - times.length) * after,
    })
    const letsIn = (): boolean => {
      try {
        shedding.acquire()()
        return true
      } catch {
        return false
      }
    }
    shedding.start()
    return { shedding, letsIn, taken: () => taken }
  }

  test('a process whose event loop is delayed refuses requests', async () => {
    const { shedding, letsIn } = watched([0], 5_000)
    expect(letsIn()).toBe(true)
    await eventually('the refusal', () => Promise.resolve(!letsIn()))
    shedding.stop()
  })

  test('a single stall of the event loop causes no refusal', async () => {
    const { shedding, letsIn, taken } = watched([0, 5_000], 100)
    for (const samples of [1, 2, 3, 4]) {
      await eventually('a sample', () => Promise.resolve(taken() >= samples))
      expect(letsIn()).toBe(true)
    }
    shedding.stop()
  })
})

describe('a socket that is slow', () => {
  const closedAfterMs = (send: (socket: Socket) => void): Promise<number> => {
    const { hostname, port } = new URL(gateway.issuer)
    const began = patientTimers.monotonicMs()
    return new Promise((resolve) => {
      const socket = connect(Number(port), hostname, () => send(socket))
      socket.on('error', () => undefined)
      socket.resume().on('close', () => resolve(patientTimers.monotonicMs() - began))
    })
  }
  const start = () => `POST /graphql HTTP/1.1\r\nHost: ${new URL(gateway.issuer).host}\r\n`

  test('a connection that is slow in its headers, in its body or after a response is closed', async () => {
    const [headers, body, idle] = await Promise.all([
      closedAfterMs((socket) => socket.write(start())),
      closedAfterMs((socket) =>
        socket.write(`${start()}Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{`),
      ),
      closedAfterMs((socket) => socket.write(`GET /livez HTTP/1.1\r\nHost: x\r\n\r\n`)),
    ])
    expect(headers).toBeLessThan(14_000)
    expect(body).toBeLessThan(19_000)
    expect(idle).toBeLessThan(9_000)
  })
})

describe('a page of another origin', () => {
  const preflight = (origin: string) =>
    fetch(`${gateway.issuer}/graphql`, {
      method: 'OPTIONS',
      headers: { origin, 'access-control-request-method': 'POST' },
    })

  test('a page of an origin that a client registered can read the responses of that client only', async () => {
    const own = new URL(gateway.sandbox.platform).origin
    const allowed = await preflight(own)
    expect(allowed.status).toBe(204)
    expect(allowed.headers.get('access-control-allow-origin')).toBe(own)
    expect(allowed.headers.get('access-control-allow-headers')).toContain('dpop')
    expect(allowed.headers.get('access-control-allow-credentials')).toBeNull()
    for (const origin of ['https://evil.example', 'null', `${own}.evil.example`]) {
      const refused = await preflight(origin)
      expect(refused.headers.get('access-control-allow-origin')).toBeNull()
    }
    const ask = (origin: string, caller?: Token) => post('{"query":"{ banks { nodes { id } } }"}', { origin }, caller)
    const fresh = await gateway.customer('cleo', ['rheinbank'])
    expect((await ask(own, fresh)).headers.get('access-control-allow-origin')).toBe(own)
    expect((await ask('https://evil.example', fresh)).headers.get('access-control-allow-origin')).toBeNull()
    const admin = await gateway.own('admin', 'clients:manage')
    expect((await ask(own, admin)).headers.get('access-control-allow-origin')).toBeNull()
    // It can read why it was refused, too.
    const unknown = await post('{"query":"{ banks { nodes { id } } }"}', {
      origin: own,
      authorization: 'Bearer nobody-knows-this-one',
    })
    expect([unknown.status, unknown.headers.get('access-control-allow-origin')]).toEqual([401, own])
  })
})

describe('a page of another origin at the token endpoint', () => {
  test('the token endpoint can be called from an origin that the client itself registered, and from no other', async () => {
    const ask = async (origin: string) => {
      const answer = await fetch(`${gateway.issuer}/oauth/token`, {
        method: 'POST',
        headers: { origin },
        body: new URLSearchParams({ grant_type: 'client_credentials', client_id: 'chatterbox' }),
      })
      return answer.headers.get('access-control-allow-origin')
    }
    expect(await ask('https://evil.example')).toBeNull()
    expect(await ask(new URL(gateway.sandbox.platform).origin)).toBe(new URL(gateway.sandbox.platform).origin)
  })
})

describe('a loading cache', () => {
  const memory = (trusted = () => true, ttlMs = 1_000, now = () => new Date()) =>
    createLoadingCache<number>({ clock: { now }, maxBytes: 2_200, bytesOf: () => 900, ttlMs, coherence: trusted })

  test('a cache never stores a value whose load began before its invalidation', async () => {
    const remembered = memory()
    let give: (value: number) => void = () => undefined
    const early = remembered.get('a', () => new Promise((resolve) => (give = resolve)))
    remembered.invalidate('a')
    give(1)
    expect(await early).toBe(1)
    expect(await remembered.get('a', () => Promise.resolve(2))).toBe(2)
    expect(remembered.get('a', () => Promise.resolve(3))).toBe(2)
  })

  test('a cache shares one load per key, is limited in size and age, and does not store failures', async () => {
    let looked = 0
    let at = 0
    const remembered = memory(
      () => true,
      1_000,
      () => new Date(at),
    )
    const look = () => Promise.resolve(++looked)
    await Promise.all([remembered.get('a', look), remembered.get('a', look)])
    expect(looked).toBe(1)
    await remembered.get('b', look)
    await remembered.get('c', look)
    expect(await remembered.get('a', look)).toBe(4)
    at = 1_001
    expect(await remembered.get('a', look)).toBe(5)
    await expect(remembered.get('d', () => Promise.reject(new Error('x')))).rejects.toThrow('x')
    expect(await remembered.get('d', look)).toBe(6)
  })

  test('a cache evicts its oldest entry first, also after invalidations and renewals', () => {
    const remembered = memory()
    const put = (...keys: string[]) => keys.forEach((key, index) => remembered.put(key, index, remembered.epoch()))
    const known = (...keys: string[]) => keys.filter((key) => remembered.getIfPresent(key) !== undefined)
    put('a', 'b', 'a', 'c')
    expect(known('a', 'b', 'c')).toEqual(['a', 'c'])
    put('d', 'c', 'e')
    expect(known('a', 'b', 'c', 'd', 'e')).toEqual(['c', 'e'])
    remembered.invalidateAll()
    put('f', 'g', 'f', 'h')
    expect(known('e', 'f', 'g', 'h')).toEqual(['f', 'h'])
  })

  test('a cache stores nothing while it may miss signals', async () => {
    let hears = true
    const remembered = memory(() => hears)
    await remembered.get('a', () => Promise.resolve(1))
    hears = false
    expect(await remembered.get('a', () => Promise.resolve(2))).toBe(2)
  })
})
