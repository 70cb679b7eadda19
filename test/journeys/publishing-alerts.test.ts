import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { startOfHour } from '../../src/kernel/clock.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let partner: Token
let connectorId: string
beforeAll(async () => {
  gateway = await startGateway()
  partner = await gateway.own('northbank-partner', 'alerts:publish')
  const [connector] = await gateway.database.query<{ id: string }>(
    "select id from connector where bank_id = 'northbank'",
  )
  connectorId = connector!.id
  await gateway.customer('bo', ['northbank'])
})
afterAll(() => gateway.close())

interface Payload {
  readonly eventId: string | null
  readonly duplicate: boolean | null
  readonly userErrors: readonly { code: string; path: readonly string[] }[]
}
async function publish(
  changes: Record<string, unknown> = {},
  token: Token = partner,
): Promise<Payload | null | undefined> {
  const input = {
    connectorId,
    subject: { accountRef: 'nb-10003' },
    type: 'CARD_SECURITY',
    severity: 'URGENT',
    occurredAt: new Date().toISOString(),
    idempotencyKey: randomUUID(),
    ...changes,
  }
  const query = `mutation ($input: PublishAlertInput!) {
    publishAlert(input: $input) { eventId duplicate userErrors { code path } } }`
  const { data } = await gateway.ask(token, query, { input })
  return data?.['publishAlert'] as Payload | null | undefined
}
const alertCount = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n

test('an alert that a partner publishes twenty times at the same time is stored and delivered once', async () => {
  const before = (await gateway.received()).length
  const idempotencyKey = randomUUID()
  const results = await Promise.all(Array.from({ length: 20 }, () => publish({ idempotencyKey })))
  expect(results.filter((result) => result?.duplicate === false)).toHaveLength(1)
  expect(new Set(results.map((result) => result?.eventId)).size).toBe(1)
  expect(await alertCount()).toBe(1)
  await eventually('the webhook', async () => (await gateway.received()).length > before)
  expect(await publish({ idempotencyKey })).toMatchObject({ duplicate: true, userErrors: [] })
  expect((await gateway.received()).length).toBe(before + 1)
})

test('the result for an account that nobody shares is the same as for one that somebody shares', async () => {
  const before = await alertCount()
  const shared = await publish()
  const unknown = await publish({ subject: { accountRef: 'nb-unknown' } })
  for (const result of [shared, unknown])
    expect(result).toEqual({
      eventId: expect.stringMatching(/^evnt_[\w-]{43}$/) as string,
      duplicate: false,
      userErrors: [],
    })
  expect(await alertCount()).toBe(before + 1)
})

test('a partner of another bank cannot publish alerts of this bank, and no other token can publish any', async () => {
  const before = await alertCount()
  const other = await gateway.own('rheinbank-partner', 'alerts:publish')
  expect(await publish({}, other)).toMatchObject({
    eventId: null,
    userErrors: [{ code: 'NOT_FOUND', path: ['connectorId'] }],
  })
  expect(await publish({}, await gateway.own('northbank-partner', 'connectors:manage'))).toBeNull()
  expect(await publish({}, await gateway.own('admin', 'banks:manage'))).toBeNull()
  expect(await alertCount()).toBe(before)
})

test('a key names an alert of its own bank only', async () => {
  const idempotencyKey = randomUUID()
  const [other] = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'rheinbank'")
  const ofRheinbank = { idempotencyKey, connectorId: other!.id, subject: { accountRef: 'x' } }
  const results = [
    await publish(ofRheinbank, await gateway.own('rheinbank-partner', 'alerts:publish')),
    await publish({ idempotencyKey }),
  ]
  expect(results.map((result) => result?.duplicate)).toEqual([false, false])
  expect(results[0]!.eventId).not.toBe(results[1]!.eventId)
})

test('an alert about a person is about no account, and only the hour of an alert is stored', async () => {
  const occurredAt = new Date(Date.now() - 90 * 60_000)
  await publish({ subject: { customerRef: 'bo' }, type: 'ACCOUNT_RESTRICTED', occurredAt: occurredAt.toISOString() })
  await publish({ subject: { customerRef: 'ada' }, type: 'ACCOUNT_RESTRICTED' })
  const alerts = await gateway.database.query(
    "select account_id, occurred_at from alert where type = 'ACCOUNT_RESTRICTED'",
  )
  expect(alerts).toEqual([{ account_id: null, occurred_at: startOfHour(occurredAt) }])
})

test('all faults of an alert are returned with their paths', async () => {
  const result = await publish({ subject: { accountRef: 'x'.repeat(2_000) }, occurredAt: '2020-01-01T00:00:00Z' })
  expect(result?.userErrors.map(({ path }) => path.join('.')).sort()).toEqual(['occurredAt', 'subject.accountRef'])
})

test('no alert of a suspended connector is published', async () => {
  const before = await alertCount()
  await gateway.app.services.banks.suspend('northbank-partner', connectorId)
  expect(await publish()).toMatchObject({
    eventId: null,
    userErrors: [{ code: 'NOT_FOUND', path: ['connectorId'] }],
  })
  expect(await alertCount()).toBe(before)
})
