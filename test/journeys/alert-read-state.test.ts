import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS } from '../../src/kernel/clock.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { connectAtTwoPlatforms } from '../support/platforms.ts'
import { recordStatements } from '../support/statements.ts'

let gateway: TestGateway
/** One customer, with one platform each. */
let chatterbox: Token
let messenger: Token
let stranger: Token

beforeAll(async () => {
  gateway = await startGateway()
  ;({ chatterbox, messenger } = await connectAtTwoPlatforms(gateway))
  stranger = await gateway.customer('bo', ['northbank'])
  const subjects = await gateway.database.query('select 1 from customer')
  expect(subjects).toHaveLength(2)
  for (const [account, type] of [
    ['nb-10001', 'CARD_SECURITY'],
    ['nb-10001', 'NEW_SIGN_IN'],
    ['nb-10002', 'NEW_SIGN_IN'],
    ['nb-10003', 'CARD_SECURITY'],
  ] as const)
    await gateway.alert('northbank', { account, type })
  // As if every window had closed.
  await gateway.database.query('update alert set shown_at = created_at')
  for (const token of [chatterbox, messenger])
    await eventually('the alerts', async () => (await list(token)).length === 3)
  await eventually("the stranger's alert", async () => (await list(stranger)).length === 1)
})
afterAll(() => gateway.close())

interface Listed {
  readonly id: string
  readonly type: string
  readonly readAt: string | null
  readonly accountId: string
}
async function list(token: Token, filter: object = {}): Promise<readonly Listed[]> {
  const query = `query ($filter: AlertFilter) { customer { alerts(filter: $filter) { nodes { id type readAt accountId } } } }`
  const { data, errors } = await gateway.ask(token, query, { filter })
  expect(errors).toBeUndefined()
  return (data as { customer: { alerts: { nodes: Listed[] } } }).customer.alerts.nodes
}

interface Marked {
  readonly alerts: readonly Listed[]
  readonly userErrors: readonly UserError[]
}
async function mark(token: Token, alertIds: readonly string[]): Promise<Marked> {
  const query = `mutation ($alertIds: [ID!]!) { markAlertsRead(input: { alertIds: $alertIds }) {
    alerts { id type readAt accountId } userErrors { code path message } } }`
  const { data, errors } = await gateway.ask(token, query, { alertIds })
  expect(errors).toBeUndefined()
  return data!['markAlertsRead'] as Marked
}

test('a marked alert is read for the client that marked it, and a repetition keeps its first time', async () => {
  const [first] = await list(chatterbox)
  expect(first!.readAt).toBeNull()
  const marked = await mark(chatterbox, [first!.id, first!.id])
  expect(marked.userErrors).toEqual([])
  expect(marked.alerts.map(({ id }) => id)).toEqual([first!.id, first!.id])
  const { readAt } = marked.alerts[0]!
  expect(readAt).not.toBeNull()
  gateway.forward(5_000)
  expect((await mark(chatterbox, [first!.id])).alerts[0]!.readAt).toBe(readAt)
  expect((await list(chatterbox)).map((alert) => alert.readAt)).toEqual([readAt, null, null])
})

test('another client of the same customer neither sees what was read nor has to load its list again', async () => {
  const [, second] = await list(chatterbox)
  await list(messenger)
  await mark(chatterbox, [second!.id])
  const statements = recordStatements()
  const seen = await list(messenger).finally(() => statements.stop())
  expect(seen.map(({ readAt }) => readAt)).toEqual([null, null, null])
  expect(
    [...statements.texts].filter((text) => /\b(?<!delete )from alert\b|(?<!delete from )\balert_read/.test(text)),
  ).toEqual([])
  // Longer than lists are cached.
  gateway.forward(31_000)
  expect(await list(messenger, { read: true })).toEqual([])
  expect((await list(chatterbox)).filter(({ readAt }) => readAt !== null)).toHaveLength(2)
})

test('the filter for read alerts holds together with types, severities, accounts and times', async () => {
  const all = await list(chatterbox)
  const unread = all.filter(({ readAt }) => readAt === null)
  const read = all.filter(({ readAt }) => readAt !== null)
  expect([read.length, unread.length]).toEqual([2, 1])
  expect(await list(chatterbox, { read: true })).toEqual(read)
  expect(await list(chatterbox, { read: false })).toEqual(unread)
  expect(await list(chatterbox, { read: null })).toEqual(all)
  const hours = { since: new Date(Date.now() - DAY_MS).toISOString(), until: new Date(Date.now() + 1).toISOString() }
  for (const isRead of [true, false])
    for (const { type, accountId } of all)
      for (const severities of [['INFO', 'WARNING', 'URGENT'], ['INFO']]) {
        const filter = { read: isRead, types: [type], accountIds: [accountId], occurred: hours }
        const expected = all.filter(
          (alert) => (alert.readAt !== null) === isRead && alert.type === type && alert.accountId === accountId,
        )
        const bySeverity = await list(chatterbox, { severities })
        expect(await list(chatterbox, { ...filter, severities })).toEqual(
          expected.filter(({ id }) => bySeverity.some((alert) => alert.id === id)),
        )
      }
  const past = { until: new Date(Date.now() - 2 * DAY_MS).toISOString() }
  expect(await list(chatterbox, { read: true, occurred: past })).toEqual([])
})

test("an unknown alert, another customer's and another client's ID give the same error, and nothing is marked", async () => {
  const [ofStranger] = await list(stranger)
  const [ofMessenger] = await list(messenger)
  const unread = (await list(chatterbox, { read: false }))[0]!
  const before = await gateway.database.query('select 1 from alert_read')
  const messages = new Set<string>()
  for (const id of ['alert_unknown', 'x', '', ofStranger!.id, ofMessenger!.id]) {
    const { alerts, userErrors } = await mark(chatterbox, [unread.id, id])
    expect(alerts).toEqual([])
    expect(userErrors).toMatchObject([{ code: 'NOT_FOUND', path: ['alertIds', '1'] }])
    messages.add(userErrors[0]!.message)
  }
  expect(messages.size).toBe(1)
  expect(await gateway.database.query('select 1 from alert_read')).toHaveLength(before.length)
})

test('an alert that is not shown yet cannot be marked', async () => {
  const [{ id: hidden }] = (await list(stranger)) as [Listed]
  await gateway.database.query(
    "update alert set shown_at = now() + interval '1 hour' where account_id = (select id from account where type = 'CARD' limit 1)",
  )
  gateway.forward(60_000)
  const { userErrors } = await mark(stranger, [hidden])
  expect(userErrors).toMatchObject([{ code: 'NOT_FOUND', path: ['alertIds', '0'] }])
})

test('a request that marks no alert or more than a hundred is refused', async () => {
  const [alert] = await list(chatterbox)
  for (const ids of [[], Array.from({ length: 101 }, () => alert!.id)])
    expect((await mark(chatterbox, ids)).userErrors).toMatchObject([{ code: 'INVALID_INPUT', path: ['alertIds'] }])
  expect(
    (
      await mark(
        chatterbox,
        Array.from({ length: 100 }, () => alert!.id),
      )
    ).alerts,
  ).toHaveLength(100)
})

test('marking is in the ledger as a read of the alerts', async () => {
  const [alert] = await list(chatterbox)
  const count = async () =>
    (await gateway.database.query("select 1 from ledger_entry where action = 'READ_ALERTS'")).length
  const before = await count()
  await mark(chatterbox, [alert!.id])
  expect(await count()).toBeGreaterThan(before)
})

test('a token without the scope for alerts cannot mark any', async () => {
  const token = await gateway.customer('cleo', ['rheinbank'], { scopes: ['accounts:read', 'balances:band'] })
  const { errors } = await gateway.ask(
    token,
    'mutation { markAlertsRead(input: { alertIds: ["alert_x"] }) { userErrors { code } } }',
  )
  expect(errors).toMatchObject([{ extensions: { code: 'UNAUTHORIZED_FIELD_OR_TYPE' } }])
})

test('alerts are listed for 90 days', async () => {
  await gateway.database.query(
    "update consent set activated_at = activated_at - interval '92 days' where status = 'ACTIVE'",
  )
  const all = await list(messenger)
  const ids = "(select id from alert where type = 'CARD_SECURITY')"
  await gateway.database.query(`update alert set created_at = now() - interval '91 days' where id in ${ids}`)
  gateway.forward(60_000)
  const token = await gateway.renew(messenger, 'messenger')
  expect((await list(token)).map(({ id }) => id)).toEqual(
    all.filter(({ type }) => type !== 'CARD_SECURITY').map(({ id }) => id),
  )
})

test("when a client's last consent for the bank ends, its read state is deleted, and no other client's", async () => {
  const ofMessenger = await list(await gateway.renew(messenger, 'messenger'))
  await mark(
    messenger,
    ofMessenger.map(({ id }) => id),
  )
  const clients = async () =>
    (
      await gateway.database.query<{ client: string }>('select distinct client_id as client from alert_read order by 1')
    ).map(({ client }) => client)
  expect(await clients()).toEqual(['chatterbox', 'messenger'])
  await gateway.ask(chatterbox, 'mutation { withdrawConsents(input: { all: true }) { userErrors { code } } }')
  expect(await clients()).toEqual(['messenger'])
})
