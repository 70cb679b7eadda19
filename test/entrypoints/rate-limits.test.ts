import { randomBytes, randomUUID } from 'node:crypto'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createGuard, type GuardDependencies } from '../../src/entrypoints/oauth/guard.ts'
import { createAccessLimits } from '../../src/kernel/access-limits.ts'
import { systemClock, systemTimers } from '../../src/kernel/clock.ts'
import { createLog } from '../../src/kernel/log.ts'
import { createEventCounter } from '../../src/kernel/event-counter.ts'
import { signEvent } from '../support/bank-keys.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

/** What an address may fail with at once; each second one comes back. */
const FAILURES = 600
/** The same for access tokens at the GraphQL endpoint. */
const BAD_TOKENS = 3_000

/** Where banks send events, below a connector's address. */
const EVENT_PATHS = ['', '/event-notifications', '/notifications', '/arrangements/revoke']

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_TRUSTED_PROXIES: '127.0.0.1' } })
  // Time stands still unless a test moves it, so that nothing comes back meanwhile.
  vi.useFakeTimers({ toFake: ['Date'], now: Date.now() })
})
afterAll(() => gateway.close())

const silent = createLog('error', systemClock.now, () => undefined)
const from = (address: string) => ({ 'x-forwarded-for': address })

async function all<T>(count: number, one: (index: number) => Promise<T>): Promise<T[]> {
  const found: T[] = []
  let next = 0
  const sender = async (): Promise<void> => {
    for (let index = next++; index < count; index = next++) found.push(await one(index))
  }
  await Promise.all(Array.from({ length: 16 }, sender))
  return found
}

/** An assertion in the name of a client, signed by a key that is not the client's. */
async function forgedAssertion(clientId: string): Promise<string> {
  const { privateKey } = await generateKeyPair('ES256')
  const now = Math.floor(Date.now() / 1_000)
  return new SignJWT({ iss: clientId, sub: clientId, aud: gateway.issuer, jti: randomUUID(), iat: now, exp: now + 60 })
    .setProtectedHeader({ alg: 'ES256', kid: gateway.client(clientId).key.kid! })
    .sign(privateKey)
}
const asClient = (assertion: string) =>
  new URLSearchParams({
    grant_type: 'client_credentials',
    client_assertion_type: 'urn:ietf:params:oauth:client-assertion-type:jwt-bearer',
    client_assertion: assertion,
  })
async function post(path: string, body: string | URLSearchParams, headers: Record<string, string>): Promise<Response> {
  return fetch(`${gateway.issuer}${path}`, { method: 'POST', body, headers })
}
const statusesOf = (statuses: readonly number[]): number[] => [...new Set(statuses)].sort()

describe('an address that proves nothing at the authorization server', () => {
  const attacker = '203.0.113.66'

  test('an address whose client authentication keeps failing gets 429, and the named client is not limited', async () => {
    const body = asClient(await forgedAssertion('chatterbox'))
    const tried = await all(FAILURES + 40, async () => (await post('/oauth/token', body, from(attacker))).status)
    expect(statusesOf(tried)).toEqual([401, 429])
    const refused = await post('/oauth/token', body, from(attacker))
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(await refused.json()).toEqual({
      error: 'temporarily_unavailable',
      error_description: expect.stringMatching(/^too many requests; try again in \d+ s$/) as string,
    })
    expect((await gateway.own('chatterbox', 'webhooks:manage')).accessToken).toBeTruthy()
    expect((await post('/oauth/token', body, from('203.0.113.67'))).status).toBe(401)
  })

  test.each(['/oauth/par', '/oauth/token', '/oauth/revoke', '/oauth/introspect'])(
    'an address whose client authentication keeps failing is refused at %s as well',
    async (path) => {
      expect((await post(path, 'a=b', from(attacker))).status).toBe(429)
    },
  )

  test('an address whose client authentication keeps failing is refused at grants and gets a page at /authorize', async () => {
    const grants = await fetch(`${gateway.issuer}/oauth/grants/x`, { headers: from(attacker) })
    expect(grants.status).toBe(429)
    const page = await fetch(`${gateway.issuer}/oauth/authorize?client_id=chatterbox`, {
      headers: { ...from(attacker), accept: 'text/html' },
    })
    expect([page.status, page.headers.get('content-type')]).toEqual([429, 'text/html; charset=utf-8'])
    expect(await page.text()).toContain('Please try again in')
  })

  test('a rate-limited address is logged once and counted in the metrics', async () => {
    const before = gateway.log.length
    await all(50, () => post('/oauth/token', 'a=b', from(attacker)))
    const lines = gateway.log.slice(before).filter((line) => !/"level":"(debug|trace)"/.test(line))
    expect(lines).toEqual([])
    const metrics = await (await fetch(gateway.app.metricsUrl()!)).text()
    expect(
      Number(/^guichet_requests_rate_limited_total\{entrypoint="oauth"\} (\d+)$/m.exec(metrics)?.[1]),
    ).toBeGreaterThan(50)
  })

  test('failures of IPv6 addresses are counted per 64-bit network', async () => {
    const body = asClient(await forgedAssertion('chatterbox'))
    const host = () => `2001:db8:0:1:${randomBytes(2).toString('hex')}::${randomBytes(2).toString('hex')}`
    const tried = await all(FAILURES + 40, async () => (await post('/oauth/token', body, from(host()))).status)
    expect(statusesOf(tried)).toEqual([401, 429])
    expect((await post('/oauth/token', body, from('2001:db8:0:2::1'))).status).toBe(401)
  })

  test('a rate-limited address is served again after its waiting time', async () => {
    gateway.forward(120_000)
    expect((await post('/oauth/token', asClient(await forgedAssertion('chatterbox')), from(attacker))).status).toBe(401)
  })
})

describe('a client that proves who it is', () => {
  test('an authenticated client has its own limit, separate from its address and from other clients', async () => {
    const bearer: Token = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    const headers = { authorization: `Bearer ${bearer.accessToken}` }
    const ask = async () =>
      (await fetch(`${gateway.issuer}/oauth/grants/x`, { headers: { ...headers, ...from('203.0.113.70') } })).status
    const asked = await all(6_100, ask)
    expect(statusesOf(asked)).toEqual([403, 429])
    // Of sixteen at once, some are under way when the last one is spent.
    expect(asked.filter((status) => status === 403).length).toBeLessThan(6_000 + 16)
    // By its assertion, from another address, it is the same client.
    await expect(gateway.own('chatterbox-bearer', 'webhooks:manage')).rejects.toThrow(/temporarily_unavailable|429/)
    expect((await gateway.own('chatterbox', 'webhooks:manage')).accessToken).toBeTruthy()
    expect((await post('/oauth/token', 'a=b', from('203.0.113.70'))).status).toBe(400)
  })
})

describe('an address that guesses access tokens', () => {
  test('an address that guesses access tokens causes no more queries; known tokens and other addresses are served', async () => {
    let lookedUp = 0
    const { publicKey } = await generateKeyPair('ES256')
    const real = {
      kind: 'ClientCredentials',
      isValid: true,
      aud: 'https://g/graphql',
      clientId: 'c',
      scope: '',
      exp: 4e9,
    }
    const find = (value: string) => Promise.resolve(value === 'a-token-that-is-real' ? real : undefined)
    const client = {
      id: 'c',
      status: 'ACTIVE',
      tokenBinding: 'BEARER',
      scopes: [],
      keys: { keys: [await exportJWK(publicKey)] },
    }
    const { authenticate } = createGuard({
      provider: { AccessToken: { find: (value: string) => (lookedUp++, find(value)) }, ClientCredentials: { find } },
      clients: { find: () => client },
      signals: { coherence: () => 1, onSignal: () => () => undefined },
      world: { clock: systemClock },
      issuer: 'https://g',
      tokenLimits: createAccessLimits(
        'tokens',
        systemClock,
        createEventCounter({ log: silent, timers: systemTimers }, 'requests.rate_limited', () => undefined),
      ),
    } as unknown as GuardDependencies)
    const enter = (token: string, remoteAddress: string) =>
      authenticate({ headers: { authorization: `Bearer ${token}` }, remoteAddress } as never).then(
        ({ kind }) => kind,
        (error: unknown) => (error as { code: string }).code,
      )
    expect(await enter('a-token-that-is-real', '203.0.113.80')).toBe('CLIENT')
    const guess = () => enter(randomBytes(24).toString('base64url'), '203.0.113.80')
    for (let index = 0; index < 3_000; index++) expect(await guess()).toBe('UNAUTHENTICATED')
    lookedUp = 0
    for (let index = 0; index < 100; index++) expect(await guess()).toBe('RATE_LIMITED')
    expect(lookedUp).toBe(0)
    expect(await enter('a-token-that-is-real', '203.0.113.80')).toBe('CLIENT')
    expect(await enter('nobody-knows-this-one', '203.0.113.81')).toBe('UNAUTHENTICATED')
  })
})

describe('an address that sends bad access tokens to the GraphQL endpoint', () => {
  const attacker = '203.0.113.82'
  const query = (address: string, token = randomBytes(24).toString('base64url')) =>
    post('/graphql', '{"query":"{ banks { nodes { id } } }"}', {
      'content-type': 'application/json',
      authorization: `Bearer ${token}`,
      ...from(address),
    })
  const limited = async (): Promise<number> => {
    const metrics = await (await fetch(gateway.app.metricsUrl()!)).text()
    return Number(/^guichet_requests_rate_limited_total\{entrypoint="tokens"\} (\d+)$/m.exec(metrics)?.[1] ?? 0)
  }

  test('an address that sends invalid tokens beyond the limit gets 429; others and known tokens are served', async () => {
    // The client has spent its own requests above.
    gateway.forward(60_000)
    const bearer = await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer' })
    expect((await query(attacker, bearer.accessToken)).status).toBe(200)
    const before = await limited()
    const allowed = await all(BAD_TOKENS, async () => (await query(attacker)).status)
    expect(statusesOf(allowed)).toEqual([401])
    expect(await limited()).toBe(before)

    const refused = await query(attacker)
    expect(refused.status).toBe(429)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect(await refused.json()).toMatchObject({ errors: [{ extensions: { code: 'RATE_LIMITED' } }] })
    expect(await limited()).toBe(before + 1)
    expect((await query(attacker, bearer.accessToken)).status).toBe(200)
    expect((await query('203.0.113.83')).status).toBe(401)
  })
})

describe('an address that sends events which are not acceptable', () => {
  const headers = { 'content-type': 'application/secevent+jwt' }
  const signForged = async (): Promise<string> => {
    const { privateKey } = await generateKeyPair('ES256')
    return new SignJWT({}).setProtectedHeader({ alg: 'ES256', typ: 'secevent+jwt' }).sign(privateKey)
  }

  test('an address that sends invalid events gets 503, and the events of the named bank are still accepted', async () => {
    const { url, token } = await signEvent(gateway, 'northbank')
    const path = new URL(url).pathname
    const connectorId = path.split('/').at(-1)!
    const forged = await signForged()
    const before = gateway.log.length
    const countOf = async (code: string, connector: string): Promise<number> => {
      const metrics = await (await fetch(gateway.app.metricsUrl()!)).text()
      const line = `^guichet_bank_events_rejected_total\\{code="${code}",connector="${connector}"\\} (\\d+)$`
      return Number(new RegExp(line, 'm').exec(metrics)?.[1] ?? 0)
    }
    const rejectedBefore = await countOf('EVENT_REJECTED', connectorId)
    const unknownBefore = await countOf('NOT_FOUND', '')
    const send = () => post(path, forged, { ...headers, ...from('203.0.113.90') })
    const tried = await all(FAILURES + 40, async () => (await send()).status)
    expect(statusesOf(tried)).toEqual([400, 503])
    // The limit for events of all kinds has recovered, unlike that for failures.
    gateway.forward(20_000)
    for (let index = 0; index < 20; index++) expect((await send()).status).toBe(400)
    const refused = await send()
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    expect((await post(path, token, headers)).status).toBe(202)
    for (let index = 0; index < 5; index++)
      expect((await post(`/bank-events/cnct_${index}`, token, headers)).status).toBe(404)

    // 600, and twenty for the twenty seconds.
    expect(await countOf('EVENT_REJECTED', connectorId)).toBe(rejectedBefore + FAILURES + 20)
    // An id that somebody made up is no label.
    expect(await countOf('NOT_FOUND', '')).toBe(unknownBefore + 5)
    const lines = gateway.log.slice(before).filter((line) => !/"level":"(debug|trace)"/.test(line))
    expect(lines.filter((line) => line.includes('refused') && !line.includes('"bank_events.rejected"'))).toEqual([])
  })

  test.each(EVENT_PATHS)(
    'an address that fails too often at <connector>%s is refused at each URL of the connector',
    async (path) => {
      const own = new URL((await signEvent(gateway, 'northbank')).url).pathname
      const address = from(`203.0.113.${100 + EVENT_PATHS.indexOf(path)}`)
      const send = (to: string) => post(`${own}${to}`, 'x', { 'content-type': 'text/xml', ...address })
      const statuses = await all(FAILURES, async () => (await send(path)).status)
      expect(statusesOf(statuses)).toEqual([415])
      for (const other of EVENT_PATHS) {
        const refused = await send(other)
        expect([other, refused.status]).toEqual([other, 503])
        expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
      }
    },
  )

  test('an address that sends only wrong content types to unknown connectors gets 429', async () => {
    const send = () => post('/bank-events/cnct_1', '<event/>', { 'content-type': 'text/xml', ...from('203.0.113.91') })
    const statuses = await all(FAILURES + 40, async () => (await send()).status)
    expect(statusesOf(statuses)).toEqual([415, 429])
  })

  test('failures at other connectors never refuse the valid event of a bank behind the same address', async () => {
    const address = from('203.0.113.92')
    const forged = await signForged()
    const other = new URL((await signEvent(gateway, 'rheinbank')).url).pathname
    for (const path of [other, '/bank-events/cnct_1']) {
      await all(FAILURES + 20, () => post(path, forged, { ...headers, ...address }))
      const { url, token } = await signEvent(gateway, 'northbank')
      expect((await post(new URL(url).pathname, token, { ...headers, ...address })).status).toBe(202)
    }
    const refused = await post('/bank-events/cnct_1', forged, { ...headers, ...address })
    expect(refused.status).toBe(429)
  })

  test('authentic events that are only too old never refuse a fresh event of their bank', async () => {
    const address = from('203.0.113.93')
    const old = await signEvent(gateway, 'northbank', { claims: { iat: Math.floor(Date.now() / 1_000) - 8 * 86_400 } })
    const send = async (token: string) =>
      (await post(new URL(old.url).pathname, token, { ...headers, ...address })).status
    for (let round = 0; round < 3; round++) {
      expect(statusesOf(await all(500, () => send(old.token)))).toEqual([400])
      // The limit for events of all kinds recovers.
      gateway.forward(12_000)
    }
    expect(await send((await signEvent(gateway, 'northbank')).token)).toBe(202)
  })
})

describe('a proxy that is not trusted', () => {
  test('an untrusted proxy is logged once', async () => {
    const warnings = () => gateway.log.filter((line) => line.includes('"proxy.untrusted"'))
    expect(warnings()).toEqual([])
    // The trusted proxy had it from another one inside, which is not.
    for (let index = 0; index < 3; index++)
      await fetch(`${gateway.issuer}/livez`, { headers: from('198.51.100.7, 10.0.0.3') })
    expect(warnings()).toHaveLength(1)
  })
})

describe('a tally', () => {
  test('an event counter writes one line per code, and none without events', () => {
    const lines: unknown[] = []
    const log = createLog('info', systemClock.now, (line) => lines.push({ ...(JSON.parse(line) as object), at: '' }))
    const counted: Record<string, number> = {}
    const tally = createEventCounter({ log, timers: systemTimers }, 'bank_events.rejected', ({ code = '' }) => {
      counted[code] = (counted[code] ?? 0) + 1
    })
    for (let index = 0; index < 1_000; index++) tally.increment({ code: index < 990 ? 'EVENT_REJECTED' : 'NOT_FOUND' })
    tally.stop()
    tally.stop()
    const common = { at: '', level: 'info', event: 'bank_events.rejected' }
    expect(lines).toEqual([
      { ...common, code: 'EVENT_REJECTED', count: 990 },
      { ...common, code: 'NOT_FOUND', count: 10 },
    ])
    tally.increment({ code: 'NOT_FOUND' })
    expect(counted).toEqual({ EVENT_REJECTED: 990, NOT_FOUND: 11 })
  })
})
