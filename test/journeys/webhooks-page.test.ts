import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { ALERT_ANSWER_VALUES } from '../../src/kernel/alert-vocabulary.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { RETENTION } from '../../src/kernel/retention.ts'
import {
  GIVE_UP_MS,
  RETRIES,
  WEBHOOK_FAILING,
  WEBHOOK_GIVE_UP,
  WEBHOOK_MAX_RETRY_AFTER_MS,
} from '../../src/kernel/retry.ts'
import { REMINDER_STEPS } from '../../src/modules/consents/reminder-steps.ts'
import { alertData } from '../../src/modules/deliveries/alert-events.ts'
import { ENDPOINT_LIMIT } from '../../src/modules/deliveries/endpoint-limits.ts'
import { buildBody, EXAMPLES } from '../../src/modules/deliveries/message.ts'
import { CONCURRENCY, EVENT_TYPES, REPLAY_DAYS, REPLAY_LIMITS, SET_ERRORS } from '../../src/modules/deliveries/model.ts'
import { createEventSigner, generateEventKey } from '../../src/modules/deliveries/security-event.ts'
import { CONNECT_TIMEOUT_MS } from '../../src/modules/deliveries/webhook-request.ts'
import { ALL_SCOPES, eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { readPage, valuesOf, withoutTicks } from '../support/page.ts'
import { startWebhookReceiver, type ReceivedRequest, type WebhookReceiver } from '../support/webhook-receiver.ts'

const page = readPage('docs/WEBHOOKS.md')
const firstCells = (column: string): string[] => page.rowsOf(column).map(([cell]) => withoutTicks(cell!))

let gateway: TestGateway
let receiver: WebhookReceiver
let bo: Token
beforeAll(async () => {
  gateway = await startGateway()
  receiver = await startWebhookReceiver()
  bo = await gateway.customer('bo', ['northbank'], { scopes: [...ALL_SCOPES, 'alerts:respond'] })
})
beforeEach(async () => {
  receiver.requests.length = 0
  receiver.respond = (response) => void response.writeHead(204).end()
  await gateway.database.query("update delivery set status = 'DROPPED', ended_at = now() where status = 'PENDING'")
  await gateway.app.services.deliveries.waitUntilIdle()
  await gateway.database.query('delete from delivery_attempt')
  await gateway.database.query('delete from delivery')
  await gateway.database.query('delete from webhook_endpoint')
})
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

/** Sends an operation of the page, with a token of the client unless another is given. Returns its data. */
async function send(
  name: string,
  variables: Record<string, unknown>,
  token?: Token,
): Promise<Record<string, Record<string, unknown>>> {
  // Each use of an operation is a request of its own.
  const operation = page.operationOf(name).replace(/idempotencyKey: "[^"]*"/, `idempotencyKey: "${randomUUID()}"`)
  const own = token ?? (await gateway.own('chatterbox', 'webhooks:manage deliveries:read'))
  const { data, errors } = await gateway.ask(own, operation, variables)
  expect(errors).toBeUndefined()
  return data as Record<string, Record<string, unknown>>
}
async function mutate(
  name: string,
  variables: Record<string, unknown>,
  token?: Token,
): Promise<Record<string, unknown>> {
  const [payload] = Object.values(await send(name, variables, token))
  expect(payload!['userErrors']).toEqual([])
  return payload!
}
async function register(): Promise<string> {
  const { webhookEndpoint } = await mutate('RegisterEndpoint', { url: `${receiver.origin}/${randomUUID()}` })
  return (webhookEndpoint as { id: string }).id
}
const alert = () => gateway.alert('northbank', { account: 'nb-10003', type: 'UNUSUAL_ACTIVITY_REVIEW' })
const nextRequest = (): Promise<ReceivedRequest> =>
  eventually('a message', () => Promise.resolve(receiver.requests.at(-1)))

interface Shown {
  readonly id: string
  readonly status: string
  readonly nextAttemptAt: Date
  readonly attemptCount: number
}
/** The newest delivery, once it is as `isExpected` says. */
const delivery = (what: string, isExpected: (shown: Shown) => boolean): Promise<Shown> =>
  eventually(what, async () => {
    const [row] = await gateway.database.query<Shown>(
      `select id, status, next_attempt_at as "nextAttemptAt", attempt_count as "attemptCount" from delivery order by created_at desc limit 1`,
    )
    return row && isExpected(row) && row
  })
const hasStatus =
  (status: string) =>
  (shown: Shown): boolean =>
    shown.status === status

describe('the message on the page about webhooks', () => {
  /** The names of members, as the table of the page has them. */
  const membersOf = ({ data, ...others }: Record<string, unknown>): string[] => [
    ...Object.keys(others),
    ...Object.keys(data as object).map((name) => `data.${name}`),
  ]

  test('its members and headers are those that an endpoint receives', async () => {
    await register()
    await alert()
    const { headers, body } = await nextRequest()
    const message = JSON.parse(body) as Record<string, unknown>
    const shown = page.jsonOf('json message')
    expect(membersOf(message)).toEqual(membersOf(shown))
    const optionsOf = ({ data }: Record<string, unknown>) => (data as { responseOptions: string[] }).responseOptions
    expect(optionsOf(message)).toEqual(optionsOf(shown))
    const lineMembers = ['data.balanceLineId', 'data.balanceLineDirection']
    expect(firstCells('member').filter((name) => !lineMembers.includes(name))).toEqual(membersOf(message))
    expect(Object.keys(headers).filter((name) => name.startsWith('webhook-'))).toEqual(firstCells('header'))
    expect(headers['content-type']).toBe('application/json')
  })

  test('a message with long IDs and every member has at most as many bytes as the page states', () => {
    const at = new Date()
    const id = 'x'.repeat(128)
    const answers = ALERT_ANSWER_VALUES
    const view = {
      publicId: id,
      publicAccountId: id,
      bankId: id,
      alert: {
        type: 'ACCOUNT_TAKEOVER_SUSPECTED',
        severity: 'WARNING',
        requestedAction: 'REVIEW_WITH_BANK',
        balanceLine: { id, direction: 'FALLING' },
        question: { options: answers, respondBy: at },
      },
      occurredAt: at.toISOString(),
    } as unknown as Parameters<typeof alertData>[0]
    const data = alertData(view, { customerId: id, responseOptions: answers })
    const message = { type: EVENT_TYPES.alert, timestamp: at, sequence: Number.MAX_SAFE_INTEGER, data }
    const issuer = `https://${'x'.repeat(255)}`
    const signer = createEventSigner(issuer, generateEventKey(systemRandomness))
    for (const format of ['STANDARD_WEBHOOKS', 'SECURITY_EVENT_TOKEN'] as const)
      expect(buildBody(message, { deliveryId: id, clientId: id, format }, signer).length).toBeLessThan(4_096)
    expect(page.text).toContain('at most 4,096 in either format')
  })

  test('the reminder has the members of the example of its type, which its table lists', () => {
    const shown = page.jsonOf('json reminder') as { type: string; data: object }
    expect(shown.type).toBe(EVENT_TYPES.consentExpiring)
    const members = Object.keys(EXAMPLES[EVENT_TYPES.consentExpiring])
    expect(Object.keys(shown.data)).toEqual(members)
    expect(firstCells('reminder')).toEqual(members.map((name) => `data.${name}`))
    for (const { daysBefore } of REMINDER_STEPS) expect(page.text).toMatch(new RegExp(`\\b${daysBefore} days?\\b`))
  })

  test('its members about a line are those of an alert about a line', () => {
    const at = new Date()
    const balanceLine = { id: 'line_test', direction: 'FALLING' }
    const view = { alert: { balanceLine }, occurredAt: at.toISOString() } as unknown as Parameters<typeof alertData>[0]
    const data = alertData(view, { customerId: 'test', responseOptions: [] })
    expect(Object.keys(data).map((name) => `data.${name}`)).toEqual(
      firstCells('member').filter((name) => name.startsWith('data.')),
    )
  })

  test('its values are IDs, values of the contract and full hours, and nothing else', async () => {
    await register()
    await alert()
    const { data } = JSON.parse((await nextRequest()).body) as { data: Record<string, unknown> }
    const query = '{ customer { id accounts { nodes { id bank { id } } } alerts { nodes { id } } } }'
    const { data: customer } = await gateway.ask(bo, query)
    const values = ['AlertType', 'AlertSeverity', 'AlertAction', 'AlertAnswer'].flatMap(valuesOf)
    const ids = JSON.stringify(customer)
    for (const value of Object.values(data).flat())
      expect(
        values.includes(String(value)) ||
          ids.includes(`"${String(value)}"`) ||
          /T\d\d:00:00\.000Z$/.test(String(value)),
        String(value),
      ).toBe(true)
  })

  test('its lists are those of the contract', () => {
    expect(firstCells('message')).toEqual(Object.values(EVENT_TYPES))
    expect(firstCells('status')).toEqual(expect.arrayContaining(valuesOf('DeliveryStatus')))
    expect(firstCells('status')).toHaveLength(valuesOf('DeliveryStatus').length)
    expect(firstCells('outcome').sort()).toEqual(valuesOf('DeliveryAttemptOutcome').sort())
    expect(firstCells('answer')).toEqual(ALERT_ANSWER_VALUES)
    expect(firstCells('response status')).toEqual(valuesOf('AlertResponseStatus'))
    expect(valuesOf('ErrorCode')).toEqual(expect.arrayContaining(firstCells('code')))
    for (const reason of valuesOf('WebhookEndpointDisabledReason').filter((name) => name !== 'CLIENT'))
      expect(page.text).toContain(`- \`${reason}\`: `)
    expect(SET_ERRORS.map((code) => code.toLowerCase())).toContain(/"err": "(\w+)"/.exec(page.text)![1])
  })
})

describe('the times and limits on the page about webhooks', () => {
  const duration = (ms: number): string => {
    const [unitMs, unit] = (
      [
        [HOUR_MS, 'h'],
        [MINUTE_MS, 'min'],
      ] as const
    ).find(([one]) => ms >= one) ?? [SECOND_MS, 's']
    return `${ms / unitMs} ${unit}`
  }
  const waits = (delaysMs: readonly number[], repeatsLast: boolean): string => {
    const texts = delaysMs.map(duration)
    return repeatsLast ? `${texts.slice(0, -1).join(', ')}, then every ${texts.at(-1)!}` : texts.join(', ')
  }

  test('its schedules are those of the gateway', () => {
    const rows = Object.fromEntries(page.rowsOf('messages')) as unknown
    expect(rows).toEqual({
      '`URGENT` alerts': waits(RETRIES.urgentWebhook.delaysMs, true),
      'all others': waits(RETRIES.webhook.delaysMs, true),
      'test events': `${waits(RETRIES.testWebhook.delaysMs, false)}; then the delivery is FAILED`,
    })
    for (const { jitter } of [RETRIES.urgentWebhook, RETRIES.webhook, RETRIES.testWebhook]) expect(jitter).toBe(0.2)
    expect(page.text).toContain('up to 20 % shorter or longer')
    expect(page.text).toContain(`The last attempt is made ${WEBHOOK_GIVE_UP.afterMs / HOUR_MS} hours`)
  })

  test('its limits are those of the gateway', () => {
    const text = page.text.replaceAll(/\s+/g, ' ')
    const { initial, max } = ENDPOINT_LIMIT
    const storedDays = REPLAY_DAYS + WEBHOOK_GIVE_UP.afterMs / DAY_MS
    for (const statement of [
      `An endpoint gets up to ${initial} requests at a time. Every accepted message raises this by one, up to ${max};`,
      `All of your endpoints together get at most ${CONCURRENCY.perClient}.`,
      `Keep the IDs for at least ${storedDays} days: a message can be replayed for ${REPLAY_DAYS} days`,
      `messages of the last ${REPLAY_DAYS} days to active endpoints again: at most ${REPLAY_LIMITS.ids} by ID, or ${REPLAY_LIMITS.deliveries.toLocaleString('en')} by`,
      `up to ${WEBHOOK_MAX_RETRY_AFTER_MS / HOUR_MS} hours`,
      `The connection with its TLS handshake may take ${CONNECT_TIMEOUT_MS / SECOND_MS} s`,
      `until the bank accepts it, for ${GIVE_UP_MS.alertResponse / HOUR_MS} hours`,
      `could not be reached within ${GIVE_UP_MS.alertResponse / HOUR_MS} hours`,
    ])
      expect(text).toContain(statement)
    expect(WEBHOOK_FAILING).toEqual({ afterMs: 5 * DAY_MS, minAttempts: 10 })
    expect(text).toContain('it has accepted nothing for five days, in which at least ten attempts failed')
    expect(RETRIES.webhookEndpoint.delaysMs.slice(0, 3)).toEqual([SECOND_MS, 2 * SECOND_MS, 4 * SECOND_MS])
    expect(RETRIES.webhookEndpoint.delaysMs.at(-1)).toBe(MINUTE_MS)
    expect(text).toContain('one message after 1 s, 2 s, 4 s and so on, then every minute')
  })

  test('its retention is that of the tables', () => {
    const days = (table: 'alert' | 'delivery' | 'delivery_attempt' | 'client_notice'): string =>
      `${RETENTION[table].afterMs / DAY_MS} days`
    expect(page.rowsOf('data')).toEqual([
      ['alerts in the graph', days('alert')],
      ['deliveries', `${days('delivery')}; replay for ${REPLAY_DAYS} days`],
      ['attempts', days('delivery_attempt')],
      ['notices', days('client_notice')],
      ['results by `idempotencyKey`', `${RETENTION.idempotency_record.afterMs / HOUR_MS} hours`],
    ])
  })
})

describe('the responses on the page about webhooks', () => {
  test('each response of an endpoint has the effect that the page states', async () => {
    expect(page.rowsOf('your response').map(([name]) => name)).toEqual([
      '200 to 299',
      '410',
      'any other',
      'any other, `Retry-After`',
      'none',
    ])
    const endpoint = await register()
    await alert()
    await delivery('an accepted message', hasStatus('DELIVERED'))
    expect(gateway.sent.findLast(({ url }) => url.startsWith(receiver.origin))!.timeoutMs).toBe(10_000)

    const location = `${receiver.origin}/elsewhere`
    receiver.respond = (response) => void response.writeHead(307, { location }).end()
    await alert()
    await delivery('a second attempt', ({ attemptCount }) => attemptCount >= 2)
    expect(receiver.requests.map(({ path }) => path)).not.toContain('/elsewhere')

    receiver.respond = (response) => void response.writeHead(503, { 'retry-after': '3600' }).end()
    await alert()
    const postponed = await delivery('a postponed message', ({ attemptCount }) => attemptCount === 1)
    expect(postponed.nextAttemptAt.getTime() - Date.now()).toBeGreaterThan(HOUR_MS - MINUTE_MS)

    receiver.respond = (response) => void response.writeHead(410).end()
    await alert()
    await delivery('a dropped message', hasStatus('DROPPED'))
    const { client } = await send('Endpoints', {})
    expect(client).toMatchObject({
      notices: { nodes: [{ kind: 'WEBHOOK_ENDPOINT_GONE', subjectId: endpoint }] },
      webhookEndpoints: [{ id: endpoint, status: 'DISABLED', disabledReason: 'GONE' }],
    })
    expect(await mutate('EnableEndpoint', { endpoint })).toMatchObject({
      webhookEndpoint: { status: 'ACTIVE', failingSince: null },
    })
  })

  test('a test event reaches the endpoint with an example that cannot be taken for a real message', async () => {
    const endpoint = await register()
    expect(await mutate('TestEndpoint', { endpoint })).toMatchObject({ delivery: { status: 'PENDING' } })
    expect(JSON.parse((await nextRequest()).body)).toMatchObject({
      type: 'endpoint.test',
      data: { webhookEndpointId: endpoint, eventType: 'alert.received', example: { id: 'alert_example' } },
    })
  })

  test('the contact of a client can be set', async () => {
    const email = 'team@chatterbox.example'
    expect(await mutate('SetContact', { email })).toMatchObject({ client: { contactEmail: email } })
  })

  test('failed messages are listed, and replayed by time and by ID under the same ID', async () => {
    const endpoint = await register()
    // No second attempt during the test.
    receiver.respond = (response) => void response.writeHead(500, { 'retry-after': '3600' }).end()
    await alert()
    const { id } = await delivery('an attempt', ({ attemptCount }) => attemptCount > 0)
    receiver.respond = (response) => void response.writeHead(204).end()
    await gateway.database.query("update delivery set status = 'FAILED', ended_at = now() where id = $1", [id])
    const since = new Date(Date.now() - HOUR_MS).toISOString()
    const { client } = await send('FailedDeliveries', { since })
    expect(client).toMatchObject({
      failedDeliveryCount: 1,
      deliveries: { nodes: [{ id, eventType: 'alert.received', attempts: [{ outcome: 'REFUSED', httpStatus: 500 }] }] },
    })
    const [replayRange, replayIds] = [{ since, endpoint }, { deliveries: [id] }]
    expect(await mutate('ReplayRange', replayRange)).toMatchObject({ replayedCount: 1 })
    await delivery('a replayed message', hasStatus('DELIVERED'))
    expect(await mutate('ReplayByID', replayIds)).toMatchObject({ replayedCount: 1 })
    await eventually('three requests', () => Promise.resolve(receiver.requests.length >= 3))
    expect(new Set(receiver.requests.map(({ headers }) => headers['webhook-id']))).toEqual(new Set([id]))
    expect(new Set(receiver.requests.map(({ body }) => body)).size).toBe(1)
  })

  test('an alert is shown by its reviewed texts, and the response of the customer reaches the bank', async () => {
    await register()
    await alert()
    const { data } = JSON.parse((await nextRequest()).body) as { data: { id: string; responseOptions: string[] } }
    const read = async (): Promise<Record<string, unknown>> => {
      const { customer } = await send('AlertToShow', { alert: data.id }, bo)
      return customer!['alert'] as Record<string, unknown>
    }
    await mutate('SetPhrase', { phrase: 'blue kettle' }, bo)
    const shown = await read()
    expect(shown).toMatchObject({
      id: data.id,
      responseOptions: data.responseOptions,
      response: null,
      texts: { preview: 'Security message from Northbank', phrase: 'blue kettle' },
    })
    expect(JSON.stringify(shown['texts'])).not.toMatch(/https?:/)
    const respond = (answer: string) => mutate('Respond', { alert: data.id, answer, key: randomUUID() }, bo)
    expect(await respond('FREEZE_REQUESTED')).toMatchObject({
      alert: { responseOptions: [], response: { answer: 'FREEZE_REQUESTED' } },
    })
    await eventually('the confirmation', async () => {
      const { response } = (await read()) as { response: { status: string } }
      return response.status === 'CONFIRMED'
    })
  })

  test('after the customer has stopped sharing, nothing is sent, not even by a replay', async () => {
    const endpoint = await register()
    const cody = await gateway.customer('cody', ['southbank'])
    receiver.respond = (response) => void response.writeHead(500).end()
    await gateway.alert('southbank', { account: 'sb-60002', type: 'CARD_SECURITY' })
    const { id } = await delivery('an attempt', ({ attemptCount }) => attemptCount > 0)
    await gateway.ask(cody, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    await delivery('a dropped message', hasStatus('DROPPED'))
    const before = receiver.requests.length
    await gateway.database.query("update delivery set status = 'FAILED' where id = $1", [id])
    await mutate('ReplayRange', { since: new Date(Date.now() - HOUR_MS).toISOString(), endpoint })
    await delivery('a dropped message', hasStatus('DROPPED'))
    expect(receiver.requests).toHaveLength(before)
  })
})
