import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { STANDARDS } from '../../src/connectors/index.ts'
import { createUrlSchema } from '../../src/connectors/url-schema.ts'
import { createOutboundHttp } from '../../src/kernel/outbound-http.ts'
import { patientTimers } from '../support/patient-time.ts'
import { ok, scriptedBank } from '../support/scripted-bank.ts'
import { codeOf, common, EXAMPLES } from '../support/standards.ts'

const http = createOutboundHttp({ allowLoopback: true, allowPlainHttp: true }, undefined, { timers: patientTimers })
/** How the bank responds to a path, if not as a good bank does. */
let hostile: { readonly path: string; respond(response: ServerResponse): void } | undefined
let requests: { readonly path: string; readonly token: string | undefined }[] = []
let bytesSent = 0
const server = createServer(respond)
let origin = ''
beforeAll(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
})
beforeEach(() => {
  hostile = undefined
  requests = []
  bytesSent = 0
})
afterAll(async () => {
  await http.close()
  server.closeAllConnections()
  server.close()
})

const EVENTS_URL = 'https://gateway.example/bank-events/cnct_example'
const json = (response: ServerResponse, body: unknown) =>
  response.setHeader('content-type', 'application/json').end(JSON.stringify(body))

function respond({ url = '', headers }: IncomingMessage, response: ServerResponse): void {
  const path = url.split('?')[0]!
  requests.push({ path, token: headers.authorization })
  if (hostile?.path === path) return void hostile.respond(response)
  const stream = { stream_id: 's', iss: origin, delivery: { method: 'urn:ietf:rfc:8935', endpoint_url: EVENTS_URL } }
  const bodies: Readonly<Record<string, unknown>> = {
    '/.well-known/ssf-configuration': {
      issuer: origin,
      configuration_endpoint: `${origin}/ssf/streams`,
      status_endpoint: `${origin}/ssf/status`,
      verification_endpoint: `${origin}/ssf/verify`,
    },
    '/ssf/streams': [stream],
    '/ssf/status': { status: 'enabled' },
    '/ssf/verify': {},
    '/token': { access_token: 'token', token_type: 'Bearer', expires_in: 300 },
    '/other': { status: 'paused', issuer: origin },
  }
  json(response, bodies[path] ?? { issuer: origin, token_endpoint: `${origin}/token` })
}

function open() {
  const { tools } = scriptedBank(() => ok(''))
  const registration = {
    ...EXAMPLES.CDR.registration,
    authorizationServer: origin,
    apiBase: `${origin}/api`,
    events: { ...common.events, issuer: origin, stream: {} },
  }
  const parsed = STANDARDS.CDR.registration(createUrlSchema(() => undefined)).parse(registration)
  const bank = STANDARDS.CDR.connect(parsed, { ...tools, http })
  return { read: () => bank.readEventStream!(true), verify: () => bank.requestStreamVerification!('state') }
}

/** Sends bytes as fast as they are taken, for ever. */
function sendForever(response: ServerResponse): void {
  const part = Buffer.alloc(65_536, ' ')
  const send = (): void => {
    while (!response.destroyed) {
      bytesSent += part.length
      if (!response.write(part)) return void response.once('drain', send)
    }
  }
  response.setHeader('content-type', 'application/json')
  send()
}

const PATHS = ['/.well-known/ssf-configuration', '/ssf/streams', '/ssf/status'] as const

test('a stream is read and verified over HTTP', async () => {
  const bank = open()
  expect(await bank.read()).toBe('ENABLED')
  expect(await bank.verify()).toBe(true)
})

test.each(PATHS)('a body without an end at %s is not read further than the limit', async (path) => {
  hostile = { path, respond: sendForever }
  expect(await codeOf(open().read())).toBe('BANK_RESPONSE_INVALID')
  // With what the buffers of the two sockets hold.
  expect(bytesSent).toBeLessThan(16 * 1_048_576)
})

test.each(PATHS)('a bank that never responds at %s holds a check for a few seconds only', async (path) => {
  hostile = { path, respond: () => undefined }
  const startedMs = patientTimers.monotonicMs()
  expect(await codeOf(open().read())).toBe('BANK_TIMEOUT')
  expect(patientTimers.monotonicMs() - startedMs).toBeLessThan(6_000)
})

test('a bank that sends one byte a second holds a check for a few seconds only', async () => {
  let timer: NodeJS.Timeout | undefined
  hostile = {
    path: '/ssf/status',
    respond(response) {
      response.setHeader('content-type', 'application/json')
      timer = setInterval(() => response.write(' '), 500)
      response.on('close', () => clearInterval(timer))
    },
  }
  const startedMs = patientTimers.monotonicMs()
  expect(await codeOf(open().read())).toBe('BANK_TIMEOUT')
  expect(patientTimers.monotonicMs() - startedMs).toBeLessThan(6_000)
})

test.each(PATHS)('a redirect at %s is not followed', async (path) => {
  hostile = { path, respond: (response) => void response.writeHead(302, { location: `${origin}/other` }).end() }
  expect(await codeOf(open().read())).toBe('BANK_REFUSED')
  expect(requests.map((request) => request.path)).not.toContain('/other')
})

test('the configuration is the only document that is read without the token', async () => {
  await open().read()
  const ofStream = requests.filter(({ path }) => path.includes('ssf'))
  expect(ofStream.map(({ path, token }) => [path, token])).toEqual([
    ['/.well-known/ssf-configuration', undefined],
    ['/ssf/streams', 'Bearer token'],
    ['/ssf/status', 'Bearer token'],
  ])
})
