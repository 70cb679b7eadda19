import { createLocalJWKSet, decodeJwt, jwtVerify, type JSONWebKeySet } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { subjectOf } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS } from '../../src/kernel/clock.ts'
import { createDeliveryTools, type DeliveryTools } from '../support/delivery-tools.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

let gateway: TestGateway
let receiver: WebhookReceiver
let tools: DeliveryTools
let endpointId = ''
let customerId = ''
let keys: JSONWebKeySet

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  receiver = await startWebhookReceiver()
  tools = createDeliveryTools(gateway)
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  const registered = await gateway.app.services.deliveries.registerEndpoint('chatterbox', `${receiver.origin}/set`, {
    format: 'SECURITY_EVENT_TOKEN',
  })
  endpointId = registered.webhookEndpoint.id
  customerId = subjectOf(await gateway.customer('bo', ['northbank']))!
  keys = (await (await fetch(`${gateway.issuer}/.well-known/jwks.json`)).json()) as JSONWebKeySet
})
beforeEach(async () => {
  receiver.requests.length = 0
  receiver.respond = (response) => void response.writeHead(202).end()
  await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { status: 'ACTIVE' })
})
afterEach(() => tools.clear())
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

const verifyToken = (token: string, audience = 'chatterbox') =>
  jwtVerify(token, createLocalJWKSet(keys), {
    issuer: gateway.issuer,
    audience,
    typ: 'secevent+jwt',
    algorithms: ['ES256'],
    requiredClaims: ['iat', 'jti', 'events'],
  })
const attemptsOf = (id: string) => gateway.app.services.deliveries.findAttempts([id])

describe('an endpoint for Security Event Tokens', () => {
  test('it receives one signed event with the data of the alert, which the published keys of the gateway verify', async () => {
    const [id] = await tools.newDeliveries()
    await tools.attemptDue()
    const [request] = receiver.requests
    expect(request!.headers['content-type']).toBe('application/secevent+jwt')
    expect(request!.headers.accept).toBe('application/json')
    expect(Object.keys(request!.headers).filter((name) => name.startsWith('webhook'))).toEqual([])
    const { payload, protectedHeader } = await verifyToken(request!.body)
    expect(protectedHeader).toEqual({
      alg: 'ES256',
      typ: 'secevent+jwt',
      kid: expect.stringMatching(/^events-/) as string,
    })
    expect(payload).toEqual({
      iss: gateway.issuer,
      aud: 'chatterbox',
      iat: expect.any(Number) as number,
      jti: id,
      sub_id: { format: 'iss_sub', iss: gateway.issuer, sub: customerId },
      events: {
        'urn:guichet:events:alert-received': {
          sequence: 1,
          data: {
            id: expect.stringMatching(/^alert_/) as string,
            customerId,
            accountId: expect.stringMatching(/^account_/) as string,
            bankId: 'northbank',
            type: 'CARD_SECURITY',
            severity: 'URGENT',
            requestedAction: 'REVIEW_WITH_BANK',
            occurredAt: expect.stringMatching(/:00:00\.000Z$/) as string,
            responseOptions: [],
            respondBy: null,
          },
        },
      },
    })
    expect(await tools.show(id!)).toMatchObject({ status: 'DELIVERED', attempts: [{ httpStatus: 202 }] })
  })

  test('the key of events signs no ID token, and no event passes as a token of the authorization server', async () => {
    const { idToken } = await gateway.customer('bo', ['northbank'])
    const kidOf = (token: string): unknown => JSON.parse(Buffer.from(token.split('.')[0]!, 'base64url').toString())
    expect(JSON.stringify(kidOf(idToken!))).not.toContain('events-')
    await tools.newDeliveries()
    await tools.attemptDue()
    const claims = decodeJwt(receiver.requests[0]!.body)
    expect(Object.keys(claims)).not.toContain('sub')
    expect(Object.keys(claims)).not.toContain('exp')
    expect(keys.keys.every((key) => !('d' in key))).toBe(true)
    expect(new Set(keys.keys.map(({ kid }) => kid)).size).toBe(keys.keys.length)
  })

  test('every attempt has the same bytes, also days later and after a replay', async () => {
    receiver.respond = (response) => void response.writeHead(503).end()
    const [id] = await tools.newDeliveries()
    for (let attempt = 0; attempt < 3; attempt++) {
      await tools.makeDue()
      await tools.attemptDue()
    }
    await gateway.database.query("update delivery set status = 'FAILED', ended_at = now() where id = $1", [id])
    gateway.forward(DAY_MS)
    await gateway.app.services.deliveries.replay('chatterbox', { select: { deliveryIds: [id!] } })
    await tools.attemptDue()
    const bodies = receiver.requests.map(({ body }) => body)
    expect(bodies).toHaveLength(4)
    expect(new Set(bodies).size).toBe(1)
  })

  test.each([
    [{ err: 'invalid_audience', description: 'a secret of the receiver' }, 'INVALID_AUDIENCE'],
    [{ err: 'authentication_failed' }, 'AUTHENTICATION_FAILED'],
    [{ err: 'something else' }, null],
    [{ err: { nested: true } }, null],
    ['no object', null],
    [null, null],
  ])(
    'the response 400 with the body %j is shown with the error %s, and its text is not stored',
    async (body, setError) => {
      receiver.respond = (response) =>
        void response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify(body))
      const [id] = await tools.newDeliveries()
      await tools.attemptDue()
      expect(await attemptsOf(id!)).toMatchObject([{ httpStatus: 400, outcome: 'REFUSED', setError }])
      const rows = await gateway.database.query('select to_jsonb(a)::text from delivery_attempt a')
      expect(JSON.stringify(rows)).not.toContain('secret of the receiver')
      expect(gateway.log.join()).not.toContain('secret of the receiver')
    },
  )

  test('an error in a response of another status, or of a body that is too large, is not read', async () => {
    const [id] = await tools.newDeliveries()
    receiver.respond = (response) => void response.writeHead(403).end('{"err":"access_denied"}')
    await tools.attemptDue()
    receiver.respond = (response) =>
      void response.writeHead(400).end(`{"err":"access_denied","x":"${'x'.repeat(100_000)}"}`)
    await tools.makeDue()
    await tools.attemptDue()
    expect(await attemptsOf(id!)).toMatchObject([
      { httpStatus: 403, setError: null },
      { httpStatus: 400, outcome: 'REFUSED', setError: null },
    ])
  })

  test('a message that waits keeps its format, and the next one has the new format', async () => {
    receiver.respond = (response) => void response.writeHead(503).end()
    await tools.newDeliveries()
    await tools.attemptDue()
    const query = `mutation ($input: UpdateWebhookEndpointInput!) { updateWebhookEndpoint(input: $input) {
      webhookEndpoint { format } userErrors { code } } }`
    const token = await gateway.own('chatterbox', 'webhooks:manage')
    const { data } = await gateway.ask(token, query, {
      input: { webhookEndpointId: endpointId, format: 'STANDARD_WEBHOOKS' },
    })
    expect(data!['updateWebhookEndpoint']).toEqual({ webhookEndpoint: { format: 'STANDARD_WEBHOOKS' }, userErrors: [] })
    receiver.requests.length = 0
    await tools.newDeliveries()
    await tools.makeDue()
    await tools.attemptDue()
    const types = receiver.requests.map(({ headers }) => headers['content-type'])
    expect(types.sort()).toEqual(['application/json', 'application/secevent+jwt'])
    const webhook = receiver.requests.find(({ headers }) => headers['content-type'] === 'application/json')!
    expect(JSON.parse(webhook.body)).toMatchObject({
      type: 'alert.received',
      timestamp: expect.stringMatching(/^20.+Z$/) as string,
      sequence: expect.any(Number) as number,
      data: { customerId },
    })
  })
})
