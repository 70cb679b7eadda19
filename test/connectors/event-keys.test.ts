import { generateKeyPairSync, randomUUID } from 'node:crypto'
import { SignJWT } from 'jose'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { planRequests, registrationFaults, resolveOauthProfile, STANDARDS } from '../../src/connectors/index.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { eventTools } from '../support/event-tools.ts'
import { ok } from '../support/scripted-bank.ts'
import { ADDRESS, codeOf, EXAMPLES } from '../support/standards.ts'

const KEYS_URL = 'https://keystore.directory.example/organisation/keys.jwks'
const EVENTS_URL = 'https://gateway.example/bank-events/cnct_1'
const SECOND = 1_000
const keyPair = (kid: string) => {
  const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  return { kid, privateKey, jwk: { ...publicKey.export({ format: 'jwk' }), kid, use: 'sig' } }
}
const [FIRST, SECOND_KEY, STRANGER] = [keyPair('first'), keyPair('second'), keyPair('stranger')]
const parse = (events: Record<string, unknown>) =>
  STANDARDS.OBIE.registration(ADDRESS).parse({
    ...EXAMPLES.OBIE.registration,
    events: { issuer: 'https://bank.example', ...events },
  })

let nowMs: number
let sent: OutboundRequest[]
let respond: () => OutboundResponse | Promise<OutboundResponse>
let tools: ReturnType<typeof eventTools>
beforeEach(() => {
  nowMs = Date.now()
  sent = []
  respond = () => ok({ keys: [FIRST.jwk] })
  tools = eventTools(
    (request) => {
      sent.push(request)
      return respond()
    },
    { now: () => new Date(nowMs) },
  )
})

/** An event that is signed with this key, which it names by `kid`. */
const sign = ({ privateKey, kid }: typeof FIRST, header: Record<string, unknown> = {}): Promise<string> =>
  new SignJWT({
    jti: randomUUID(),
    events: {
      'urn:guichet:events:security-alert': {
        account: 'a1',
        type: 'CARD_SECURITY',
        occurred_at: Math.floor(nowMs / SECOND),
      },
    },
  })
    .setProtectedHeader({ alg: 'ES256', typ: 'JOSE', kid, ...header })
    .setIssuer('https://bank.example')
    .setAudience(EVENTS_URL)
    .setIssuedAt(Math.floor(nowMs / SECOND))
    .sign(privateKey)

function deliver(body: string, members: Record<string, unknown> = { keysUrl: KEYS_URL }): Promise<string> {
  const received = { contentType: 'application/jwt', headers: {}, body, url: EVENTS_URL, audience: EVENTS_URL }
  return codeOf(STANDARDS.OBIE.readEvent(received, parse(members), tools))
}
const read = async (...event: Parameters<typeof sign>): Promise<string> => deliver(await sign(...event))

describe('event keys that a bank publishes', () => {
  test('published keys are fetched from the registered address and used for an hour', async () => {
    for (let count = 0; count < 3; count++) expect(await read(FIRST)).toBe('NONE')
    expect(sent.map(({ method, url }) => [method, url])).toEqual([['GET', KEYS_URL]])
    expect(Object.keys(sent[0]!.headers!)).toEqual(['accept'])
    nowMs += 3_601 * SECOND
    expect(await read(FIRST)).toBe('NONE')
    expect(sent).toHaveLength(2)
  })

  test('a new key is found by its id, and a withdrawn key is refused after an hour', async () => {
    expect(await read(FIRST)).toBe('NONE')
    respond = () => ok({ keys: [SECOND_KEY.jwk] })
    nowMs += 60 * SECOND
    expect(await read(SECOND_KEY)).toBe('NONE')
    expect(sent).toHaveLength(2)
    nowMs += 60 * SECOND
    expect(await read(FIRST)).toBe('EVENT_REJECTED')
  })

  test('events that name unknown keys cause one request in thirty seconds, and no other event suffers', async () => {
    expect(await read(FIRST)).toBe('NONE')
    nowMs += 31 * SECOND
    expect(await read(STRANGER)).toBe('EVENT_REJECTED')
    for (let count = 0; count < 20; count++) expect(await read(keyPair(`forged-${count}`))).toBe('BANK_UNAVAILABLE')
    expect(await read(FIRST)).toBe('NONE')
    expect(sent).toHaveLength(2)
  })

  test('a forged event cannot make the gateway reject an event with a new key for good', async () => {
    expect(await read(STRANGER)).toBe('EVENT_REJECTED')
    respond = () => ok({ keys: [FIRST.jwk, SECOND_KEY.jwk] })
    expect(await read(SECOND_KEY)).toBe('BANK_UNAVAILABLE')
    nowMs += 31 * SECOND
    expect(await read(SECOND_KEY)).toBe('NONE')
  })

  test('events that arrive together share one request', async () => {
    const gate = Promise.withResolvers<OutboundResponse>()
    respond = () => gate.promise
    const tokens = await Promise.all([FIRST, FIRST, STRANGER].map((key) => sign(key)))
    const reads = tokens.map((token) => deliver(token))
    await new Promise((resolve) => setImmediate(resolve))
    gate.resolve(ok({ keys: [FIRST.jwk] }))
    expect(await Promise.all(reads)).toEqual(['NONE', 'NONE', 'EVENT_REJECTED'])
    expect(sent).toHaveLength(1)
  })

  test.each<[string, () => OutboundResponse]>([
    [
      'a redirect',
      () => ({ ...ok({ keys: [FIRST.jwk] }), status: 302, headers: { location: 'https://evil.example' } }),
    ],
    ['an error with keys', () => ({ ...ok({ keys: [FIRST.jwk] }), status: 500 })],
    ['no key set', () => ok('<html>')],
    ['null', () => ok('null')],
    ['too many keys', () => ok({ keys: Array.from({ length: 101 }, () => FIRST.jwk) })],
  ])('%s at the address of the keys rejects no event and is requested again later', async (_what, answer) => {
    respond = answer
    expect(await read(FIRST)).toBe('BANK_UNAVAILABLE')
    expect(await read(FIRST)).toBe('BANK_UNAVAILABLE')
    expect(sent).toHaveLength(1)
    respond = () => ok({ keys: [FIRST.jwk] })
    nowMs += 31 * SECOND
    expect(await read(FIRST)).toBe('NONE')
  })

  test('keys that were published once are not used for longer than an hour while their address fails', async () => {
    expect(await read(FIRST)).toBe('NONE')
    respond = () => ({ ...ok(''), status: 503 })
    nowMs += 3_601 * SECOND
    expect(await read(FIRST)).toBe('BANK_UNAVAILABLE')
  })

  test.each<[string, unknown]>([
    ['for encryption', { ...FIRST.jwk, use: 'enc' }],
    ['of a symmetric algorithm', { kty: 'oct', k: 'c2VjcmV0', kid: 'first' }],
    ['of a private key', FIRST.privateKey.export({ format: 'jwk' })],
    ['of another owner under the same id', { ...STRANGER.jwk, kid: 'first' }],
    ['twice under the same id', [FIRST.jwk, { ...STRANGER.jwk, kid: 'first' }]],
  ])('a published key %s verifies nothing', async (_what, jwk) => {
    respond = () => ok({ keys: Array.isArray(jwk) ? jwk : [jwk, SECOND_KEY.jwk] })
    expect(await read(FIRST)).toBe('EVENT_REJECTED')
  })

  test('keys that are nearly an hour old are used while their address does not respond to the next request', async () => {
    expect(await read(FIRST)).toBe('NONE')
    const gate = Promise.withResolvers<OutboundResponse>()
    respond = () => gate.promise
    nowMs += 55 * 60 * SECOND
    for (let count = 0; count < 20; count++) expect(await read(FIRST)).toBe('NONE')
    expect(sent).toHaveLength(2)
    gate.resolve(ok({ keys: [FIRST.jwk, SECOND_KEY.jwk] }))
    await new Promise((resolve) => setImmediate(resolve))
    nowMs += 30 * 60 * SECOND
    expect(await read(SECOND_KEY)).toBe('NONE')
    expect(sent).toHaveLength(2)
  })

  test('a failed refresh of keys that are in use rejects no event and is repeated after thirty seconds', async () => {
    expect(await read(FIRST)).toBe('NONE')
    respond = () => ({ ...ok(''), status: 503 })
    nowMs += 55 * 60 * SECOND
    for (let count = 0; count < 3; count++) expect(await read(FIRST)).toBe('NONE')
    nowMs += 31 * SECOND
    expect(await read(FIRST)).toBe('NONE')
    expect(sent).toHaveLength(3)
  })

  test('four events at most wait for an address that does not respond, and others with a known key do not', async () => {
    expect(await read(FIRST)).toBe('NONE')
    const gate = Promise.withResolvers<OutboundResponse>()
    respond = () => gate.promise
    nowMs += 31 * SECOND
    const forged = await Promise.all(Array.from({ length: 10 }, () => sign(STRANGER)))
    const outcomes: string[] = []
    const reads = forged.map((token) => deliver(token).then((code) => outcomes.push(code)))
    await vi.waitFor(() => expect(outcomes).toEqual(Array.from({ length: 6 }, () => 'BANK_UNAVAILABLE')))
    expect(await read(FIRST)).toBe('NONE')
    gate.resolve(ok({ keys: [FIRST.jwk] }))
    await Promise.all(reads)
    expect(outcomes.slice(6)).toEqual(Array.from({ length: 4 }, () => 'EVENT_REJECTED'))
  })

  test('an unknown key counts against the sender of its event, and missing keys do not', async () => {
    const failureOf = async (key: typeof FIRST): Promise<unknown> =>
      STANDARDS.OBIE.readEvent(
        {
          contentType: 'application/jwt',
          headers: {},
          body: await sign(key),
          url: EVENTS_URL,
          audience: EVENTS_URL,
        },
        parse({ keysUrl: KEYS_URL }),
        tools,
      ).catch((error: unknown) => error)
    const working = respond
    respond = () => ({ ...ok(''), status: 503 })
    expect(await failureOf(FIRST)).toMatchObject({ code: 'BANK_UNAVAILABLE', countsAgainstSender: undefined })
    respond = working
    nowMs += 31 * SECOND
    expect(await read(FIRST)).toBe('NONE')
    expect(await failureOf(STRANGER)).toMatchObject({ code: 'BANK_UNAVAILABLE', countsAgainstSender: true })
  })

  test('keys of an address that the registration no longer names verify nothing', async () => {
    const otherUrl = 'https://keystore.directory.example/organisation/new.jwks'
    expect(await read(FIRST)).toBe('NONE')
    respond = () => ok({ keys: [SECOND_KEY.jwk] })
    expect(await deliver(await sign(FIRST), { keysUrl: otherUrl })).toBe('EVENT_REJECTED')
    expect(await deliver(await sign(SECOND_KEY), { keysUrl: otherUrl })).toBe('NONE')
    expect(sent.map(({ url }) => url)).toEqual([KEYS_URL, otherUrl])
  })

  test('a late response of an address that the registration no longer names provides no keys', async () => {
    const gate = Promise.withResolvers<OutboundResponse>()
    respond = () => gate.promise
    const late = read(FIRST)
    await vi.waitFor(() => expect(sent).toHaveLength(1))
    respond = () => ok({ keys: [SECOND_KEY.jwk] })
    const members = { keysUrl: 'https://keystore.directory.example/organisation/new.jwks' }
    expect(await deliver(await sign(SECOND_KEY), members)).toBe('NONE')
    gate.resolve(ok({ keys: [FIRST.jwk] }))
    await late
    expect(await deliver(await sign(SECOND_KEY), members)).toBe('NONE')
    nowMs += 31 * SECOND
    expect(await deliver(await sign(FIRST), members)).toBe('EVENT_REJECTED')
  })

  test('keys of an algorithm that the registration no longer accepts are fetched again', async () => {
    expect(await deliver(await sign(FIRST), { keysUrl: KEYS_URL, acceptsRs256: true })).toBe('NONE')
    expect(await read(FIRST)).toBe('NONE')
    expect(sent).toHaveLength(2)
  })

  test('an event must name its key if the keys are published', async () => {
    expect(await read(FIRST, { kid: undefined })).toBe('EVENT_REJECTED')
    expect(sent).toEqual([])
  })
})

describe('the import of event keys', () => {
  afterEach(() => vi.restoreAllMocks())

  /** Reads an event of the bank whose registration states these keys, as it is loaded anew for each event. */
  const readStated = async (key: typeof FIRST, keys: readonly (typeof FIRST)[] = [FIRST]) => {
    const registration = parse({ keys: { keys: keys.map(({ jwk }) => jwk) } })
    const body = await sign(key)
    const received = { contentType: 'application/jwt', headers: {}, body, url: EVENTS_URL, audience: EVENTS_URL }
    return codeOf(STANDARDS.OBIE.readEvent(received, registration, tools))
  }

  test('keys that did not change are imported once, wherever they come from', async () => {
    const importKey = vi.spyOn(crypto.subtle, 'importKey')
    for (let count = 0; count < 3; count++) expect(await readStated(FIRST)).toBe('NONE')
    expect(importKey).toHaveBeenCalledTimes(1)
    for (let count = 0; count < 3; count++) expect(await read(FIRST)).toBe('NONE')
    expect(importKey).toHaveBeenCalledTimes(2)
  })

  test('keys that a new registration no longer states verify nothing, although they were imported', async () => {
    expect(await readStated(FIRST)).toBe('NONE')
    expect(await readStated(FIRST, [SECOND_KEY])).toBe('EVENT_REJECTED')
    expect(await readStated(SECOND_KEY, [SECOND_KEY])).toBe('NONE')
  })
})

describe('the address of event keys in a registration', () => {
  const faultsOf = (events: Record<string, unknown>) => {
    const registration = parse(events)
    return registrationFaults(
      registration,
      resolveOauthProfile(STANDARDS.OBIE.oauthDefaults, registration.oauth),
      STANDARDS.OBIE.resourceServers(registration),
    ).map(({ path, message }) => `${path.join('.')} ${message}`)
  }

  test('a registration has the keys or their address, and not both', () => {
    const keys = { keys: [FIRST.jwk] }
    expect(faultsOf({ keys })).toEqual([])
    expect(faultsOf({ keysUrl: KEYS_URL })).toEqual([])
    for (const members of [{}, { keys, keysUrl: KEYS_URL }])
      expect(faultsOf(members)).toEqual(['events.keys must be present, or else `keysUrl`, but not both'])
  })

  test('the address may be on any public host, and not below the account API', () => {
    expect(faultsOf({ keysUrl: 'https://api.bank.example/base/accounts' })).toEqual([
      'events.keysUrl must not be below the account API (apiBase, eventsApi)',
    ])
    for (const keysUrl of ['http://directory.example/keys', 'https://10.0.0.1/keys', 'https://user@directory.example/'])
      expect(() => parse({ keysUrl }), keysUrl).toThrow()
  })

  test('the plan of a registration shows the request for the keys', () => {
    const plan = planRequests(STANDARDS.OBIE, parse({ keysUrl: KEYS_URL }))
    expect(plan.filter(({ purpose }) => purpose === 'keys of events')).toEqual([
      { purpose: 'keys of events', method: 'GET', url: KEYS_URL, authentication: 'none', headers: [], parameters: [] },
    ])
  })
})
