import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { urlFault } from '../../src/kernel/addresses.ts'
import { HOUR_MS } from '../../src/kernel/clock.ts'
import type { GatewayError } from '../../src/kernel/errors.ts'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { parseRegistration } from '../../src/modules/banks/registration.ts'
import { ok } from '../support/scripted-bank.ts'
import { codeOf, common, connect, EXAMPLES } from '../support/standards.ts'

const ISSUER = 'https://auth.bank.example/tenant/'
const CONFIGURATION_URL = 'https://auth.bank.example/.well-known/ssf-configuration/tenant'
const SSF = 'https://auth.bank.example/ssf'
/** Of the scripted bank. */
const EVENTS_URL = 'https://gateway.example/bank-events/cnct_example'
const POLL_URL = `${SSF}/poll`
const PUSH = { method: 'urn:ietf:rfc:8935', endpoint_url: EVENTS_URL }
const STREAM = { stream_id: 's/1?', iss: ISSUER, delivery: PUSH, aud: 'x', events_delivered: [] }

let configuration: Record<string, unknown>
/** The responses of the endpoints below `SSF`, by method and path. */
let responses: Record<string, OutboundResponse>
beforeEach(() => {
  configuration = {
    issuer: ISSUER,
    configuration_endpoint: `${SSF}/streams`,
    status_endpoint: `${SSF}/status?tenant=1`,
    verification_endpoint: `${SSF}/verify`,
    jwks_uri: 'https://elsewhere.example/jwks',
  }
  responses = {
    'GET /streams': ok([STREAM]),
    'POST /streams': { ...ok(STREAM), status: 201 },
    'GET /status': ok({ stream_id: STREAM.stream_id, status: 'enabled', reason: 'CANARY' }),
    'POST /status': ok({ stream_id: STREAM.stream_id, status: 'paused' }),
    'POST /verify': { ...ok(''), status: 204 },
  }
})

afterEach(() => void vi.useRealTimers())

function open(events: Record<string, unknown> = {}) {
  const registration = { events: { ...common.events, issuer: ISSUER, stream: {}, ...events } }
  const { bank, sent } = connect(
    'CDR',
    ({ method, url }) => {
      const { origin, pathname } = new URL(url)
      if (pathname.includes('ssf-configuration')) return ok(configuration)
      if (pathname.startsWith('/ssf/')) return responses[`${method} ${pathname.slice(4)}`] ?? { ...ok(''), status: 500 }
      if (pathname === '/token') return ok({ access_token: 'token', token_type: 'Bearer', expires_in: 300 })
      return ok({ issuer: origin, token_endpoint: `${origin}/token` })
    },
    registration,
  )
  const isOfStream = ({ url }: OutboundRequest): boolean => url.startsWith(SSF)
  return {
    bank: {
      read: (createsIfMissing = true) => bank.readEventStream!(createsIfMissing),
      set: (status: 'ENABLED' | 'PAUSED') => bank.setEventStreamStatus!(status),
      verify: () => bank.requestStreamVerification!('state'),
    },
    sent,
    calls: () =>
      sent
        .filter(isOfStream)
        .map(({ method, url, body }): [string, string, unknown] => [
          method,
          url,
          body && (JSON.parse(body) as unknown),
        ]),
  }
}

describe('the stream of a bank', () => {
  test('its configuration is at the well-known address of the issuer, or at the stated one, and read without a token', async () => {
    for (const stream of [{}, { configurationUrl: 'https://auth.bank.example/conf/ssf-configuration' }]) {
      const { bank, sent } = open({ stream })
      expect(await bank.read()).toBe('ENABLED')
      await bank.read()
      const documents = sent.filter(({ url }) => url.includes('ssf-configuration'))
      expect(documents.map(({ url }) => url)).toEqual([stream.configurationUrl ?? CONFIGURATION_URL])
      expect(documents[0]!.headers).not.toHaveProperty('authorization')
    }
  })

  test('its configuration is read again after an hour, and one that then names another host gets no token', async () => {
    vi.useFakeTimers({ toFake: ['Date'] })
    const { bank, sent } = open()
    expect(await bank.read()).toBe('ENABLED')
    configuration['verification_endpoint'] = 'https://evil.example/verify'
    vi.setSystemTime(Date.now() + HOUR_MS - 1)
    expect(await bank.read()).toBe('ENABLED')
    vi.setSystemTime(Date.now() + 2)
    expect(await codeOf(bank.verify())).toBe('BANK_RESPONSE_INVALID')
    expect(sent.filter(({ url }) => url.includes('evil'))).toEqual([])
  })

  test('its status is read, changed and verified by the id of the stream, with the token of the gateway', async () => {
    const { bank, sent, calls } = open()
    expect([await bank.read(), await bank.set('PAUSED'), await bank.verify()]).toEqual(['ENABLED', 'PAUSED', true])
    expect(calls()).toEqual([
      ['GET', `${SSF}/streams`, undefined],
      ['GET', `${SSF}/status?tenant=1&stream_id=s%2F1%3F`, undefined],
      ['GET', `${SSF}/streams`, undefined],
      ['POST', `${SSF}/status?tenant=1`, { stream_id: 's/1?', status: 'paused' }],
      ['GET', `${SSF}/streams`, undefined],
      ['POST', `${SSF}/verify`, { stream_id: 's/1?', state: 'state' }],
    ])
    const withoutToken = sent.filter(
      ({ url, headers }) => url.startsWith(SSF) && headers!['authorization'] !== 'Bearer token',
    )
    expect(withoutToken).toEqual([])
  })

  test.each<[string, unknown, string]>([
    ['the only stream, as an object', STREAM, 'ENABLED'],
    [
      'a stream of the drafts',
      [{ ...STREAM, delivery: { ...PUSH, method: 'https://schemas.openid.net/secevent/risc/delivery-method/push' } }],
      'ENABLED',
    ],
    ['a polled stream', [{ ...STREAM, delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: POLL_URL } }], 'ENABLED'],
    ['malformed streams beside it', [null, 7, {}, { stream_id: 7 }, STREAM], 'ENABLED'],
    [
      'addresses in another spelling',
      [
        {
          ...STREAM,
          iss: ISSUER.slice(0, -1),
          delivery: { ...PUSH, endpoint_url: `${EVENTS_URL.replace('gateway.example', 'Gateway.Example:443')}/` },
        },
      ],
      'ENABLED',
    ],
    [
      'a stream that names neither its issuer nor its address',
      [{ stream_id: STREAM.stream_id, delivery: { method: PUSH.method } }],
      'ENABLED',
    ],
    [
      'a stream to another receiver',
      [{ ...STREAM, delivery: { ...PUSH, endpoint_url: `${EVENTS_URL}x` } }],
      'NOT_FOUND',
    ],
    ['a stream of another issuer', [{ ...STREAM, iss: 'https://other.example' }], 'NOT_FOUND'],
    [
      'a stream that is polled elsewhere',
      [{ ...STREAM, delivery: { method: 'urn:ietf:rfc:8936', endpoint_url: `${SSF}/other` } }],
      'NOT_FOUND',
    ],
    ['no stream', [], 'NOT_FOUND'],
    ['nothing', null, 'NOT_FOUND'],
  ])('a bank that returns %s has a stream for the gateway, or none', async (_what, streams, status) => {
    responses['GET /streams'] = ok(streams)
    const { bank, calls } = open({ pollUrl: POLL_URL })
    expect(await bank.read(false)).toBe(status)
    expect(calls().filter(([method]) => method === 'POST')).toEqual([])
  })

  test('a missing stream is created for the event types that lead to alerts, and pushes to the gateway', async () => {
    for (const none of [ok([]), { ...ok(''), status: 404 }]) {
      responses['GET /streams'] = none
      const { bank, calls } = open()
      expect(await bank.read()).toBe('ENABLED')
      const [, , body] = calls().find(([method]) => method === 'POST')!
      expect(body).toMatchObject({ delivery: PUSH })
      expect((body as { events_requested: string[] }).events_requested).toContain(
        'https://schemas.openid.net/secevent/caep/event-type/risk-level-change',
      )
    }
  })

  test('no second stream is created where one of another issuer delivers to the gateway', async () => {
    responses['GET /streams'] = ok([{ ...STREAM, iss: 'https://other.example' }])
    const { bank, calls } = open()
    expect(await codeOf(bank.read())).toBe('BANK_RESPONSE_INVALID')
    expect(calls().filter(([method]) => method === 'POST')).toEqual([])
  })

  test('no stream is created where the bank does not push or allows no other, and none that leads elsewhere is used', async () => {
    responses['GET /streams'] = ok([])
    responses['POST /streams'] = { ...ok(''), status: 409 }
    expect(await open().bank.read()).toBe('NOT_FOUND')
    responses['POST /streams'] = ok({ ...STREAM, delivery: { ...PUSH, endpoint_url: 'https://evil.example' } })
    expect(await codeOf(open().bank.read())).toBe('BANK_RESPONSE_INVALID')
    configuration['delivery_methods_supported'] = ['urn:ietf:rfc:8936']
    const { bank, calls } = open()
    expect(await bank.read()).toBe('NOT_FOUND')
    expect(calls().filter(([method]) => method === 'POST')).toEqual([])
  })

  test('a bank without an endpoint for the status or for verifications gets no request for them', async () => {
    Reflect.deleteProperty(configuration, 'status_endpoint')
    Reflect.deleteProperty(configuration, 'verification_endpoint')
    const { bank } = open()
    expect([await bank.read(), await bank.set('PAUSED'), await bank.verify()]).toEqual(['UNKNOWN', 'UNKNOWN', false])
  })

  test('a change that the bank has not decided yet leaves the status unknown', async () => {
    responses['POST /status'] = { ...ok(''), status: 202 }
    expect(await open().bank.set('PAUSED')).toBe('UNKNOWN')
  })

  test.each<[string, () => void]>([
    ['another issuer', () => (configuration['issuer'] = 'https://auth.bank.example/other')],
    ['the issuer without its slash', () => (configuration['issuer'] = ISSUER.slice(0, -1))],
    ['endpoints on another host', () => (configuration['status_endpoint'] = 'https://evil.example/status')],
    [
      'endpoints on a host with the same beginning',
      () => (configuration['verification_endpoint'] = 'https://auth.bank.example.evil.example/v'),
    ],
    ['endpoints without TLS', () => (configuration['configuration_endpoint'] = 'http://auth.bank.example/ssf/streams')],
    [
      'endpoints of the account API',
      () => (configuration['verification_endpoint'] = `${common.apiBase}/banking/accounts`),
    ],
    ['no endpoint for streams', () => Reflect.deleteProperty(configuration, 'configuration_endpoint')],
  ])('a configuration with %s gets no token', async (_what, change) => {
    change()
    const { bank, sent } = open()
    for (const use of [bank.read, bank.verify, () => bank.set('PAUSED')])
      expect(await codeOf(use())).toBe('BANK_RESPONSE_INVALID')
    expect(sent.filter(({ headers }) => headers?.['authorization'] !== undefined)).toEqual([])
  })

  test('a stream that the bank deleted while it was being read is not found', async () => {
    responses['GET /status'] = { ...ok(''), status: 404 }
    expect(await open().bank.read()).toBe('NOT_FOUND')
  })

  test.each<[string, OutboundResponse, string]>([
    ['HTML', ok('<html>'), 'BANK_RESPONSE_INVALID'],
    ['another status', ok({ status: 'CANARY' }), 'BANK_RESPONSE_INVALID'],
    ['a redirect', { ...ok(''), status: 302, headers: { location: `${SSF}/other` } }, 'BANK_REFUSED'],
    ['a failure', { ...ok(''), status: 503 }, 'BANK_UNAVAILABLE'],
  ])('%s in place of the status is an error', async (_what, response, code) => {
    responses['GET /status'] = response
    expect(await codeOf(open().bank.read())).toBe(code)
  })
})

describe('the registration of stream control', () => {
  const messagesOf = (events: Record<string, unknown>): string[] => {
    const registration = { ...EXAMPLES.CDR.registration, events: { ...common.events, issuer: ISSUER, ...events } }
    const rules = { allowLoopback: false, allowPlainHttp: false }
    try {
      parseRegistration({ standard: 'CDR', registration }, { urlFault: (url) => urlFault(url, rules) })
      return []
    } catch (error) {
      return (error as GatewayError).faults.map(({ message }) => message)
    }
  }

  test('the configuration is on a registered origin, stated or not', () => {
    expect(messagesOf({ stream: {} })).toEqual([])
    expect(messagesOf({ stream: {}, scope: 'ssf.manage' })).toEqual([])
    for (const events of [
      { issuer: 'https://elsewhere.example', stream: {} },
      { stream: { configurationUrl: 'https://elsewhere.example/ssf' } },
    ])
      expect(messagesOf(events)).toEqual([
        expect.stringMatching(/^`registration\.events\.stream\.configurationUrl` must be on the origin/),
      ])
  })

  test('an issuer that is no address needs a stated configuration', () => {
    for (const issuer of ['bank', 'urn:bank:1'])
      expect(messagesOf({ issuer, stream: {} })).toEqual([
        '`registration.events.stream` must state `configurationUrl`: the issuer is no URL.',
      ])
    expect(messagesOf({ issuer: 'bank', stream: { configurationUrl: `${SSF}/configuration` } })).toEqual([])
  })
})
