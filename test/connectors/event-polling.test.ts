import { beforeEach, describe, expect, test } from 'vitest'
import { planRequests, STANDARDS, type PollEvents, type StandardId } from '../../src/connectors/index.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { urlFault } from '../../src/kernel/addresses.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'
import { ok } from '../support/scripted-bank.ts'
import { ADDRESS, codeOf, common, connect, EXAMPLES } from '../support/standards.ts'

const POLL_URL = 'https://auth.bank.example/ssf/poll?stream=1'
const NOTHING = { acknowledged: [], rejected: [] }
const STANDARD_IDS = Object.keys(STANDARDS) as StandardId[]

let respond: (request: OutboundRequest) => OutboundResponse
let tokenCount: number
beforeEach(() => {
  respond = () => ok({ sets: {} })
  tokenCount = 0
})

/** The poller of a bank with a queue, and what it sent. */
function poller(
  standard: StandardId = 'CDR',
  events: Record<string, unknown> = {},
  members: Record<string, unknown> = {},
): { poll: PollEvents; sent: OutboundRequest[]; polls: () => OutboundRequest[] } {
  const registration = { events: { ...common.events, pollUrl: POLL_URL, ...events }, ...members }
  const { bank, sent } = connect(
    standard,
    (request) => {
      if (request.url === POLL_URL) return respond(request)
      if (request.url.endsWith('/token')) {
        tokenCount++
        return ok({ access_token: `token-${tokenCount}`, token_type: 'Bearer', expires_in: 300 })
      }
      return ok({ issuer: common.authorizationServer, token_endpoint: `${common.authorizationServer}/token` })
    },
    registration,
  )
  return { poll: bank.pollEvents!, sent, polls: () => sent.filter(({ url }) => url === POLL_URL) }
}
const bodyOf = ({ body }: OutboundRequest): unknown => JSON.parse(body!)

describe('the queue of events of a bank', () => {
  test.each(STANDARD_IDS)(
    'a bank of %s is polled at the registered address with the token of the gateway',
    async (id) => {
      respond = () => ok({ sets: { 'j-1': 'token', 'j-2': 'other' }, moreAvailable: false })
      const { poll, polls } = poller(id)
      const events = await poll(NOTHING)
      expect(events.map(({ id: eventId, event }) => [eventId, event.body, event.contentType])).toEqual([
        ['j-1', 'token', 'application/jwt'],
        ['j-2', 'other', 'application/jwt'],
      ])
      expect(polls().map(({ method, headers }) => [method, headers!['authorization']])).toEqual([
        ['POST', 'Bearer token-1'],
      ])
      expect(bodyOf(polls()[0]!)).toEqual({ maxEvents: 50, returnImmediately: true, ack: [], setErrs: {} })
    },
  )

  test('a poll acknowledges what was stored, and reports what is invalid, by the ids of the bank', async () => {
    const { poll, polls } = poller()
    await poll({
      acknowledged: ['j-1', '__proto__'],
      rejected: [
        { id: 'j-2', err: 'invalid_state' },
        { id: '', err: 'invalid_request' },
      ],
    })
    const invalid = { err: 'invalid_request', description: 'the event is invalid' }
    expect(bodyOf(polls()[0]!)).toMatchObject({
      ack: ['j-1', '__proto__'],
      setErrs: { 'j-2': { ...invalid, err: 'invalid_state' }, '': invalid },
    })
  })

  test('an event under an id that none can have is reported to the bank, and not left in the queue for ever', async () => {
    const ids = ['', 'x'.repeat(257), 'x'.repeat(100_000)]
    respond = () => ok({ sets: Object.fromEntries([...ids, 'good'].map((id) => [id, 'token'])) })
    const events = await poller().poll(NOTHING)
    expect(events.map(({ id, event }) => [id, event.body])).toEqual([...ids.map((id) => [id, '']), ['good', 'token']])
  })

  test('the token is used again, and another one is requested with the stated scope after a refusal', async () => {
    const { poll, sent, polls } = poller('CDR', { scope: 'ssf.read ssf.manage' })
    await poll(NOTHING)
    await poll(NOTHING)
    expect(tokenCount).toBe(1)
    respond = () => ({ ...ok(''), status: 401 })
    expect(await codeOf(poll(NOTHING))).toBe('BANK_REFUSED')
    respond = () => ok({ sets: {} })
    await poll(NOTHING)
    expect(polls().map(({ headers }) => headers!['authorization'])).toEqual([
      'Bearer token-1',
      'Bearer token-1',
      'Bearer token-1',
      'Bearer token-2',
    ])
    const scopes = sent
      .filter(({ url }) => url.endsWith('/token'))
      .map(({ body }) => new URLSearchParams(body).get('scope'))
    expect(scopes).toEqual(['ssf.read ssf.manage', 'ssf.read ssf.manage'])
  })

  test('a bank that knows the gateway by its certificate gets no token', async () => {
    const members = { sca: 'REDIRECT', clientToken: false, mutualTls: true }
    const { poll, polls } = poller('BERLIN_GROUP', {}, members)
    await poll(NOTHING)
    expect(polls()[0]!.headers).not.toHaveProperty('authorization')
    expect(tokenCount).toBe(0)
  })

  test.each<[string, OutboundResponse, string]>([
    ['HTML', ok('<html>down</html>'), 'BANK_RESPONSE_INVALID'],
    ['a list of events', ok({ sets: ['token'] }), 'BANK_RESPONSE_INVALID'],
    ['nothing', { ...ok(''), status: 204 }, 'BANK_RESPONSE_INVALID'],
    ['a redirect', { ...ok(''), status: 302, headers: { location: 'https://evil.example' } }, 'BANK_REFUSED'],
    ['a refusal', { ...ok({ sets: { j: 'token' } }), status: 403 }, 'BANK_REFUSED'],
    ['an unknown address', { ...ok(''), status: 404 }, 'BANK_REFUSED'],
    ['a failure', { ...ok({ sets: { j: 'token' } }), status: 500 }, 'BANK_UNAVAILABLE'],
    ['too many requests', { ...ok(''), status: 429, headers: { 'retry-after': '7' } }, 'BANK_RATE_LIMITED'],
  ])('%s in place of events is an error without text of the bank', async (_what, response, code) => {
    respond = () => response
    const error = await poller()
      .poll(NOTHING)
      .catch((thrown: unknown) => thrown as GatewayError)
    expect(error).toMatchObject({ code })
    if (code === 'BANK_RATE_LIMITED') expect(error).toMatchObject({ retryAfterSeconds: 7 })
    expect(String((error as GatewayError).internalMessage)).not.toContain('evil')
  })

  test('a bank without a queue is not polled', () => {
    for (const standard of STANDARD_IDS) expect(connect(standard, () => ok({})).bank.pollEvents).toBeUndefined()
  })
})

describe('the registration of a queue', () => {
  const faultsOf = (standard: StandardId, events: Record<string, unknown>, members: Record<string, unknown> = {}) => {
    const registration = { ...EXAMPLES[standard].registration, events: { ...common.events, ...events }, ...members }
    try {
      parseRegistration(
        { standard, registration },
        { urlFault: (url) => urlFault(url, { allowLoopback: false, allowPlainHttp: false }) },
      )
      return []
    } catch (error) {
      return (error as GatewayError).faults.map(({ message }) => message)
    }
  }

  test('the address is on a registered origin and not below the account API, because a token goes there', () => {
    for (const standard of STANDARD_IDS) {
      expect(faultsOf(standard, { pollUrl: POLL_URL })).toEqual([])
      expect(faultsOf(standard, { pollUrl: 'https://evil.example/poll' })[0]).toMatch(
        /^`registration\.events\.pollUrl` must be on the origin/,
      )
      expect(faultsOf(standard, { pollUrl: `${common.apiBase}/accounts` })[0]).toMatch(
        /^`registration\.events\.pollUrl` must not be below/,
      )
    }
  })

  test('contradictions of a queue with the rest of a registration are refused', () => {
    expect(faultsOf('CDR', { scope: 'ssf.read' })).toEqual([
      '`registration.events.scope` must be absent without `pollUrl` and `stream`.',
    ])
    for (const scope of ['', ' a', 'a  b', 'a"b', 'ü'])
      expect(faultsOf('CDR', { pollUrl: POLL_URL, scope }), scope).toHaveLength(1)
    expect(faultsOf('OBIE', { pollUrl: POLL_URL }, { eventsApi: 'https://api.bank.example/events' })).toEqual([
      '`registration.events.pollUrl` must be absent with `eventsApi`: the gateway polls there.',
    ])
    const unknown = { sca: 'REDIRECT', clientToken: false }
    expect(faultsOf('BERLIN_GROUP', { pollUrl: POLL_URL }, unknown)).toEqual([
      '`registration.events.pollUrl` needs `mutualTls` or `clientToken`: nothing else identifies the gateway there.',
    ])
    expect(faultsOf('BERLIN_GROUP', { pollUrl: POLL_URL }, { ...unknown, mutualTls: true })).toEqual([])
  })

  test('the plan of a registration shows the polls', () => {
    const registration = STANDARDS.CDR.registration(ADDRESS).parse({
      ...EXAMPLES.CDR.registration,
      events: { ...common.events, pollUrl: POLL_URL },
    })
    expect(planRequests(STANDARDS.CDR, registration)).toContainEqual({
      purpose: 'queue of events',
      method: 'POST',
      url: POLL_URL,
      authentication: 'bearer token',
      headers: ['authorization'],
      parameters: [],
    })
  })
})
