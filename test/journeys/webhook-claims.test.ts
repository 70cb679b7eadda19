import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SECOND_MS } from '../../src/kernel/clock.ts'
import { systemRandomness } from '../../src/kernel/ids.ts'
import { claimStore } from '../../src/modules/deliveries/claim-store.ts'
import type { Consents } from '../../src/modules/consents/index.ts'
import { createEndpointLimits } from '../../src/modules/deliveries/endpoint-limits.ts'
import { createDeliveryQueue } from '../../src/modules/deliveries/queue.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { createDeliveryTools, registerOnlyEndpoint, type DeliveryTools } from '../support/delivery-tools.ts'
import { createFakeTime, type FakeTime } from '../support/fake-time.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

/** Nothing is sent in these tests. */
const ENDPOINT_URL = 'http://127.0.0.1:9/hook'

let gateway: TestGateway
let tools: DeliveryTools
let database: Database

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  tools = createDeliveryTools(gateway)
  database = openDatabase(gateway.database.url, 4)
  await registerOnlyEndpoint(gateway, ENDPOINT_URL)
  await gateway.customer('bo', ['northbank'])
})
afterEach(() => gateway.database.query("update delivery set status = 'DROPPED' where status = 'PENDING'"))
afterAll(async () => {
  await database.close()
  await gateway.close()
})

/** Claims what is due, like a process that is killed right afterwards. */
const claimAll = (at = new Date()) =>
  claimStore(database).claim(
    { freeSlots: 10, reserved: 0, reservedPerClient: 0, perClient: 10, perEndpoint: 5, loads: new Map() },
    at,
    60_000,
  )

/** Adds `count` pending deliveries. */
async function newDeliveries(count: number): Promise<void> {
  const id = (await tools.newDeliveries())[0]!
  await gateway.database.query(
    `with added as (
       insert into alert (id, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at)
       select alert.id || n, bank_id, alert.customer_id, account_id, type, severity, requested_action, occurred_at,
         alert.created_at, shown_at
       from alert join delivery on alert_id = alert.id, generate_series(2, $2::int) n where delivery.id = $1 returning id)
     insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, customer_id, body, status, next_attempt_at)
     select 'dlvr_' || added.id, added.id, webhook_endpoint_id, consent_id, customer_id, body, 'PENDING', next_attempt_at
     from added, delivery where delivery.id = $1`,
    [id, count],
  )
  await tools.makeDue()
}

async function countUnclaimed(): Promise<number> {
  const rows = await gateway.database.query("select 1 from delivery where status = 'PENDING' and claimed_until is null")
  return rows.length
}

describe('claims of deliveries', () => {
  test('a claim takes no more deliveries than the limits allow and leaves the rest to other processes', async () => {
    await newDeliveries(12)
    const [first, second, third] = [await claimAll(), await claimAll(), await claimAll()]
    expect([first, second, third].map(({ length }) => length)).toEqual([5, 5, 2])
    expect(new Set([...first, ...second, ...third].map(({ id }) => id)).size).toBe(12)
  })

  test('each delivery is claimed by one process, for any number of concurrent claims', async () => {
    await newDeliveries(400)
    const many = Array.from({ length: 8 }, () => openDatabase(gateway.database.url, 1))
    const claimed: string[] = []
    const limits = {
      freeSlots: 10,
      reserved: 0,
      reservedPerClient: 0,
      perClient: 10,
      perEndpoint: 5,
      loads: new Map(),
    }
    await Promise.all(
      many.map(async (own) => {
        const store = claimStore(own)
        while (claimed.length < 400 && (await countUnclaimed()) > 0)
          claimed.push(...(await store.claim(limits, new Date(), 60_000)).map(({ id }) => id))
      }),
    )
    for (const own of many) await own.close()
    expect(claimed).toHaveLength(400)
    expect(new Set(claimed).size).toBe(400)
  })
})

describe('claimed deliveries whose consents are not read in time', () => {
  /** A queue with real claims. Each read of consents does what `readConsents` does; attempts are only counted. */
  function createQueue(readConsents: (time: FakeTime) => Promise<void>) {
    const time = createFakeTime(new Date())
    const started: string[] = []
    const consents = {
      findGrantsForAlerts: async (_sql: unknown, subjects: readonly unknown[]) => {
        await readConsents(time)
        return subjects.map(() => [{ clientId: 'chatterbox', grantedAt: new Date(0) }])
      },
      findGrants: () => Promise.resolve(new Map()),
    } as unknown as Consents
    const queue = createDeliveryQueue({
      database,
      world: time,
      consents,
      claims: claimStore(database),
      attempts: {
        run: ({ id }) => Promise.resolve(void started.push(id)),
        markStopping: () => undefined,
      },
      limits: createEndpointLimits(time.clock, systemRandomness),
    })
    return { queue, started }
  }

  test('no attempt starts if reading the consents takes so long that the lease could end before the response', async () => {
    await newDeliveries(3)
    const slow = createQueue((time) => time.advance(6 * SECOND_MS))
    await expect(slow.queue.startDue(() => undefined)).rejects.toThrow('could not start for 6000 ms')
    expect(slow.started).toEqual([])
    expect(await countUnclaimed()).toBe(3)
    const inTime = createQueue((time) => time.advance(4 * SECOND_MS))
    expect(await inTime.queue.startDue(() => undefined)).toBe(3)
    expect(inTime.started).toHaveLength(3)
  })

  test('deliveries are due again if reading their consents fails', async () => {
    await newDeliveries(3)
    const { queue, started } = createQueue(() => Promise.reject(new Error('the consents cannot be read')))
    await expect(queue.startDue(() => undefined)).rejects.toThrow('the consents cannot be read')
    expect(started).toEqual([])
    expect(await claimAll()).toHaveLength(3)
  })

  test('a release leaves a delivery that another process has claimed since', async () => {
    await newDeliveries(2)
    const claimed = await claimAll()
    const otherClaim = "update delivery set claimed_until = claimed_until + interval '1 minute' where id = $1"
    await gateway.database.query(otherClaim, [claimed[0]!.id])
    await claimStore(database).release(claimed)
    expect((await claimAll()).map(({ id }) => id)).toEqual([claimed[1]!.id])
  })
})

describe('reserved slots', () => {
  const BUSY_CLIENT = 'chatterbox'
  const QUIET_CLIENT = 'chatterbox-bearer'
  const endpointIds: Record<string, string> = {}

  beforeAll(async () => {
    const { deliveries } = gateway.app.services
    const { webhookEndpoint } = await deliveries.registerEndpoint(QUIET_CLIENT, `${ENDPOINT_URL}/quiet`)
    endpointIds[QUIET_CLIENT] = webhookEndpoint.id
    endpointIds[BUSY_CLIENT] = (await deliveries.listEndpoints(BUSY_CLIENT)).find(
      ({ status }) => status === 'ACTIVE',
    )!.id
  })

  const copyDeliveries = (id: string, clientId: string, priority: 'URGENT' | 'STANDARD', count: number) =>
    gateway.database.query(
      `insert into delivery (id, webhook_endpoint_id, customer_id, priority, body, status, next_attempt_at)
       select $2 || $3 || n, $2, customer_id, $3, body, 'PENDING', next_attempt_at
       from delivery, generate_series(1, $4::int) n where id = $1`,
      [id, endpointIds[clientId], priority, count],
    )

  /** Claims while the busy client has 30 attempts in flight. Returns the client and priority of each claimed delivery. */
  async function claim(freeSlots: number, reserved: number): Promise<string[]> {
    const claimed = await claimStore(database).claim(
      {
        freeSlots,
        reserved,
        reservedPerClient: 2,
        perClient: 40,
        perEndpoint: 40,
        loads: new Map([[endpointIds[BUSY_CLIENT]!, { inFlight: 30, limit: 40 }]]),
      },
      new Date(),
      60_000,
    )
    return claimed.map(({ endpoint, priority }) => `${endpoint.clientId} ${priority}`).sort()
  }
  const times = (count: number, text: string): string[] => Array.from({ length: count }, () => text)

  test('the reserved slots admit STANDARD deliveries of a quiet client beside URGENT ones of a busy client', async () => {
    const id = (await tools.newDeliveries())[0]!
    await tools.makeDue()
    await copyDeliveries(id, BUSY_CLIENT, 'URGENT', 20)
    await copyDeliveries(id, QUIET_CLIENT, 'STANDARD', 5)
    expect(await claim(4, 4)).toEqual(times(2, `${QUIET_CLIENT} STANDARD`))
    await tools.makeDue()
    expect(await claim(7, 4)).toEqual(
      [...times(3, `${BUSY_CLIENT} URGENT`), ...times(2, `${QUIET_CLIENT} STANDARD`)].sort(),
    )
    await tools.makeDue()
    expect(await claim(1, 4)).toEqual([`${QUIET_CLIENT} STANDARD`])
  })
})
