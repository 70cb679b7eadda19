import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { HOUR_MS, MINUTE_MS, startOfHour } from '../../src/kernel/clock.ts'
import { ALERT_MEMBERS } from '../support/alert-message.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { listen } from '../support/event-stream.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { connectAtTwoPlatforms, platformsOf } from '../support/platforms.ts'

let gateway: TestGateway
let database: Database
/** Two platforms of one customer. Only Chatterbox has an endpoint. */
let chatterbox: Token
let messenger: Token
let account: { id: string; customer: string }

beforeAll(async () => {
  gateway = await startGateway()
  database = openDatabase(gateway.database.url, 2)
  ;({ chatterbox, messenger } = await connectAtTwoPlatforms(gateway))
  const [row] = await gateway.database.query<{ id: string; customer: string }>(
    "select id, customer_id as customer from account where type = 'CURRENT'",
  )
  account = row!
})
afterAll(async () => {
  await database.close()
  await gateway.close()
})
beforeEach(async () => {
  await gateway.database.query('delete from delivery_attempt')
  await gateway.database.query('delete from delivery')
  await gateway.database.query('delete from alert')
})

/** Stores the alert about a crossed line, as the check of lines does. */
const cross = (clientId: string, id = 'line_test'): Promise<void> =>
  database.delivery.transaction((tx) =>
    gateway.app.services.alerts.reportLineCrossed(tx, {
      bankId: 'northbank',
      customerId: account.customer,
      accountId: account.id,
      clientId,
      balanceLine: { id, direction: 'FALLING' },
    }),
  )

/** Moves the clock until the window of every alert has closed, and what follows from it is done. */
async function closeWindows(): Promise<void> {
  gateway.forward(80 * MINUTE_MS)
  await eventually('an idle outbox', async () => (await gateway.app.services.outbox.countPending()) === 0)
}

const QUERY = `{ customer { alerts { nodes {
  id type severity requestedAction occurredAt accountId balanceLineId balanceLineDirection } } } }`
async function listed(token: Token, clientId: string): Promise<Record<string, unknown>[]> {
  const { data, errors } = await gateway.ask(await gateway.renew(token, clientId), QUERY)
  expect(errors).toBeUndefined()
  return (data as { customer: { alerts: { nodes: Record<string, unknown>[] } } }).customer.alerts.nodes
}

test('an alert about a line is shown when the window of its hour closes, and names the line and no amount', async () => {
  gateway.forward(startOfHour(new Date()).getTime() + HOUR_MS + 20 * MINUTE_MS - Date.now())
  const hour = startOfHour(new Date()).toISOString()
  const before = (await gateway.received()).length
  await cross('chatterbox')
  expect(await listed(chatterbox, 'chatterbox')).toEqual([])
  gateway.forward(39 * MINUTE_MS)
  expect(await listed(chatterbox, 'chatterbox')).toEqual([])
  await closeWindows()
  const alerts = await listed(chatterbox, 'chatterbox')
  expect(alerts).toMatchObject([
    {
      type: 'BALANCE_LINE_CROSSED',
      severity: 'INFO',
      requestedAction: 'NONE',
      occurredAt: hour,
      balanceLineId: 'line_test',
      balanceLineDirection: 'FALLING',
    },
  ])
  await eventually('the webhook', async () => (await gateway.received()).length > before)
  const { body } = (await gateway.received()).at(-1)!
  expect(Object.keys(body.data).sort()).toEqual([...ALERT_MEMBERS, 'balanceLineDirection', 'balanceLineId'].sort())
})

test('another client of the same customer gets no alert about the line: no list, no stream and no webhook', async () => {
  const before = (await gateway.received()).length
  const [own, other] = await Promise.all(
    (['messenger', 'chatterbox'] as const).map(async (clientId) =>
      listen(
        gateway.issuer,
        await gateway.renew(clientId === 'messenger' ? messenger : chatterbox, clientId),
        'subscription { alertReceived { id type balanceLineId } }',
      ),
    ),
  )
  await cross('messenger', 'line_messenger')
  await closeWindows()
  expect(await listed(messenger, 'messenger')).toMatchObject([{ balanceLineId: 'line_messenger' }])
  expect(await listed(chatterbox, 'chatterbox')).toEqual([])
  own!.close()
  other!.close()
  expect(other!.text()).not.toContain('BALANCE_LINE_CROSSED')
  expect((await gateway.received()).length).toBe(before)
  const { data } = await gateway.ask(
    await gateway.renew(chatterbox),
    'mutation ($ids: [ID!]!) { markAlertsRead(input: { alertIds: $ids }) { userErrors { code } } }',
    { ids: (await listed(messenger, 'messenger')).map(({ id }) => id) },
  )
  expect(data).toMatchObject({ markAlertsRead: { userErrors: [{ code: 'NOT_FOUND' }] } })
})

test('an alert about a line is not shown by a consent that no longer shares the balance', async () => {
  const before = (await gateway.received()).length
  await cross('chatterbox')
  await gateway.database.query(
    "update consent set scopes = '{accounts:read,alerts:read,balances:threshold}' where client_id = 'chatterbox'",
  )
  await closeWindows()
  expect(await listed(chatterbox, 'chatterbox')).toEqual([])
  expect((await gateway.received()).length).toBe(before)
  expect(await gateway.database.query('select 1 from delivery')).toEqual([])
  await gateway.database.query(
    "update consent set scopes = '{accounts:read,balances:band,balances:exact,alerts:read}' where client_id = 'chatterbox'",
  )
})

test('a pending delivery about a line is dropped if its consent no longer shares the balance', async () => {
  const before = (await gateway.received()).length
  gateway.intercept = ({ url }) =>
    url.startsWith(gateway.sandbox.platform) ? Promise.reject(new Error('the endpoint is away')) : undefined
  await cross('chatterbox')
  await closeWindows()
  await eventually('a failed attempt', async () => {
    const rows = await gateway.database.query("select 1 from delivery where status = 'PENDING' and attempt_count > 0")
    return rows.length === 1
  })
  await gateway.database.query("update consent set scopes = '{alerts:read}' where client_id = 'chatterbox'")
  gateway.intercept = undefined
  gateway.forward(MINUTE_MS)
  await eventually('the end of the delivery', async () => {
    const [row] = await gateway.database.query<{ status: string }>('select status from delivery')
    return row!.status !== 'PENDING'
  })
  expect(await gateway.database.query('select status from delivery')).toEqual([{ status: 'DROPPED' }])
  expect((await gateway.received()).length).toBe(before)
})

test('no bank can report that a line was crossed', async () => {
  const { token, url } = await signEvent(gateway, 'northbank', {
    claims: {
      jti: randomUUID(),
      events: {
        'urn:guichet:events:security-alert': {
          account: 'nb-10001',
          type: 'BALANCE_LINE_CROSSED',
          severity: 'URGENT',
          requested_action: 'NONE',
          occurred_at: Math.floor(Date.now() / 1_000),
        },
      },
    },
  })
  expect((await push(url, token)).status).toBe(202)
  const partner = await gateway.own('northbank-partner', 'alerts:publish connectors:read')
  const { data } = await gateway.ask(
    partner,
    `mutation ($input: PublishAlertInput!) { publishAlert(input: $input) { eventId userErrors { code path } } }`,
    {
      input: {
        connectorId: await platformsOf(gateway).connectorOf('northbank'),
        subject: { accountRef: 'nb-10001' },
        type: 'BALANCE_LINE_CROSSED',
        occurredAt: new Date().toISOString(),
        idempotencyKey: randomUUID(),
      },
    },
  )
  expect(data).toMatchObject({
    publishAlert: { eventId: null, userErrors: [{ code: 'INVALID_INPUT', path: ['type'] }] },
  })
  expect(await gateway.database.query('select 1 from alert')).toEqual([])
})
