import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import {
  BOS_CARD,
  createRespondingTools,
  RESPONDING_SCOPES,
  type RespondingTools,
} from '../support/alert-responding.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let tools: RespondingTools
let bo: Token
beforeAll(async () => {
  gateway = await startGateway()
  tools = createRespondingTools(gateway)
  bo = await gateway.customer('bo', ['northbank'], { scopes: RESPONDING_SCOPES })
})
afterAll(() => gateway.close())
beforeEach(async () => {
  gateway.intercept = undefined
  await tools.clear()
  bo = await gateway.renew(bo)
})

/** The bank responds to every answer with this status. */
function respondAsBank(status: number, text = ''): void {
  gateway.intercept = ({ url }) =>
    url.endsWith('/alert-responses') ? Promise.resolve({ status, headers: {}, text }) : undefined
}

test('an answer is sent again, with the same ID, until the bank accepts it', async () => {
  const bodies: string[] = []
  gateway.intercept = (request) => {
    if (!request.url.endsWith('/alert-responses')) return undefined
    bodies.push(String(request.body))
    return bodies.length < 3 ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
  }
  const alert = await tools.raiseAlert(bo)
  expect((await tools.respond(bo, alert.id, 'CALL_ME'))?.alert?.response).toMatchObject({ status: 'PENDING' })
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
  const ids = bodies.map((token) => {
    const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as { jti: string }
    return claims.jti
  })
  expect(new Set(ids).size).toBe(1)
  expect(ids.length).toBeGreaterThanOrEqual(3)
})

test('twelve customers of one bank who respond at the same time wait for none of each other', async () => {
  const alerts = []
  for (let index = 0; index < 12; index++) alerts.push(await tools.raiseAlert(bo))
  let arrivedCount = 0
  let acceptAll: (response: OutboundResponse) => void
  const accepted = new Promise<OutboundResponse>((resolve) => (acceptAll = resolve))
  gateway.intercept = ({ url }) => {
    if (!url.endsWith('/alert-responses')) return undefined
    if (++arrivedCount === alerts.length) acceptAll({ status: 202, headers: {}, text: '' })
    return accepted
  }
  await Promise.all(alerts.map(({ id }) => tools.respond(bo, id, 'CALL_ME')))
  await tools.untilStatus(bo, alerts.at(-1)!.id, 'SENT')
  expect(arrivedCount).toBe(alerts.length)
})

test('an answer that the bank refuses for good, or that cannot be sent for a day, says so', async () => {
  respondAsBank(400, '{"err":"invalid_request"}')
  const refused = await tools.raiseAlert(bo)
  await tools.respond(bo, refused.id, 'CALL_ME')
  await tools.untilStatus(bo, refused.id, 'FAILED')
  respondAsBank(401)
  const unreachable = await tools.raiseAlert(bo)
  await tools.respond(bo, unreachable.id, 'CALL_ME')
  await eventually('an attempt', async () => {
    const rows = await gateway.database.query(
      "select 1 from outbox_message where topic = 'alert-response.given' and attempt_count > 0 and processed_at is null",
    )
    return rows.length > 0
  })
  gateway.forward(25 * 3_600_000)
  bo = await gateway.renew(bo)
  await tools.untilStatus(bo, unreachable.id, 'EXPIRED')
  const [row] = await gateway.database.query(
    "select count(*)::int as n from alert_response where status in ('FAILED', 'EXPIRED') and sealed_message is not null",
  )
  expect(row).toEqual({ n: 0 })
})

test('an answer whose consent ends before it is sent still reaches the bank', async () => {
  let isDown = true
  gateway.intercept = ({ url }) =>
    isDown && url.endsWith('/alert-responses') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
  const token = await gateway.customer('cody', ['southbank'], { scopes: RESPONDING_SCOPES })
  await gateway.alert('southbank', { account: 'sb-60002', type: 'CARD_SECURITY' })
  const [alert] = await eventually('the alert', async () => {
    const found = await tools.alertsOf(token)
    return found.length > 0 && found
  })
  expect((await tools.respond(token, alert!.id, 'FREEZE_REQUESTED'))?.userErrors).toEqual([])
  const { data } = await gateway.ask(
    token,
    'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }',
  )
  expect(data).toMatchObject({ withdrawConsents: { userErrors: [] } })
  isDown = false
  await eventually('the freeze', async () => {
    return (await tools.fraudDesk('southbank')).frozenAccounts.includes('sb-60002')
  })
})

test('a report about an answer of another bank, or a report that is repeated, changes nothing', async () => {
  respondAsBank(202)
  const alert = await tools.raiseAlert(bo)
  await tools.respond(bo, alert.id, 'CALL_ME')
  await tools.untilStatus(bo, alert.id, 'SENT')
  const [row] = await gateway.database.query<{ id: string }>('select id from alert_response')
  const type = 'urn:guichet:events:alert-response-processed'
  const report = { response: row!.id, outcome: 'REFUSED' }
  expect(await tools.report(type, report, 'cody', 'southbank')).toBe(202)
  expect(await tools.statusOf(bo, alert.id)).toBe('SENT')
  expect(await tools.report(type, report)).toBe(202)
  await tools.untilStatus(bo, alert.id, 'FAILED')
  expect(await tools.report(type, { ...report, outcome: 'CONFIRMED' })).toBe(202)
  expect(await tools.statusOf(bo, alert.id)).toBe('FAILED')
})

test('a response that expired here and reached the bank shows what the bank then reports', async () => {
  // The bank takes the response, and its acknowledgement is lost each time.
  respondAsBank(503)
  const alert = await tools.raiseAlert(bo)
  await tools.respond(bo, alert.id, 'FREEZE_REQUESTED')
  gateway.forward(25 * 3_600_000)
  bo = await gateway.renew(bo)
  await tools.untilStatus(bo, alert.id, 'EXPIRED')
  const [row] = await gateway.database.query<{ id: string }>('select id from alert_response')
  const report = { response: row!.id, outcome: 'CONFIRMED' }
  expect(await tools.report('urn:guichet:events:alert-response-processed', report)).toBe(202)
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
})

test('a bank that repeats that a detail was viewed makes no client read its alerts again', async () => {
  await tools.raiseAlert(bo)
  const jti = tools.newestEventId()
  const view = () => tools.report('urn:guichet:events:alert-detail-viewed', { alert: jti })
  expect(await view()).toBe(202)
  await eventually('the option', async () => (await tools.alertsOf(bo))[0]!.responseOptions.includes('IT_WAS_ME'))
  const published = vi.spyOn(gateway.app.services.signals, 'publish')
  for (let report = 0; report < 5; report++) expect(await view()).toBe(202)
  // Signals about other things are none of the alerts.
  expect(published.mock.calls.filter(([, { kind }]) => kind === 'ALERTS_CHANGED')).toEqual([])
  published.mockRestore()
})

test('no row of a pending response holds an ID of the bank in readable form', async () => {
  respondAsBank(503)
  const alert = await tools.raiseAlert(bo)
  expect((await tools.respond(bo, alert.id, 'CALL_ME'))?.userErrors).toEqual([])
  const [jti, rows] = [tools.newestEventId(), []] as [string, object[]]
  for (const table of ['alert', 'alert_question', 'alert_response', 'outbox_message', 'ledger_entry'])
    rows.push(...(await gateway.database.query(`select * from ${table}`)))
  expect(rows.some((row) => 'sealed_message' in row && row.sealed_message !== null)).toBe(true)
  expect(JSON.stringify(rows)).not.toContain(jti)
  expect(JSON.stringify(rows)).not.toContain(BOS_CARD)
})

/** Northbank's partner publishes an alert about `BOS_CARD`. Returns the ID of its event. */
async function publishAlert(changes: object = {}): Promise<string> {
  const [connector] = await gateway.database.query<{ id: string }>(
    "select id from connector where bank_id = 'northbank'",
  )
  const input = {
    connectorId: connector!.id,
    subject: { accountRef: BOS_CARD },
    type: 'UNUSUAL_ACTIVITY_REVIEW',
    severity: 'URGENT',
    occurredAt: new Date().toISOString(),
    idempotencyKey: randomUUID(),
    ...changes,
  }
  const { data } = await gateway.ask(
    await gateway.own('northbank-partner', 'alerts:publish'),
    `mutation ($input: PublishAlertInput!) { publishAlert(input: $input) { eventId userErrors { code path } } }`,
    { input },
  )
  return (data!['publishAlert'] as { eventId: string }).eventId
}

test('an alert that a partner publishes offers the stated answers, and the bank gets its event ID back', async () => {
  const eventId = await publishAlert({
    responseOptions: ['CALL_ME'],
    respondBy: new Date(Date.now() + 5 * 3_600_000).toISOString(),
  })
  const alert = await eventually('the alert', async () => (await tools.alertsOf(bo))[0])
  expect(alert.responseOptions).toEqual(['CALL_ME'])
  await tools.respond(bo, alert.id, 'CALL_ME')
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
  const sent = gateway.sent.filter(({ url }) => url.endsWith('/alert-responses')).at(-1)!
  const claims = JSON.parse(Buffer.from(String(sent.body).split('.')[1]!, 'base64url').toString()) as {
    events: Record<string, Record<string, unknown>>
  }
  expect(claims.events['urn:guichet:events:alert-response']).toMatchObject({ alert: eventId, answer: 'CALL_ME' })
})

test('a detail of a published alert that the customer has seen is reported by the ID of its event', async () => {
  const eventId = await publishAlert()
  const alert = await eventually('the alert', async () => (await tools.alertsOf(bo))[0])
  expect(alert.responseOptions).not.toContain('IT_WAS_ME')
  expect(await tools.report('urn:guichet:events:alert-detail-viewed', { alert: eventId })).toBe(202)
  await eventually('the option', async () => (await tools.alertsOf(bo))[0]!.responseOptions.includes('IT_WAS_ME'))
  expect((await tools.respond(bo, alert.id, 'IT_WAS_ME'))?.userErrors).toEqual([])
})

test('an answer names the person only to the connector through which the bank named them', async () => {
  const moveConnection = async (from: string, to: string): Promise<void> => {
    const [moved] = await gateway.database.query<{ customer_id: string }>(
      `update connection set connector_id = (select id from connector where bank_id = $2 limit 1)
       where connector_id in (select id from connector where bank_id = $1) returning customer_id`,
      [from, to],
    )
    await gateway.app.services.signals.publishNow({ kind: 'CONSENT', id: '', customerId: moved!.customer_id })
  }
  const sentSubject = async (beforeAnswer = () => Promise.resolve()): Promise<unknown> => {
    const type = 'https://schemas.openid.net/secevent/risc/event-type/credential-compromise'
    expect(await tools.report(type, {})).toBe(202)
    const alert = await eventually('the alert', async () => (await tools.alertsOf(bo))[0])
    await beforeAnswer()
    expect((await tools.respond(bo, alert.id, 'CALL_ME'))?.userErrors).toEqual([])
    await tools.untilStatus(bo, alert.id, 'CONFIRMED')
    await tools.clear()
    const sent = gateway.sent.filter(({ url }) => url.endsWith('/alert-responses')).at(-1)!
    const claims = Buffer.from(String(sent.body).split('.')[1]!, 'base64url').toString()
    return (JSON.parse(claims) as { sub_id?: unknown }).sub_id
  }
  expect(await sentSubject()).toMatchObject({ format: 'iss_sub', sub: 'bo' })
  // The customer has another connection to the bank, through another connector.
  expect(await sentSubject(() => moveConnection('northbank', 'westbank'))).toBeUndefined()
  await moveConnection('westbank', 'northbank')
})
