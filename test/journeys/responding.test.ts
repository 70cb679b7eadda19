import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import {
  createRespondingTools,
  RESPONDING_SCOPES,
  RESPOND_TO_ALERT,
  BOS_CARD,
  type RespondingTools,
} from '../support/alert-responding.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'

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

test('a customer who asks for a freeze sees it confirmed, and the bank has frozen the card', async () => {
  const alert = await tools.raiseAlert(bo)
  expect(alert.responseOptions).toEqual(['CALL_ME', 'IT_WAS_NOT_ME', 'FREEZE_REQUESTED'])
  expect(alert.respondBy).toMatch(/:00:00\.000Z$/)
  const payload = await tools.respond(bo, alert.id, 'FREEZE_REQUESTED')
  expect(payload).toMatchObject({ alert: { id: alert.id, response: { answer: 'FREEZE_REQUESTED' } }, userErrors: [] })
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
  const desk = await tools.fraudDesk()
  expect(desk.frozenAccounts).toEqual([BOS_CARD])
  expect(desk.responses).toMatchObject([{ answer: 'FREEZE_REQUESTED', account: BOS_CARD, isConfirmed: true }])
  const [entry] = await gateway.database.query(
    "select client_id, detail from ledger_entry where action = 'ALERT_ANSWERED' order by sequence desc limit 1",
  )
  expect(entry).toEqual({ client_id: 'chatterbox', detail: 'FREEZE_REQUESTED' })
})

test('the answers that the registration of a bank names are offered, and no others', async () => {
  const [connector] = await gateway.database.query<{ id: string; registration: Record<string, unknown> }>(
    "select id, registration from connector where bank_id = 'northbank'",
  )
  const { id, registration: before } = connector!
  const setRegistration = async (registration: object): Promise<void> => {
    await gateway.database.query('update connector set registration = $2 where id = $1', [id, registration])
    await gateway.app.services.signals.publishNow({ kind: 'BANK', id: 'northbank' })
  }
  const stated = before['alertResponses'] as Record<string, unknown>
  await setRegistration({ ...before, alertResponses: { ...stated, accepts: ['FREEZE_REQUESTED'] } })
  const offered = await tools.raiseAlert(bo)
  expect(offered.responseOptions).toEqual(['FREEZE_REQUESTED'])
  expect((await tools.respond(bo, offered.id, 'CALL_ME'))?.userErrors).toMatchObject([{ code: 'STATE_CONFLICT' }])
  const { alertResponses: _none, ...without } = before
  await setRegistration(without)
  const alert = await tools.raiseAlert(bo)
  expect(alert).toMatchObject({ responseOptions: [], respondBy: null })
  expect((await tools.respond(bo, alert.id, 'FREEZE_REQUESTED'))?.userErrors).toMatchObject([
    { code: 'STATE_CONFLICT' },
  ])
  await setRegistration(before)
})

test('the answer "it was me" is refused until the bank has shown the customer the detail', async () => {
  const alert = await tools.raiseAlert(bo)
  expect(await tools.respond(bo, alert.id, 'IT_WAS_ME')).toMatchObject({
    alert: null,
    userErrors: [{ code: 'STATE_CONFLICT', path: ['answer'] }],
  })
  expect((await fetch(`${gateway.sandbox.banks.northbank}/app/bo`)).status).toBe(200)
  await eventually('the option', async () => (await tools.alertsOf(bo))[0]!.responseOptions.includes('IT_WAS_ME'))
  expect((await tools.respond(bo, alert.id, 'IT_WAS_ME'))?.userErrors).toEqual([])
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
})

test('a detail that another customer of the bank has seen allows nothing', async () => {
  const alert = await tools.raiseAlert(bo)
  const [row] = await gateway.database.query<{ event_digest: string }>('select event_digest from alert_question')
  expect(row).toBeDefined()
  const jti = tools.newestEventId()
  expect(await tools.report('urn:guichet:events:alert-detail-viewed', { alert: jti }, 'ada')).toBe(202)
  expect((await tools.alertsOf(bo))[0]!.responseOptions).not.toContain('IT_WAS_ME')
  expect((await tools.respond(bo, alert.id, 'IT_WAS_ME'))?.userErrors[0]).toMatchObject({ code: 'STATE_CONFLICT' })
})

const VIEWED = 'urn:guichet:events:alert-detail-viewed'
const CARD = { format: 'opaque', id: BOS_CARD }

test.each<[string, object]>([
  ['an account and another person', { format: 'complex', account: CARD, user: { format: 'opaque', id: 'ada' } }],
  ['an account and an email address', { format: 'complex', account: CARD, user: { format: 'email', email: 'b@c.de' } }],
  ['an account and an email address as aliases', { format: 'aliases', identifiers: [CARD, { format: 'email' }] }],
  ['an account and a session', { format: 'complex', account: CARD, session: { format: 'opaque', id: 'session-1' } }],
  ['an email address', { format: 'email', email: 'bo@bank.example' }],
  ['a person of an unknown issuer', { format: 'iss_sub', iss: 'https://other.example', sub: 'bo' }],
  ['another account', { format: 'opaque', id: 'nb-10004' }],
  ['nothing', {}],
])('a report that names %s as the viewer of a detail allows nothing', async (_what, subject) => {
  await tools.raiseAlert(bo)
  expect(await tools.report(VIEWED, { alert: tools.newestEventId() }, subject)).toBe(202)
  expect((await tools.alertsOf(bo))[0]!.responseOptions).not.toContain('IT_WAS_ME')
})

test('a report that names an account and one of its two holders allows the answer of this holder alone', async () => {
  const dan = await gateway.customer('dan', ['northbank'], { scopes: RESPONDING_SCOPES })
  await gateway.database.query(
    `with shared as (
       insert into account select (jsonb_populate_record(account, jsonb_build_object('id', 'acct_shared', 'customer_id',
         (select customer_id from account where type = 'CURRENT' and bank_id = 'northbank' order by created_at desc limit 1)))).*
       from account where type = 'CARD' and bank_id = 'northbank' limit 1 returning id, customer_id)
     insert into consent_account (consent_id, account_id)
     select consent.id, shared.id from consent join shared using (customer_id) where status = 'ACTIVE'`,
  )
  await gateway.app.services.signals.publishNow({ kind: 'BANK', id: 'northbank' })
  await tools.raiseAlert(bo)
  const jti = tools.newestEventId()
  expect(await gateway.database.query('select 1 from alert_question')).toHaveLength(2)
  expect(await tools.report(VIEWED, { alert: jti }, CARD)).toBe(202)
  const options = async (token: Token) => (await tools.alertsOf(token))[0]?.responseOptions
  expect(await options(bo)).not.toContain('IT_WAS_ME')
  const both = { format: 'complex', account: CARD, user: { format: 'opaque', id: 'bo' } }
  expect(await tools.report(VIEWED, { alert: jti }, both)).toBe(202)
  expect(await options(bo)).toContain('IT_WAS_ME')
  expect(
    await gateway.database.query('select count(*)::int as n from alert_question where detail_viewed_at is null'),
  ).toEqual([{ n: 1 }])
  await gateway.ask(dan, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
  await tools.clear()
  await gateway.database.query("delete from consent_account where account_id = 'acct_shared'")
  await gateway.database.query("delete from account where id = 'acct_shared'")
})

test('a report of another bank with the ID of this alert allows nothing', async () => {
  await tools.raiseAlert(bo)
  const jti = tools.newestEventId()
  const type = 'urn:guichet:events:alert-detail-viewed'
  // It names no person, so that only the bank could tell the two apart.
  expect(await tools.report(type, { alert: jti }, null, 'southbank')).toBe(202)
  expect((await tools.alertsOf(bo))[0]!.responseOptions).not.toContain('IT_WAS_ME')
  expect(await tools.report(type, { alert: jti })).toBe(202)
  expect((await tools.alertsOf(bo))[0]!.responseOptions).toContain('IT_WAS_ME')
})

test('an answer can be raised to a more protective one, and never lowered', async () => {
  const alert = await tools.raiseAlert(bo)
  expect((await tools.respond(bo, alert.id, 'IT_WAS_NOT_ME'))?.userErrors).toEqual([])
  const refused = await tools.respond(bo, alert.id, 'CALL_ME')
  expect(refused).toMatchObject({ alert: null, userErrors: [{ code: 'STATE_CONFLICT', path: ['answer'] }] })
  expect((await tools.alertsOf(bo))[0]!.responseOptions).toEqual(['FREEZE_REQUESTED'])
  expect((await tools.respond(bo, alert.id, 'FREEZE_REQUESTED'))?.userErrors).toEqual([])
  await eventually('both responses', async () => (await tools.fraudDesk()).responses.length === 2)
})

test('an answer "it was me" that the bank has not got is not sent once the customer says that it was not', async () => {
  const sent: string[] = []
  let isDown = true
  gateway.intercept = ({ url, body }) => {
    if (!url.endsWith('/alert-responses')) return undefined
    sent.push(Buffer.from(String(body).split('.')[1]!, 'base64url').toString())
    return Promise.resolve({ status: isDown ? 503 : 202, headers: {}, text: '' })
  }
  const alert = await tools.raiseAlert(bo)
  expect((await fetch(`${gateway.sandbox.banks.northbank}/app/bo`)).status).toBe(200)
  await eventually('the option', async () => (await tools.alertsOf(bo))[0]!.responseOptions.includes('IT_WAS_ME'))
  expect((await tools.respond(bo, alert.id, 'IT_WAS_ME'))?.userErrors).toEqual([])
  await eventually('an attempt', () => Promise.resolve(sent.length === 1))
  expect((await tools.respond(bo, alert.id, 'IT_WAS_NOT_ME'))?.userErrors).toEqual([])
  isDown = false
  await tools.untilStatus(bo, alert.id, 'SENT')
  // When the first one would be sent again.
  gateway.forward(10 * 60_000)
  bo = await gateway.renew(bo)
  await eventually('the outbox to be empty', async () => {
    const rows = await gateway.database.query(
      "select 1 from outbox_message where topic = 'alert-response.given' and processed_at is null",
    )
    return rows.length === 0
  })
  expect(sent.filter((text) => text.includes('"IT_WAS_ME"'))).toHaveLength(1)
  expect(sent.at(-1)).toContain('"IT_WAS_NOT_ME"')
})

test('an answer that twenty requests give at the same time is stored and sent once', async () => {
  const alert = await tools.raiseAlert(bo)
  const payloads = await Promise.all(Array.from({ length: 20 }, () => tools.respond(bo, alert.id, 'FREEZE_REQUESTED')))
  for (const payload of payloads) expect(payload?.userErrors).toEqual([])
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
  expect((await tools.fraudDesk()).responses).toHaveLength(1)
  expect(await gateway.database.query('select 1 from alert_response')).toHaveLength(1)
})

test('two contradicting answers at the same time never leave the less protective one as the last', async () => {
  for (let round = 0; round < 10; round++) {
    const alert = await tools.raiseAlert(bo)
    const [freeze] = await Promise.all([
      tools.respond(bo, alert.id, 'FREEZE_REQUESTED'),
      tools.respond(bo, alert.id, 'CALL_ME'),
    ])
    expect(freeze?.userErrors).toEqual([])
    expect((await tools.alertsOf(bo))[0]!.response?.answer).toBe('FREEZE_REQUESTED')
  }
})

test('the most protective answer is shown, also if the clock was set back before it was given', async () => {
  const alert = await tools.raiseAlert(bo)
  for (const answer of ['CALL_ME', 'FREEZE_REQUESTED'])
    expect((await tools.respond(bo, alert.id, answer))?.userErrors).toEqual([])
  await tools.untilStatus(bo, alert.id, 'CONFIRMED')
  const [row] = await gateway.database.query<{ customer_id: string }>(
    `update alert_response set created_at = alert_response.created_at - interval '1 minute'
     from alert where alert.id = alert_id and answer = 'FREEZE_REQUESTED' returning customer_id`,
  )
  await gateway.app.services.signals.publishNow({ kind: 'ALERTS_CHANGED', customerIds: [row!.customer_id] })
  expect((await tools.alertsOf(bo))[0]!.response?.answer).toBe('FREEZE_REQUESTED')
})

test('a request with a used idempotency key and another answer is refused', async () => {
  const alert = await tools.raiseAlert(bo)
  const key = randomUUID()
  expect((await tools.respond(bo, alert.id, 'CALL_ME', key))?.userErrors).toEqual([])
  expect((await tools.respond(bo, alert.id, 'CALL_ME', key))?.userErrors).toEqual([])
  expect((await tools.respond(bo, alert.id, 'FREEZE_REQUESTED', key))?.userErrors).toMatchObject([
    { code: 'IDEMPOTENCY_KEY_REUSED' },
  ])
})

test('no answer is taken without the customer, the scope, the consent or the alert of the caller', async () => {
  const alert = await tools.raiseAlert(bo)
  const input = { alertId: alert.id, answer: 'FREEZE_REQUESTED' }
  const unattended = await gateway.askUnattended(bo, RESPOND_TO_ALERT, { input })
  expect(unattended.data?.['respondToAlert']).toMatchObject({
    userErrors: [{ code: 'CUSTOMER_PRESENCE_REQUIRED' }],
  })
  const reader = await gateway.customer('dan', ['northbank'])
  expect(await tools.respond(reader, alert.id, 'FREEZE_REQUESTED')).toBeNull()
  const dan = await gateway.customer('dan', ['northbank'], { scopes: RESPONDING_SCOPES })
  expect(await tools.respond(dan, alert.id, 'FREEZE_REQUESTED')).toMatchObject({ userErrors: [{ code: 'NOT_FOUND' }] })
  expect(await tools.respond(await gateway.own('chatterbox', 'webhooks:manage'), alert.id, 'CALL_ME')).toBeNull()
  expect(await gateway.database.query('select 1 from alert_response')).toEqual([])
})

test('after `respondBy`, no answer is available or taken', async () => {
  const alert = await tools.raiseAlert(bo)
  gateway.forward(25 * 3_600_000)
  bo = await gateway.renew(bo)
  expect((await tools.alertsOf(bo))[0]!.responseOptions).toEqual([])
  expect(await tools.respond(bo, alert.id, 'FREEZE_REQUESTED')).toMatchObject({
    userErrors: [{ code: 'STATE_CONFLICT', path: ['answer'] }],
  })
})

test('an alert that 1,100 newer ones of another bank follow stays visible and can be responded to', async () => {
  const ada = await gateway.customer('ada', ['northbank', 'rheinbank'], { scopes: RESPONDING_SCOPES })
  expect(await gateway.alert('northbank', { account: 'nb-10001', type: 'UNUSUAL_ACTIVITY_REVIEW' })).toEqual([202])
  const [alert] = await eventually('the alert', async () => {
    const listed = await tools.alertsOf(ada)
    return listed.length === 1 && listed
  })
  const [{ count } = { count: 0 }] = await gateway.database.query<{ count: number }>(
    `with added as (
       insert into alert (id, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at)
       select 'alrt_flood_' || n, 'rheinbank', alert.customer_id, account.id, 'NEW_SIGN_IN', 'INFO', 'NONE',
         alert.occurred_at, alert.created_at, alert.shown_at + interval '1 millisecond'
       from generate_series(1, 1100) as n, alert
         join account on account.customer_id = alert.customer_id and account.bank_id = 'rheinbank' and account.type = 'CURRENT'
       returning id)
     select count(*)::int as count from added`,
  )
  expect(count).toBe(1_100)
  gateway.forward(60_000)
  const renewed = await gateway.renew(ada)
  const { data } = await gateway.ask(renewed, 'query ($id: ID!) { customer { alert(id: $id) { id } } }', {
    id: alert!.id,
  })
  expect(data).toEqual({ customer: { alert: { id: alert!.id } } })
  expect((await tools.respond(renewed, alert!.id, 'CALL_ME'))?.userErrors).toEqual([])
})

describe('a detail that a bank reports as viewed before it sends the alert', () => {
  /** Northbank pushes an alert about the card of `bo`, as an event with this ID. */
  async function pushAlert(jti: string): Promise<number> {
    const alert = { account: BOS_CARD, type: 'UNUSUAL_ACTIVITY_REVIEW', severity: 'URGENT' }
    const events = {
      'urn:guichet:events:security-alert': {
        ...alert,
        requested_action: 'REVIEW_WITH_BANK',
        occurred_at: Math.floor(Date.now() / 1_000),
      },
    }
    const { token, url } = await signEvent(gateway, 'northbank', { claims: { jti, sub_id: CARD, events } })
    return (await push(url, token)).status
  }
  const canConfirm = async (): Promise<boolean | undefined> =>
    (await tools.alertsOf(bo))[0]?.responseOptions.includes('IT_WAS_ME')

  test.each<[string, string | object, boolean]>([
    ['the person allows', 'bo', true],
    ['the account allows', CARD, true],
    ['another person does not allow', 'ada', false],
    ['another account does not allow', { format: 'opaque', id: 'nb-10004' }, false],
  ])('a report that came first and names %s the answer', async (_what, subject, isAllowed) => {
    const jti = randomUUID()
    expect(await tools.report(VIEWED, { alert: jti }, subject)).toBe(202)
    expect(await pushAlert(jti)).toBe(202)
    await eventually('the alert', async () => (await canConfirm()) !== undefined)
    expect(await canConfirm()).toBe(isAllowed)
  })

  test('a report that is stored while its alert is stored is applied a minute later', async () => {
    const jti = randomUUID()
    const views = await holdRows(gateway, 'lock table alert_detail_view in exclusive mode')
    const reported = tools.report(VIEWED, { alert: jti })
    await views.waiting(1)
    expect(await pushAlert(jti)).toBe(202)
    await views.release()
    expect(await reported).toBe(202)
    expect(await canConfirm()).toBe(false)
    gateway.forward(61_000)
    bo = await gateway.renew(bo)
    await eventually('the option', async () => await canConfirm())
  })
})
