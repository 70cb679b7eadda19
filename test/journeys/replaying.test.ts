import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import type { UserError } from '../../src/kernel/user-errors.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let token: Token
let active: string
let disabled: string
beforeAll(async () => {
  // A gateway without a worker, so that queued deliveries stay as they are.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  token = await gateway.own('chatterbox', 'webhooks:manage deliveries:read')
  const { deliveries, alerts } = gateway.app.services
  active = (await deliveries.listEndpoints('chatterbox'))[0]!.id
  const second = await deliveries.registerEndpoint('chatterbox', `${gateway.sandbox.platform}/second`)
  disabled = second.webhookEndpoint.id
  await gateway.customer('bo', ['northbank'])
  await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
  const [alert] = await gateway.database.query<{ id: string }>('select id from alert')
  await deliveries.planDue()
  expect(await alerts.findMany([alert!.id])).toHaveLength(1)
  await deliveries.updateEndpoint('chatterbox', disabled, { status: 'DISABLED' })
})
beforeEach(() => gateway.database.query("delete from delivery where id like 'dlvr\\_test%'"))
afterAll(() => gateway.close())

// 1,000 steps are a week, so that all lie within the 30 days of replays.
const STEP_MS = 10 * MINUTE_MS
const BASE = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 20 * DAY_MS
const timeOf = (number: number): string => new Date(BASE + number * STEP_MS).toISOString()

/** Adds ended deliveries from `dlvr_test1` on, one for each step. */
async function addEnded(count: number, { status = 'FAILED', endpoint = active } = {}): Promise<void> {
  await gateway.database.query(
    `with source as (select delivery.* from delivery
         where webhook_endpoint_id = $4 and id not like 'dlvr\\_test%' limit 1),
       added as (insert into alert select (jsonb_populate_record(alert, jsonb_build_object('id', alert.id || n))).*
         from alert join source on alert.id = alert_id, generate_series(1, $1::int) n on conflict do nothing)
     insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, customer_id, body, status, attempt_count, next_attempt_at, created_at, ended_at)
     select 'dlvr_test' || n, alert_id || n, $4, consent_id, customer_id, body, $2, 9, next_attempt_at, $3::timestamptz + n * interval '10 minutes', now()
     from source, generate_series(1, $1::int) n`,
    [count, status, new Date(BASE), endpoint],
  )
}
interface Row {
  readonly id: string
  readonly status: string
  readonly attempt_count: number
}
const findQueued = (): Promise<Row[]> =>
  gateway.database.query<Row>(
    "select id, status, attempt_count from delivery where id like 'dlvr\\_test%' and status = 'PENDING' order by created_at",
  )

interface Payload {
  readonly deliveries: readonly { readonly id: string; readonly status: string }[] | null
  readonly replayedCount: number | null
  readonly userErrors: readonly UserError[]
}
async function replay(input: object, caller = token): Promise<Payload> {
  const query =
    'mutation ($input: ReplayDeliveriesInput!) { replayDeliveries(input: $input) { deliveries { id status } replayedCount userErrors { code path message } } }'
  const { data, errors } = await gateway.ask(caller, query, { input })
  expect(errors).toBeUndefined()
  return data!['replayDeliveries'] as Payload
}
const refused = (...userErrors: object[]) => ({ deliveries: null, replayedCount: null, userErrors })
const inputFault = (...path: string[]) => ({ code: 'INVALID_INPUT', path })

describe('replays by time', () => {
  test('FAILED and DELIVERED deliveries of the range are queued with a new schedule, and no others', async () => {
    await addEnded(6)
    await gateway.database.query("update delivery set status = 'DELIVERED' where id = 'dlvr_test3'")
    await gateway.database.query("update delivery set status = 'DROPPED' where id = 'dlvr_test4'")
    const payload = await replay({ select: { created: { since: timeOf(2), until: timeOf(6) } } })
    expect(payload).toEqual({
      deliveries: ['dlvr_test5', 'dlvr_test3', 'dlvr_test2'].map((id) => ({ id, status: 'PENDING' })),
      replayedCount: 3,
      userErrors: [],
    })
    expect(await findQueued()).toEqual(
      [2, 3, 5].map((number) => ({ id: `dlvr_test${number}`, status: 'PENDING', attempt_count: 0 })),
    )
    const entries = await gateway.database.query<{ subject_id: string }>(
      "select subject_id from ledger_entry where action = 'DELIVERY_REPLAYED' order by subject_id",
    )
    expect(entries.map((entry) => entry.subject_id)).toEqual(['dlvr_test2', 'dlvr_test3', 'dlvr_test5'])
  })

  test('a replay of more than 1,000 deliveries is refused and queues none, and one of 1,000 returns the newest 50', async () => {
    await addEnded(1_001)
    expect(await replay({ select: { created: { since: timeOf(0) } } })).toMatchObject(
      refused(inputFault('select', 'created')),
    )
    expect(await findQueued()).toEqual([])
    const payload = await replay({ select: { created: { since: timeOf(2) } } })
    expect(payload).toMatchObject({ replayedCount: 1_000, userErrors: [] })
    expect(payload.deliveries!.map(({ id }) => id)).toEqual(
      Array.from({ length: 50 }, (_, index) => `dlvr_test${1_001 - index}`),
    )
    expect(await findQueued()).toHaveLength(1_000)
  })

  test('deliveries to a disabled endpoint, or to another one than the given, are not queued', async () => {
    await addEnded(2, { endpoint: disabled })
    const created = { since: timeOf(0), until: timeOf(100) }
    expect(await replay({ select: { created } })).toMatchObject({ deliveries: [], replayedCount: 0 })
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', disabled, { status: 'ACTIVE' })
    expect(await replay({ select: { created }, webhookEndpointId: active })).toMatchObject({ replayedCount: 0 })
    expect(await replay({ select: { created }, webhookEndpointId: disabled })).toMatchObject({ replayedCount: 2 })
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', disabled, { status: 'DISABLED' })
  })

  test('concurrent requests, and repeated ones with one idempotency key, queue each delivery once', async () => {
    await addEnded(40)
    const select = { created: { since: timeOf(0), until: timeOf(100) } }
    const both = await Promise.all([replay({ select }), replay({ select })])
    expect(both.map(({ replayedCount }) => replayedCount!).reduce((sum, count) => sum + count)).toBe(40)
    await gateway.database.query("update delivery set status = 'FAILED' where id like 'dlvr\\_test%'")
    const input = { select, idempotencyKey: randomUUID() }
    const first = await replay(input)
    expect(first.replayedCount).toBe(40)
    await gateway.database.query("update delivery set status = 'FAILED' where id like 'dlvr\\_test%'")
    const again = await replay(input)
    expect(again.replayedCount).toBe(40)
    expect(again.deliveries!.map(({ id }) => id)).toEqual(first.deliveries!.map(({ id }) => id))
    expect(await findQueued()).toEqual([])
    expect(await replay({ ...input, webhookEndpointId: active })).toMatchObject(
      refused({ code: 'IDEMPOTENCY_KEY_REUSED', path: ['idempotencyKey'] }),
    )
  })

  test('a range that ends before it begins is refused', async () => {
    const created = { since: timeOf(2), until: timeOf(1) }
    expect(await replay({ select: { created } })).toMatchObject(refused(inputFault('select', 'created', 'since')))
  })
})

describe('replays by ID', () => {
  test('all deliveries are queued or none, and every fault is named', async () => {
    await addEnded(5)
    await gateway.database.query("update delivery set status = 'DROPPED' where id = 'dlvr_test2'")
    await gateway.database.query("update delivery set status = 'PENDING' where id = 'dlvr_test3'")
    const deliveryIds = ['dlvr_test1', 'dlvr_test2', 'dlvr_test3', 'dlvr_nobody']
    const at = (index: number, code: string) => ({ code, path: ['select', 'deliveryIds', String(index)] })
    expect(await replay({ select: { deliveryIds } })).toMatchObject(
      refused(at(1, 'STATE_CONFLICT'), at(2, 'STATE_CONFLICT'), at(3, 'NOT_FOUND')),
    )
    expect((await findQueued()).map(({ id }) => id)).toEqual(['dlvr_test3'])
    const wanted = { deliveryIds: ['dlvr_test1', 'dlvr_test4', 'dlvr_test1'] }
    expect(await replay({ select: wanted })).toMatchObject({ replayedCount: 2, userErrors: [] })
    expect((await findQueued()).map(({ id }) => id)).toEqual(['dlvr_test1', 'dlvr_test3', 'dlvr_test4'])
  })

  test('deliveries of another client get the same response as deliveries that do not exist', async () => {
    await addEnded(1)
    const other = await gateway.own('chatterbox-bearer', 'webhooks:manage')
    const [foreign, nobody] = [
      await replay({ select: { deliveryIds: ['dlvr_test1'] } }, other),
      await replay({ select: { deliveryIds: ['dlvr_nobody'] } }, other),
    ]
    expect(foreign).toEqual(nobody)
    expect(foreign).toMatchObject(refused({ code: 'NOT_FOUND' }))
    expect(await replay({ select: { deliveryIds: ['dlvr_test1'] }, webhookEndpointId: active }, other)).toMatchObject(
      refused({ code: 'NOT_FOUND', path: ['webhookEndpointId'] }),
    )
    expect(await replay({ select: { created: {} } }, other)).toMatchObject({ replayedCount: 0 })
    expect(await findQueued()).toEqual([])
  })

  test('a replay takes 1 to 100 IDs of deliveries to active endpoints', async () => {
    for (const deliveryIds of [[], Array.from({ length: 101 }, (_, index) => `dlvr_${index}`)])
      expect(await replay({ select: { deliveryIds } })).toMatchObject(refused(inputFault('select', 'deliveryIds')))
    await addEnded(1, { endpoint: disabled })
    expect(await replay({ select: { deliveryIds: ['dlvr_test1'] } })).toMatchObject(
      refused({ code: 'STATE_CONFLICT', path: ['select', 'deliveryIds', '0'] }),
    )
  })
})

describe('the list of deliveries', () => {
  const list = async (args: string) => {
    const query = `{ client { deliveries(${args}) { nodes { id eventType webhookEndpoint { id } attempts { number attemptedAt httpStatus outcome } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } } } }`
    const { data, errors } = await gateway.ask(token, query)
    expect(errors).toBeUndefined()
    return (data!['client'] as { deliveries: DeliveryPage }).deliveries
  }
  interface DeliveryPage {
    readonly nodes: readonly {
      readonly id: string
      readonly eventType: string
      readonly webhookEndpoint: { readonly id: string }
      readonly attempts: readonly { readonly number: number }[]
    }[]
    readonly pageInfo: { readonly hasNextPage: boolean; readonly startCursor: string; readonly endCursor: string }
  }
  const idsOf = ({ nodes }: DeliveryPage): string[] => nodes.map(({ id }) => id)

  test('the list is paged from both ends, and filtered by status, endpoint and time', async () => {
    await addEnded(5)
    const own = `created: { since: "${timeOf(1)}", until: "${timeOf(6)}" }`
    const all = [5, 4, 3, 2, 1].map((number) => `dlvr_test${number}`)
    expect(idsOf(await list(`filter: { ${own} }`))).toEqual(all)
    expect(idsOf(await list(`filter: { ${own}, statuses: [DELIVERED] }`))).toEqual([])
    expect(idsOf(await list(`filter: { ${own}, webhookEndpointId: "${disabled}" }`))).toEqual([])
    expect(idsOf(await list(`filter: { created: { since: "${timeOf(2)}", until: "${timeOf(4)}" } }`))).toEqual([
      'dlvr_test3',
      'dlvr_test2',
    ])
    const last = await list(`last: 2, filter: { ${own} }`)
    expect(idsOf(last)).toEqual(['dlvr_test2', 'dlvr_test1'])
    const before = await list(`last: 2, before: "${last.pageInfo.startCursor}", filter: { ${own} }`)
    expect(idsOf(before)).toEqual(['dlvr_test4', 'dlvr_test3'])
    expect(idsOf(await list(`first: 2, after: "dlvr_test4", before: "dlvr_test1", filter: { ${own} }`))).toEqual([
      'dlvr_test3',
      'dlvr_test2',
    ])
    expect(last.pageInfo.hasNextPage).toBe(false)
    const [node] = before.nodes
    expect(node).toMatchObject({ eventType: 'alert.received', webhookEndpoint: { id: active } })
    const reversed = `{ client { deliveries(filter: { created: { since: "${timeOf(2)}", until: "${timeOf(1)}" } }) { nodes { id } } } }`
    const { errors } = await gateway.ask(token, reversed)
    expect(errors?.[0]?.extensions?.code).toBe('INVALID_INPUT')
  })

  test('a delivery shows its last 50 attempts, oldest first', async () => {
    await addEnded(1)
    await gateway.database.query(
      `insert into delivery_attempt (id, delivery_id, number, attempted_at, http_status, outcome)
       select 'atpt_test' || n, 'dlvr_test1', n, now(), 503, 'REFUSED' from generate_series(1, 60) n`,
    )
    const { nodes } = await list(`first: 1, filter: { created: { until: "${timeOf(2)}" } }`)
    expect(nodes[0]!.attempts.map(({ number }) => number)).toEqual(Array.from({ length: 50 }, (_, index) => index + 11))
    expect(nodes[0]!.attempts[0]).toMatchObject({ httpStatus: 503, outcome: 'REFUSED' })
    await gateway.database.query("delete from delivery_attempt where id like 'atpt\\_test%'")
  })
})
