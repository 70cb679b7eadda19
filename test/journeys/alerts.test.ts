import { generateKeyPairSync } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { OutboundRequest, OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { ALERT_MEMBERS } from '../support/alert-message.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'

const secondsFromNow = (seconds: number): number => Math.floor(Date.now() / 1_000) + seconds

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
beforeEach(() => {
  gateway.intercept = undefined
})

const alertCount = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n
const areAllDelivered = async (): Promise<boolean> =>
  (await gateway.database.query("select 1 from delivery where status = 'PENDING'")).length === 0
const ALERTS =
  '{ customer { alerts { nodes { id type severity requestedAction occurredAt accountId bank { id } } } accounts { nodes { id type } } } }'

describe('a fraud alert that a bank pushes', () => {
  test('an alert reaches the signed webhook, the live subscription and the query of the customer', async () => {
    const token = await gateway.customer('ada', ['northbank', 'rheinbank'])
    const stream = await listen(
      gateway.issuer,
      token,
      'subscription { alertReceived { type severity requestedAction bank { name } } }',
    )
    expect(await gateway.alert('northbank', { customer: 'ada', type: 'UNUSUAL_ACTIVITY_REVIEW' })).toEqual([202])
    const message = await eventually('the webhook', async () => (await gateway.received())[0])
    expect(message.verified).toBe(true)
    expect(Object.keys(message.body.data).sort()).toEqual(ALERT_MEMBERS)
    await eventually('the live alert', () => Promise.resolve(stream.text().includes('event: next')))
    stream.close()
    const data = JSON.parse(/^data: (\{.*\})$/m.exec(stream.text())![1]!) as { data: { alertReceived: unknown } }
    expect(data.data.alertReceived).toEqual({
      type: 'UNUSUAL_ACTIVITY_REVIEW',
      severity: 'URGENT',
      requestedAction: 'REVIEW_WITH_BANK',
      bank: { name: 'Northbank' },
    })

    const customer = (await gateway.ask(token, ALERTS)).data!['customer'] as {
      alerts: { nodes: { accountId: string; occurredAt: string; id: string }[] }
      accounts: { nodes: { id: string }[] }
    }
    expect(customer.alerts.nodes).toHaveLength(1)
    expect(customer.accounts.nodes.map(({ id }) => id)).toContain(customer.alerts.nodes[0]!.accountId)
    // The webhook and the graph use the same ID.
    expect(message.body.data['id']).toBe(customer.alerts.nodes[0]!.id)
    expect(customer.alerts.nodes[0]!.occurredAt).toMatch(/:00:00\.000Z$/)
  })

  test("an alert about a card finds the card even if the bank's events do not distinguish cards from accounts", async () => {
    await gateway.customer('ada', ['rheinbank'])
    const before = await alertCount()
    expect(
      await gateway.alert('rheinbank', { account: '8f1c2a44-0002-4000-8000-000000000002', type: 'CARD_SECURITY' }),
    ).toEqual([202])
    expect(await alertCount()).toBeGreaterThan(before)
  })

  test('an event that is pushed twenty times concurrently becomes one alert, and every push is acknowledged', async () => {
    await gateway.customer('bo', ['northbank'])
    const { token, url } = await signEvent(gateway, 'northbank', {
      claims: {
        events: {
          'urn:guichet:events:security-alert': {
            account: 'nb-10003',
            type: 'NEW_SIGN_IN',
            occurred_at: secondsFromNow(-3_600),
          },
        },
      },
    })
    const before = await alertCount()
    const statuses = await Promise.all(Array.from({ length: 20 }, async () => (await push(url, token)).status))
    expect(statuses).toEqual(Array.from({ length: 20 }, () => 202))
    expect(await alertCount()).toBe(before + 1)
  })

  test('an alert about an account that nobody shares is acknowledged and not stored', async () => {
    const before = await alertCount()
    const { token, url } = await signEvent(gateway, 'northbank', {
      claims: {
        events: {
          'urn:guichet:events:security-alert': {
            account: 'nb-10005',
            type: 'NEW_SIGN_IN',
            occurred_at: secondsFromNow(-3_600),
          },
        },
      },
    })
    expect((await push(url, token)).status).toBe(202)
    expect(await alertCount()).toBe(before)
  })

  test('an alert about an account that is no longer shared is not stored', async () => {
    const token = await gateway.customer('dan', ['northbank'])
    await gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
    const before = await alertCount()
    expect(await gateway.alert('northbank', { customer: 'dan', type: 'CARD_SECURITY' })).toEqual([202])
    expect(await alertCount()).toBe(before)
  })

  test.each<[string, (request: OutboundRequest) => boolean]>([
    [
      'a bank that hangs while its consents are ended',
      ({ method, url }) => method === 'DELETE' && url.includes('/psd2/'),
    ],
    ['a platform whose webhook hangs', ({ url }) => url.endsWith('/webhooks')],
  ])('an alert is not delayed by %s', async (_who, hangs) => {
    const leavingTokens = [await gateway.customer('ada', ['rheinbank']), await gateway.customer('dan', ['rheinbank'])]
    const token = await gateway.customer('bo', ['northbank'])
    const stream = await listen(gateway.issuer, token, 'subscription { alertReceived { type } }')
    let hung = 0
    const over = Promise.withResolvers<OutboundResponse>()
    gateway.intercept = (request) => (hangs(request) ? (hung++, over.promise) : undefined)
    for (const one of leavingTokens) {
      await gateway.ask(one, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
      // One after the other, so that every loop that handles such messages gets one.
      await new Promise((resolve) => setTimeout(resolve, 300))
    }
    await gateway.alert('northbank', { account: 'nb-10003', type: 'UNUSUAL_ACTIVITY_REVIEW' })
    await eventually('a request that hangs', () => Promise.resolve(hung > 0))
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually('the live alert', () => Promise.resolve(stream.text().includes('CARD_SECURITY')), 15_000)
    over.resolve({ status: 204, headers: {}, text: '' })
    stream.close()
    await eventually('that all are delivered', areAllDelivered)
  })

  test('a new endpoint that hangs has at most five attempts in flight and does not delay another one', async () => {
    await gateway.customer('bo', ['northbank'])
    const own = await gateway.own('chatterbox', 'webhooks:manage')
    const answer = await gateway.ask(
      own,
      'mutation ($url: URL!) { registerWebhookEndpoint(input: { url: $url }) { webhookEndpoint { id } } }',
      { url: `${gateway.sandbox.platform}/webhooks?second` },
    )
    const { id } = (answer.data!['registerWebhookEndpoint'] as { webhookEndpoint: { id: string } }).webhookEndpoint
    let [deliveredCount, startedCount, inFlight, maxInFlight] = [0, 0, 0, 0]
    const over = Promise.withResolvers<OutboundResponse>()
    gateway.intercept = ({ url }) => {
      if (url.endsWith('/webhooks')) {
        deliveredCount++
        return Promise.resolve({ status: 204, headers: {}, text: '' })
      }
      if (!url.endsWith('?second')) return undefined
      startedCount++
      maxInFlight = Math.max(maxInFlight, ++inFlight)
      return over.promise.finally(() => inFlight--)
    }
    for (let index = 0; index < 12; index++)
      await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually('all webhooks of the other endpoint', () => Promise.resolve(deliveredCount >= 12), 15_000)
    await eventually('five attempts in flight', () => Promise.resolve(maxInFlight >= 5))
    expect(maxInFlight).toBe(5)
    over.resolve({ status: 204, headers: {}, text: '' })
    await eventually('that the rest is delivered', areAllDelivered)
    expect(startedCount).toBeGreaterThanOrEqual(12)
    await gateway.ask(
      own,
      'mutation ($id: ID!) { updateWebhookEndpoint(input: { webhookEndpointId: $id, status: DISABLED }) { userErrors { code } } }',
      { id },
    )
  })

  test('a process that stops during a webhook attempt waits for its outcome and stores it', async () => {
    const stopping = await startGateway()
    await stopping.customer('bo', ['northbank'])
    let startedCount = 0
    stopping.intercept = ({ url }) => {
      if (!url.endsWith('/webhooks')) return undefined
      startedCount++
      return new Promise((resolve) => setTimeout(() => resolve({ status: 204, headers: {}, text: '' }), 800))
    }
    await stopping.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually('the attempt', () => Promise.resolve(startedCount > 0))
    await stopping.app.stop()
    expect(await stopping.database.query('select status from delivery')).toEqual([{ status: 'DELIVERED' }])
    await stopping.close()
  })

  test('alert, outbox message and ledger entry are stored together or not at all, and only then the bank gets 202', async () => {
    await gateway.customer('ada', ['northbank'])
    for (const table of ['ledger_entry', 'outbox_message', 'alert']) {
      const { token, url } = await signEvent(gateway, 'northbank')
      const before = await alertCount()
      await gateway.database.query(`alter table ${table} rename to away`)
      const refused = await push(url, token)
      await gateway.database.query(`alter table away rename to ${table}`)
      expect(refused.status).toBe(503)
      expect(refused.headers.get('retry-after')).toBe('5')
      expect(await alertCount()).toBe(before)
      // The bank resends the same token, which is accepted now.
      expect((await push(url, token)).status).toBe(202)
      expect(await alertCount()).toBeGreaterThan(before)
    }
  })

  test('a webhook that is refused is retried with the same ID until it is delivered', async () => {
    await gateway.customer('bo', ['northbank'])
    const ids: string[] = []
    gateway.intercept = (request) => {
      if (!request.url.endsWith('/webhooks')) return undefined
      ids.push(request.headers!['webhook-id']!)
      return ids.length === 1 ? Promise.resolve({ status: 503, headers: {}, text: 'later' }) : undefined
    }
    await gateway.alert('northbank', { customer: 'bo', type: 'CARD_SECURITY' })
    const own = await gateway.own('chatterbox', 'deliveries:read')
    const delivery = await eventually('the second attempt', async () => {
      await gateway.database.query(
        "update delivery set next_attempt_at = now() where status = 'PENDING' and next_attempt_at < now() + interval '10 seconds'",
      )
      const answer = await gateway.ask(
        own,
        '{ client { deliveries { nodes { id status attempts { number httpStatus outcome } } } } }',
      )
      return (
        answer.data!['client'] as {
          deliveries: { nodes: { id: string; status: string; attempts: { outcome: string }[] }[] }
        }
      ).deliveries.nodes.find(({ id, status }) => id === ids[0] && status === 'DELIVERED')
    })
    expect(ids.filter((id) => id === ids[0])).toHaveLength(2)
    // If the database is slow for a moment, there is one more attempt, with the outcome NOT_SENT.
    expect(delivery.attempts.filter(({ outcome }) => outcome !== 'NOT_SENT')).toMatchObject([
      { httpStatus: 503, outcome: 'REFUSED' },
      { httpStatus: 204, outcome: 'ACCEPTED' },
    ])
  })

  test('IDs of events and processed messages are deleted only when they can no longer matter', async () => {
    const { token, url } = await signEvent(gateway, 'northbank')
    expect((await push(url, token)).status).toBe(202)
    const { alerts, outbox } = gateway.app.services
    await gateway.database.query("update bank_event set received_at = now() - interval '7 days 1 hour'")
    expect(await alerts.deleteExpiredEvents()).toBe(0)
    await gateway.database.query("update bank_event set received_at = now() - interval '8 days 1 hour'")
    expect(await alerts.deleteExpiredEvents()).toBeGreaterThan(0)
    const insertSql =
      "insert into outbox_message (id, topic, subject_id, next_attempt_at, processed_at) values ($1, 'connection.end', 'conn_x', now() + interval '1 day', $2)"
    const weekAgo = new Date(Date.now() - 8 * 86_400_000)
    await gateway.database.query(insertSql, ['msg_processed_long_ago', weekAgo])
    await gateway.database.query(insertSql, ['msg_processed_just_now', new Date()])
    await gateway.database.query(insertSql, ['msg_pending', null])
    expect(await outbox.deleteProcessed()).toBe(1)
    const left = await gateway.database.query<{ id: string }>(
      "select id from outbox_message where subject_id = 'conn_x' order by id",
    )
    expect(left.map(({ id }) => id)).toEqual(['msg_pending', 'msg_processed_just_now'])
  })

  test.each([
    ['of another issuer', { claims: { iss: 'https://bank.example' } }],
    ['for another audience', { claims: { aud: 'https://gateway.example/elsewhere' } }],
    ['for a list of audiences without us', { claims: { aud: ['https://a.example', 'https://b.example'] } }],
    ['from the future', { claims: { iat: Math.floor(Date.now() / 1_000) + 600 } }],
    ['of last month', { claims: { iat: Math.floor(Date.now() / 1_000) - 30 * 86_400 } }],
    ['without an id', { without: ['jti'] }],
    ['with an id of a thousand characters', { claims: { jti: 'x'.repeat(1_000) } }],
    ['without a time', { without: ['iat'] }],
    ['that expires', { claims: { exp: Math.floor(Date.now() / 1_000) + 600 } }],
    ['that is an ordinary JWT', { header: { typ: 'JWT' } }],
    ['with two events', { claims: { events: { a: {}, b: {} } } }],
    ['with no event', { claims: { events: {} } }],
    ['whose events are a list', { claims: { events: [1] } }],
    [
      'signed by somebody else',
      { key: generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' }) },
    ],
    ...(
      [
        ['whose alert happened a month and a day ago', -31 * 86_400],
        ['whose alert is to happen in an hour', 3_600],
      ] as const
    ).map(([what, seconds]): [string, { claims: Record<string, unknown> }] => [
      what,
      {
        claims: {
          events: {
            'urn:guichet:events:security-alert': {
              account: 'nb-10001',
              type: 'CARD_SECURITY',
              occurred_at: secondsFromNow(seconds),
            },
          },
        },
      },
    ]),
    [
      'about an account that is an object',
      {
        claims: {
          events: { 'urn:guichet:events:security-alert': { account: {}, type: 'CARD_SECURITY', occurred_at: 1 } },
        },
      },
    ],
  ])('an event %s is refused, and nothing of it is stored', async (_what, choice) => {
    const before = await alertCount()
    const { token, url } = await signEvent(gateway, 'northbank', choice)
    const response = await push(url, token)
    expect(response.status).toBe(400)
    expect(await response.json()).toEqual({ err: 'invalid_request', description: 'the event is invalid' })
    expect(await alertCount()).toBe(before)
  })

  test('an unsigned event, another content type, an unknown connector and a huge body are refused', async () => {
    const { token, url } = await signEvent(gateway, 'northbank')
    const [, payload] = token.split('.')
    const none = `${Buffer.from('{"alg":"none","typ":"secevent+jwt"}').toString('base64url')}.${payload}.`
    expect((await push(url, none)).status).toBe(400)
    expect((await push(url, token, 'text/plain')).status).toBe(415)
    expect((await push(url, token, 'application/json')).status).toBe(400)
    expect((await push(`${gateway.issuer}/bank-events/cnct_nobody`, token)).status).toBe(404)
    expect((await push(url, 'x'.repeat(20_000))).status).toBe(413)
  })

  test('an event of one bank is refused at the address of another bank', async () => {
    const { token } = await signEvent(gateway, 'northbank')
    const { url } = await signEvent(gateway, 'rheinbank')
    expect((await push(url, token)).status).toBe(400)
  })

  test('alerts of a customer who does not share them reach no webhook, no subscription and no query', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] })
    // Those of the tests before.
    await eventually('that all are delivered', areAllDelivered)
    const before = (await gateway.received()).length
    expect(
      await gateway.alert('rheinbank', { account: '8f1c2a44-0004-4000-8000-000000000004', type: 'CARD_SECURITY' }),
    ).toEqual([202])
    const answer = await gateway.ask(token, ALERTS)
    expect(answer.errors?.[0]?.extensions?.code).toBe('UNAUTHORIZED_FIELD_OR_TYPE')
    expect((answer.data!['customer'] as { alerts: unknown }).alerts).toBeNull()
    expect((await listen(gateway.issuer, token, 'subscription { alertReceived { type } }')).status).toBe(403)
    expect(await gateway.received()).toHaveLength(before)
  })
})
