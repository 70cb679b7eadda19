import { createLocalJWKSet, jwtVerify, type JSONWebKeySet } from 'jose'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { subjectOf } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { search } from '../proof/canary.ts'
import {
  browserOfDays,
  createReminderTools,
  type NewConsent,
  type ReminderMessage,
} from '../support/consent-reminders.ts'
import { createDeliveryTools, registerOnlyEndpoint, type DeliveryTools } from '../support/delivery-tools.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

const CANARY = 'canary-0f7c21'

let gateway: TestGateway
let receiver: WebhookReceiver
let reminders: ReturnType<typeof createReminderTools>
let deliveries: DeliveryTools
let endpointId = ''
beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' }, canary: CANARY })
  receiver = await startWebhookReceiver()
  reminders = createReminderTools(gateway)
  deliveries = createDeliveryTools(gateway)
  endpointId = await registerOnlyEndpoint(gateway, `${receiver.origin}/hook`)
})
beforeEach(async () => {
  await reminders.clear()
  receiver.requests.length = 0
  accept()
  const { updateEndpoint } = gateway.app.services.deliveries
  await updateEndpoint('chatterbox', endpointId, {
    status: 'ACTIVE',
    format: 'STANDARD_WEBHOOKS',
    ordering: 'NONE',
  })
})
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

const accept = () => (receiver.respond = (response) => void response.writeHead(204).end())
const refuse = () => (receiver.respond = (response) => void response.writeHead(503).end())
const messages = (): ReminderMessage[] => receiver.requests.map(({ body }) => JSON.parse(body) as ReminderMessage)

/** Plans the reminder of a consent so many days before its end. Returns the ID of its delivery. */
async function planReminder(consent: NewConsent, daysBefore: number): Promise<string> {
  reminders.forwardTo(consent, daysBefore)
  await reminders.plan()
  return (await reminders.remindersOf(consent.id)).at(-1)!.id
}
async function attemptAgain(): Promise<void> {
  await deliveries.makeDue()
  await deliveries.attemptDue()
}
const statusOf = async (id: string): Promise<string> => (await deliveries.show(id)).status

describe('the message', () => {
  test('it names the consent, the customer as alerts do, the bank, the end and the days, and nothing else', async () => {
    const consent = await reminders.newConsent()
    const id = await planReminder(consent, 30)
    await deliveries.attemptDue()
    const [request] = receiver.requests
    expect(request!.headers).toMatchObject({
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-signature': expect.stringMatching(/^v1,\S+ v1a,\S+$/) as string,
    })
    const sequence = expect.any(Number) as number
    expect(messages()).toEqual([
      {
        type: 'consent.expiring',
        timestamp: expect.stringMatching(/^20.+Z$/) as string,
        sequence,
        data: {
          id: consent.id,
          customerId: subjectOf(consent.token),
          bankId: 'northbank',
          expiresAt: consent.expiresAt.toISOString(),
          daysLeft: 30,
        },
      },
    ])
    const query = `{ customer { consent(id: "${consent.id}") { id expiresAt bank { id } } } }`
    const { data } = await gateway.ask(await gateway.renew(consent.token), query)
    expect(data).toEqual({
      customer: { consent: { id: consent.id, expiresAt: consent.expiresAt.toISOString(), bank: { id: 'northbank' } } },
    })
  })

  test('a reminder in either format has nothing of accounts, balances or purchases', async () => {
    const consent = await reminders.newConsent()
    const balances = '{ ... on ExactBalance { value { amount } } }'
    const { data } = await gateway.ask(consent.token, `{ customer { accounts { nodes { id balances ${balances} } } } }`)
    const accountIds = JSON.stringify(data).match(/account_[\w-]+/g)!
    const amounts = JSON.stringify(data).match(/"-?\d+\.\d\d"/g)!
    expect([accountIds.length, amounts.length]).not.toContain(0)
    expect(gateway.bankBytes()).toContain(CANARY)
    for (const [format, daysLeft] of [
      ['STANDARD_WEBHOOKS', 30],
      ['SECURITY_EVENT_TOKEN', 7],
    ] as const) {
      await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { format })
      await planReminder(consent, daysLeft)
      await deliveries.attemptDue()
      const { body, headers } = receiver.requests.at(-1)!
      const text = daysLeft === 30 ? body : Buffer.from(body.split('.')[1]!, 'base64url').toString()
      expect(text).toContain(`"daysLeft":${daysLeft}`)
      for (const secret of [CANARY, 'nb-10003', ...accountIds, ...amounts])
        expect(search({ text, body, headers: JSON.stringify(headers) }, secret)).toEqual([])
    }
  })

  test('its bytes are the same in every attempt, and its delivery and attempts are visible to the client', async () => {
    const id = await planReminder(await reminders.newConsent(), 30)
    refuse()
    for (let attempt = 0; attempt < 3; attempt++) await attemptAgain()
    expect(await statusOf(id)).toBe('PENDING')
    accept()
    await attemptAgain()
    expect(receiver.requests).toHaveLength(4)
    expect(new Set(receiver.requests.map(({ body }) => body)).size).toBe(1)
    expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([id]))
    const token = await gateway.own('chatterbox', 'deliveries:read')
    const { data } = await gateway.ask(
      token,
      '{ client { deliveries { nodes { id eventType status attempts { httpStatus } } } } }',
    )
    expect(data!['client']).toEqual({
      deliveries: {
        nodes: [
          {
            id,
            eventType: 'consent.expiring',
            status: 'DELIVERED',
            attempts: [503, 503, 503, 204].map((httpStatus) => ({ httpStatus })),
          },
        ],
      },
    })
  })

  test('it is attempted by the schedule of messages that are not urgent', async () => {
    const id = await planReminder(await reminders.newConsent(), 30)
    refuse()
    const startedAt = Date.now()
    await deliveries.attemptDue()
    const waitMs = (await deliveries.nextAttemptOf(id)).getTime() - startedAt
    expect(waitMs).toBeGreaterThan(3_900)
    expect(waitMs).toBeLessThan(12_000)
  })

  test('its sequence number follows that of an earlier message, which it waits for in an order', async () => {
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { ordering: 'PER_CUSTOMER' })
    const consent = await reminders.newConsent()
    reminders.forwardTo(consent, 30)
    const [alert] = await deliveries.newDeliveries()
    const [{ sequence }] = (await gateway.database.query<{ sequence: number }>(
      'select sequence from delivery where id = $1',
      [alert],
    )) as [{ sequence: number }]
    const reminder = await planReminder(consent, 30)
    refuse()
    await deliveries.attemptDue()
    expect(messages().map(({ type }) => type)).toEqual(['alert.received'])
    expect(await deliveries.show(reminder)).toEqual({ status: 'PENDING', attempts: [] })
    accept()
    for (let round = 0; round < 2; round++) await attemptAgain()
    expect(messages().map((message) => [message.type, message.sequence])).toEqual([
      ['alert.received', sequence],
      ['alert.received', sequence],
      ['consent.expiring', sequence + 1],
    ])
  })

  test('an endpoint for Security Event Tokens gets it as a signed event of its own type', async () => {
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { format: 'SECURITY_EVENT_TOKEN' })
    const consent = await reminders.newConsent()
    const id = await planReminder(consent, 1)
    await deliveries.attemptDue()
    const keys = (await (await fetch(`${gateway.issuer}/.well-known/jwks.json`)).json()) as JSONWebKeySet
    const { payload } = await jwtVerify(receiver.requests[0]!.body, createLocalJWKSet(keys), {
      issuer: gateway.issuer,
      audience: 'chatterbox',
      typ: 'secevent+jwt',
    })
    const customerId = subjectOf(consent.token)
    expect(payload).toEqual({
      iss: gateway.issuer,
      aud: 'chatterbox',
      iat: expect.any(Number) as number,
      jti: id,
      sub_id: { format: 'iss_sub', iss: gateway.issuer, sub: customerId },
      events: {
        'urn:guichet:events:consent-expiring': {
          sequence: expect.any(Number) as number,
          data: {
            id: consent.id,
            customerId,
            bankId: 'northbank',
            expiresAt: consent.expiresAt.toISOString(),
            daysLeft: 1,
          },
        },
      },
    })
  })

  test('a test event has an example with the members of a real reminder', async () => {
    const id = await planReminder(await reminders.newConsent(), 30)
    await deliveries.attemptDue()
    expect(await statusOf(id)).toBe('DELIVERED')
    const query = `mutation ($input: SendTestEventInput!) { sendTestEvent(input: $input) {
      delivery { id } userErrors { code message } } }`
    const token = await gateway.own('chatterbox', 'webhooks:manage')
    const { data } = await gateway.ask(token, query, {
      input: { webhookEndpointId: endpointId, eventType: 'consent.expiring' },
    })
    expect(data!['sendTestEvent']).toMatchObject({ userErrors: [] })
    await deliveries.attemptDue()
    const [reminder, testEvent] = messages() as [ReminderMessage, { type: string; data: Record<string, unknown> }]
    expect(testEvent).toMatchObject({ type: 'endpoint.test', data: { eventType: 'consent.expiring' } })
    expect(Object.keys(testEvent.data['example'] as object)).toEqual(Object.keys(reminder.data))
  })
})

describe('who receives it', () => {
  test('another platform of the same customer never receives the reminder of a consent', async () => {
    const browser = browserOfDays(365)
    const { webhookEndpoint } = await gateway.app.services.deliveries.registerEndpoint(
      'chatterbox-bearer',
      `${receiver.origin}/other`,
    )
    await gateway.customer('bo', ['northbank'], { clientId: 'chatterbox-bearer', browser })
    const consent = await reminders.newConsent({ browser: browserOfDays(90) })
    for (const days of [30, 7, 1]) {
      await planReminder(consent, days)
      await deliveries.attemptDue()
    }
    expect(receiver.requests.map(({ path }) => path)).toEqual(['/hook', '/hook', '/hook'])
    await gateway.app.services.deliveries.updateEndpoint('chatterbox-bearer', webhookEndpoint.id, {
      status: 'DISABLED',
    })
  })

  test('a reminder that waits is not sent after the withdrawal, and not under another consent of the customer', async () => {
    const browser = browserOfDays(90)
    const consent = await reminders.newConsent({ browser })
    const id = await planReminder(consent, 30)
    refuse()
    await deliveries.attemptDue()
    await reminders.newConsent({ browser })
    await gateway.app.services.consents.revoke(consent.id, 'CLIENT')
    accept()
    await attemptAgain()
    expect(receiver.requests).toHaveLength(1)
    expect(await statusOf(id)).toBe('DROPPED')
  })

  test('the end of a consent drops a reminder that waits, and leaves an alert to another consent', async () => {
    const browser = browserOfDays(90)
    const consent = await reminders.newConsent({ browser })
    await reminders.newConsent({ browser })
    const id = await planReminder(consent, 30)
    const [alert] = await deliveries.newDeliveries()
    await gateway.database.query('update delivery set consent_id = $1 where id = $2', [consent.id, alert])
    await gateway.app.services.consents.revoke(consent.id, 'CLIENT')
    expect(await gateway.app.services.deliveries.dropForConsent(consent.id)).toBe(1)
    expect([await statusOf(id), await statusOf(alert!)]).toEqual(['DROPPED', 'PENDING'])
  })

  test('the end of a consent drops its reminder if nothing else waits', async () => {
    const consent = await reminders.newConsent()
    const id = await planReminder(consent, 30)
    await gateway.app.services.consents.revoke(consent.id, 'CLIENT')
    expect(await gateway.app.services.deliveries.dropForConsent(consent.id)).toBe(1)
    expect(await statusOf(id)).toBe('DROPPED')
  })

  test('a reminder of the last day that was refused until the end is not sent after it', async () => {
    const consent = await reminders.newConsent()
    const id = await planReminder(consent, 1)
    refuse()
    await deliveries.attemptDue()
    accept()
    gateway.forward(DAY_MS)
    await attemptAgain()
    expect(receiver.requests).toHaveLength(1)
    expect(await statusOf(id)).toBe('DROPPED')
  })

  test('the ledger has no entry of a reminder, because it discloses nothing that the platform does not know', async () => {
    const consent = await reminders.newConsent()
    const countEntries = async (): Promise<number> =>
      (await gateway.database.query('select from ledger_entry where consent_id = $1', [consent.id])).length
    const before = await countEntries()
    await planReminder(consent, 30)
    await deliveries.attemptDue()
    expect(receiver.requests).toHaveLength(1)
    expect(await countEntries()).toBe(before)
  })
})

describe('replay', () => {
  test('a reminder that failed for good can be replayed, with the same ID and bytes', async () => {
    const { replay, findAttempts } = gateway.app.services.deliveries
    const id = await planReminder(await reminders.newConsent(), 30)
    refuse()
    for (let attempt = 0; attempt < 2; attempt++) await attemptAgain()
    gateway.forward(73 * HOUR_MS)
    await attemptAgain()
    expect(await statusOf(id)).toBe('FAILED')
    accept()
    expect(await replay('chatterbox', { select: { deliveryIds: [id] } })).toMatchObject({ replayedCount: 1 })
    await deliveries.attemptDue()
    expect(await statusOf(id)).toBe('DELIVERED')
    expect((await findAttempts([id])).map(({ number }) => number)).toEqual([1, 2, 3, 4])
    expect(new Set(receiver.requests.map(({ body, headers }) => `${String(headers['webhook-id'])} ${body}`)).size).toBe(
      1,
    )
  })

  test('a replay after the end of the consent sends nothing', async () => {
    const consent = await reminders.newConsent()
    const id = await planReminder(consent, 30)
    await deliveries.attemptDue()
    await gateway.app.services.consents.revoke(consent.id, 'CLIENT')
    const { replay } = gateway.app.services.deliveries
    expect(await replay('chatterbox', { select: { since: undefined, until: undefined } })).toMatchObject({
      replayedCount: 1,
    })
    await deliveries.attemptDue()
    expect(receiver.requests).toHaveLength(1)
    expect(await statusOf(id)).toBe('DROPPED')
  })
})
