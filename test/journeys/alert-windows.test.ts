import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { HOUR_MS, MINUTE_MS, startOfHour } from '../../src/kernel/clock.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { listen } from '../support/event-stream.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let token: Token
beforeAll(async () => {
  gateway = await startGateway()
  token = await gateway.customer('bo', ['northbank'])
})
afterAll(() => gateway.close())

async function report(severity: string, type: string): Promise<void> {
  const { token: event, url } = await signEvent(gateway, 'northbank', {
    claims: {
      jti: randomUUID(),
      events: {
        'urn:guichet:events:security-alert': {
          account: 'nb-10003',
          type,
          severity,
          requested_action: 'NONE',
          occurred_at: Math.floor(Date.now() / 1_000),
        },
      },
    },
  })
  expect((await push(url, event)).status).toBe(202)
}

async function shownTypes(): Promise<string[]> {
  const { data } = await gateway.ask(await gateway.renew(token), '{ customer { alerts { nodes { type } } } }')
  return (data as { customer: { alerts: { nodes: { type: string }[] } } }).customer.alerts.nodes.map(({ type }) => type)
}
const webhookTypes = async (): Promise<unknown[]> => (await gateway.received()).map(({ body }) => body.data['type'])

test('alerts that are not urgent are shown together when their window closes, and an urgent one immediately', async () => {
  // The middle of an hour, so that the window of all alerts is the same.
  gateway.forward(startOfHour(new Date()).getTime() + HOUR_MS + 20 * MINUTE_MS - Date.now())
  const stream = await listen(gateway.issuer, await gateway.renew(token), 'subscription { alertReceived { type } }')
  await report('INFO', 'NEW_SIGN_IN')
  gateway.forward(3 * MINUTE_MS)
  await report('WARNING', 'CONTACT_DETAILS_CHANGED')
  await report('URGENT', 'CARD_SECURITY')
  await eventually('the urgent webhook', async () => (await webhookTypes()).includes('CARD_SECURITY'))
  await eventually('the urgent live alert', () => Promise.resolve(stream.text().includes('CARD_SECURITY')))
  expect(await shownTypes()).toEqual(['CARD_SECURITY'])
  expect(await webhookTypes()).toEqual(['CARD_SECURITY'])
  expect(stream.text()).not.toContain('NEW_SIGN_IN')
  stream.close()

  const rows = await gateway.database.query<{ shown: Date }>(
    "select distinct shown_at as shown from alert where severity <> 'URGENT'",
  )
  expect(rows).toHaveLength(1)
  const untilNextHourMs = startOfHour(new Date()).getTime() + HOUR_MS - Date.now()
  expect(rows[0]!.shown.getTime() - Date.now()).toBeGreaterThanOrEqual(untilNextHourMs - 1_000)
  expect(rows[0]!.shown.getTime() - Date.now()).toBeLessThanOrEqual(untilNextHourMs + 15 * MINUTE_MS)

  gateway.forward(rows[0]!.shown.getTime() - Date.now() + 1)
  await eventually('the other webhooks', async () => (await webhookTypes()).length === 3)
  expect((await shownTypes()).sort()).toEqual(['CARD_SECURITY', 'CONTACT_DETAILS_CHANGED', 'NEW_SIGN_IN'])
  const sequences = (await gateway.received()).map(({ body }) => (body as unknown as { sequence: number }).sequence)
  expect(sequences.sort()).toEqual([1, 2, 3])
})

test('a consent that is given while a window is open covers the alerts that come after it, but not those before it', async () => {
  await report('WARNING', 'ACCOUNT_RESTRICTED')
  gateway.forward(MINUTE_MS)
  await gateway.database.query("update consent set activated_at = $1 where status = 'ACTIVE'", [new Date()])
  gateway.forward(MINUTE_MS)
  await report('WARNING', 'CREDENTIAL_RESET_REQUIRED')
  gateway.forward(80 * MINUTE_MS)
  await eventually('the later alert', async () => (await webhookTypes()).includes('CREDENTIAL_RESET_REQUIRED'))
  await eventually('an empty outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
  expect(await webhookTypes()).not.toContain('ACCOUNT_RESTRICTED')
  const deliveries = await gateway.database.query(
    "select from delivery join alert on alert.id = delivery.alert_id where alert.type = 'ACCOUNT_RESTRICTED'",
  )
  expect(deliveries).toEqual([])
  expect(await shownTypes()).toEqual(['CREDENTIAL_RESET_REQUIRED'])
})
