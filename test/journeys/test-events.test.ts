import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DAY_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { commandLineOf } from '../support/command-line.ts'
import { createDeliveryTools, registerOnlyEndpoint, type DeliveryTools } from '../support/delivery-tools.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

interface Payload {
  readonly delivery: { readonly id: string; readonly status: string; readonly eventType: string } | null
  readonly userErrors: readonly UserError[]
}

let gateway: TestGateway
let receiver: WebhookReceiver
let tools: DeliveryTools
let endpointId = ''

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  receiver = await startWebhookReceiver()
  tools = createDeliveryTools(gateway)
  endpointId = await registerOnlyEndpoint(gateway, `${receiver.origin}/hook`)
})
beforeEach(async () => {
  receiver.requests.length = 0
  receiver.respond = (response) => void response.writeHead(204).end()
  await gateway.database.query('delete from delivery_attempt; delete from delivery')
  await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { status: 'ACTIVE' })
})
afterEach(() => tools.clear())
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

const refuse = (status = 503) => (receiver.respond = (response) => void response.writeHead(status).end())
async function sendTest(input: object = {}, clientId = 'chatterbox'): Promise<Payload> {
  const query = `mutation ($input: SendTestEventInput!) { sendTestEvent(input: $input) {
    delivery { id status eventType } userErrors { code path message } } }`
  const token = await gateway.own(clientId, 'webhooks:manage')
  const { data, errors } = await gateway.ask(token, query, { input: { webhookEndpointId: endpointId, ...input } })
  expect(errors).toBeUndefined()
  return data!['sendTestEvent'] as Payload
}
const newTest = async (): Promise<string> => (await sendTest()).delivery!.id

describe('a test event', () => {
  test('it is sent without any customer or consent, and its example cannot be taken for a real message', async () => {
    const { delivery } = await sendTest()
    expect(delivery).toMatchObject({ status: 'PENDING', eventType: 'endpoint.test' })
    await tools.attemptDue()
    expect(await tools.show(delivery!.id)).toMatchObject({ status: 'DELIVERED', attempts: [{ httpStatus: 204 }] })
    const [request] = receiver.requests
    expect(request!.headers['webhook-id']).toBe(delivery!.id)
    expect(request!.headers['webhook-signature']).toMatch(/^v1,\S+ v1a,\S+$/)
    expect(JSON.parse(request!.body)).toEqual({
      type: 'endpoint.test',
      timestamp: expect.stringMatching(/^20.+Z$/) as string,
      data: {
        webhookEndpointId: endpointId,
        eventType: 'alert.received',
        example: expect.objectContaining({ id: 'alert_example', customerId: 'example' }) as object,
      },
    })
    const entries = await gateway.database.query(
      "select action, client_id, customer_id from ledger_entry where subject_id = $1 and action like '%TEST%' or action = 'ALERT_DELIVERED'",
      [endpointId],
    )
    expect(entries).toEqual([{ action: 'TEST_EVENT_SENT', client_id: 'chatterbox', customer_id: null }])
  })

  test('an endpoint for Security Event Tokens gets it as a token about no customer', async () => {
    const { deliveries } = gateway.app.services
    await deliveries.updateEndpoint('chatterbox', endpointId, { format: 'SECURITY_EVENT_TOKEN' })
    const id = await newTest()
    await tools.attemptDue()
    await deliveries.updateEndpoint('chatterbox', endpointId, { format: 'STANDARD_WEBHOOKS' })
    const claims = decodeJwt(receiver.requests[0]!.body)
    expect(claims).toMatchObject({ iss: gateway.issuer, aud: 'chatterbox', jti: id })
    expect(claims).not.toHaveProperty('sub_id')
    expect(Object.keys(claims['events'] as object)).toEqual(['urn:guichet:events:endpoint-test'])
  })

  test('it reaches an endpoint whose circuit breaker is open, and its acceptance closes the breaker', async () => {
    await gateway.customer('bo', ['northbank'])
    refuse()
    for (let count = 0; count < 6; count++) await tools.newDeliveries()
    for (let round = 0; round < 3; round++) {
      await tools.makeDue()
      await tools.attemptDue()
    }
    receiver.requests.length = 0
    await tools.makeDue()
    await tools.attemptDue()
    expect(receiver.requests).toEqual([])
    await newTest()
    await tools.attemptDue()
    expect(receiver.requests).toHaveLength(1)
    // A test that fails does not open the breaker further: the next test is attempted as well.
    receiver.respond = (response) => void response.writeHead(204).end()
    await newTest()
    await tools.attemptDue()
    expect(receiver.requests).toHaveLength(2)
    await tools.makeDue()
    await tools.attemptDue()
    expect(receiver.requests.filter(({ body }) => body.includes('alert.received","timestamp'))).not.toEqual([])
  })

  test('it is attempted four times, and its failures do not make the endpoint a failing one', async () => {
    refuse()
    await gateway.database.query(
      "update webhook_endpoint set failing_since = now() - interval '9 days', failed_attempt_count = 500 where id = $1",
      [endpointId],
    )
    const id = await newTest()
    for (let attempt = 0; attempt < 6; attempt++) {
      await tools.makeDue()
      await tools.attemptDue()
    }
    const { status, attempts } = await tools.show(id)
    expect({ status, count: attempts.length }).toEqual({ status: 'FAILED', count: 4 })
    expect((await gateway.app.services.deliveries.findEndpoint('chatterbox', endpointId))!.status).toBe('ACTIVE')
  })

  test('an endpoint that responds with 410 to a test is disabled', async () => {
    refuse(410)
    await newTest()
    await tools.attemptDue()
    expect(await gateway.app.services.deliveries.findEndpoint('chatterbox', endpointId)).toMatchObject({
      disabledReason: 'GONE',
    })
  })

  test('a disabled endpoint gets none, and those that wait are dropped', async () => {
    const { deliveries } = gateway.app.services
    const waiting = await newTest()
    await deliveries.updateEndpoint('chatterbox', endpointId, { status: 'DISABLED' })
    expect(await sendTest()).toMatchObject({
      delivery: null,
      userErrors: [{ code: 'STATE_CONFLICT', path: ['webhookEndpointId'] }],
    })
    await deliveries.dropForEndpoint(endpointId)
    expect(await tools.show(waiting)).toEqual({ status: 'DROPPED', attempts: [] })
  })

  test('a test that waits when its client is suspended is dropped without a request', async () => {
    const id = await newTest()
    const { clients } = gateway.app.services
    await clients.suspend('admin', 'chatterbox')
    await tools.attemptDue()
    await clients.resume('admin', 'chatterbox')
    expect(await tools.show(id)).toEqual({ status: 'DROPPED', attempts: [] })
    expect(receiver.requests).toEqual([])
  })

  test('an endpoint gets at most ten tests a minute', async () => {
    for (let count = 0; count < 10; count++) expect((await sendTest()).userErrors).toEqual([])
    expect(await sendTest()).toMatchObject({
      delivery: null,
      userErrors: [{ code: 'RATE_LIMITED', path: ['webhookEndpointId'] }],
    })
    gateway.forward(MINUTE_MS)
    expect((await sendTest()).userErrors).toEqual([])
  })

  test('repeated requests with one idempotency key send one test', async () => {
    const first = await sendTest({ idempotencyKey: 'test-event-1' })
    expect(await sendTest({ idempotencyKey: 'test-event-1' })).toEqual(first)
    expect(await gateway.database.query('select 1 from delivery')).toHaveLength(1)
  })

  test('an unknown type is refused with the list of types, and another client has no such endpoint', async () => {
    const { userErrors } = await sendTest({ eventType: 'alert.recieved' })
    expect(userErrors).toMatchObject([{ code: 'INVALID_INPUT', path: ['eventType'] }])
    expect(userErrors[0]!.message).toContain('must be one of alert.received')
    expect((await sendTest({ eventType: 'constructor' })).userErrors).toHaveLength(1)
    const foreign = await sendTest({}, 'chatterbox-bearer')
    expect(foreign).toEqual(await sendTest({ webhookEndpointId: 'whep_nobody' }, 'chatterbox-bearer'))
    expect(foreign.userErrors).toMatchObject([{ code: 'NOT_FOUND' }])
  })
})

describe('replays of tests and of old deliveries', () => {
  test('a replay by time leaves tests out, and a replay by ID sends a test again', async () => {
    const id = await newTest()
    await tools.attemptDue()
    const { deliveries } = gateway.app.services
    const everything = { since: undefined, until: undefined }
    expect(await deliveries.replay('chatterbox', { select: everything })).toMatchObject({ replayedCount: 0 })
    expect(await deliveries.replay('chatterbox', { select: { deliveryIds: [id] } })).toMatchObject({ replayedCount: 1 })
    await tools.attemptDue()
    expect(receiver.requests.map(({ headers }) => headers['webhook-id'])).toEqual([id, id])
  })

  test('a delivery of more than 30 days ago is not replayed, and the error says so', async () => {
    const id = await newTest()
    await tools.attemptDue()
    await gateway.database.query(
      "update delivery set created_at = created_at - interval '30 days 1 minute' where id = $1",
      [id],
    )
    const token = await gateway.own('chatterbox', 'webhooks:manage')
    const replay = async (select: object) => {
      const query =
        'mutation ($input: ReplayDeliveriesInput!) { replayDeliveries(input: $input) { replayedCount userErrors { code path message } } }'
      const { data } = await gateway.ask(token, query, { input: { select } })
      return data!['replayDeliveries']
    }
    expect(await replay({ deliveryIds: [id] })).toMatchObject({
      replayedCount: null,
      userErrors: [
        {
          code: 'STATE_CONFLICT',
          path: ['select', 'deliveryIds', '0'],
          message: '`select.deliveryIds[0]` must have been created in the last 30 days.',
        },
      ],
    })
    const since = new Date(Date.now() - 31 * DAY_MS).toISOString()
    expect(await replay({ created: { since } })).toMatchObject({
      replayedCount: null,
      userErrors: [{ code: 'INVALID_INPUT', path: ['select', 'created', 'since'] }],
    })
    await gateway.database.query("update delivery set event_type = 'alert.received' where id = $1", [id])
    expect(await replay({ created: {} })).toEqual({ replayedCount: 0, userErrors: [] })
  })
})

describe('failed deliveries', () => {
  test('a client sees the number of its deliveries that failed in the last 30 days, and of no other client', async () => {
    refuse()
    const ids = [await newTest(), await newTest(), await newTest()]
    await gateway.database.query("update delivery set status = 'FAILED', ended_at = now() where id = any($1)", [ids])
    await gateway.database.query("update delivery set created_at = created_at - interval '31 days' where id = $1", [
      ids[0],
    ])
    const token = await gateway.own('chatterbox', 'deliveries:read')
    const { data } = await gateway.ask(token, '{ client { failedDeliveryCount } }')
    expect(data!['client']).toEqual({ failedDeliveryCount: 2 })
    const other = await gateway.own('chatterbox-bearer', 'deliveries:read')
    expect((await gateway.ask(other, '{ client { failedDeliveryCount } }')).data!['client']).toEqual({
      failedDeliveryCount: 0,
    })
  })
})

describe('the command line', () => {
  test('it sends a test event and replays it', async () => {
    const own = await startGateway()
    const { guichet } = commandLineOf(() => own)
    const [endpoint] = await own.app.services.deliveries.listEndpoints('chatterbox')
    const sent = await guichet(`webhooks test ${endpoint!.id} --json`)
    expect(sent).toMatchObject({ code: 0, err: '' })
    const { id } = JSON.parse(sent.out) as { id: string }
    const isDelivered = `select 1 from delivery where id = '${id}' and status = 'DELIVERED'`
    await eventually('the delivery', async () => (await own.database.query(isDelivered)).length === 1)
    expect(JSON.parse((await guichet(`webhooks replay ${id} --json`)).out)).toEqual({ replayedCount: 1 })
    expect(await guichet('webhooks replay')).toMatchObject({ code: 2 })
    await own.close()
  })
})
