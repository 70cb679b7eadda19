import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import { newId, systemRandomness } from '../../src/kernel/ids.ts'
import { claimStore } from '../../src/modules/deliveries/claim-store.ts'
import type { ClaimedDelivery } from '../../src/modules/deliveries/model.ts'
import { settlementStore } from '../../src/modules/deliveries/settlement-store.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { newPlace, startProcess, type GatewayProcess } from '../support/process.ts'
import { startSecondGateway } from '../support/second-gateway.ts'

interface ShownDelivery {
  status: string
  attempts: { number: number; httpStatus: number | null; outcome: string }[]
}

let gateway: TestGateway
let database: Database
/** A receiver with the response statuses that a test chooses; for `undefined` it does not respond. */
let receiver: Server
let statuses: (number | undefined)[] = []
let requestCount = 0
const workers: GatewayProcess[] = []

beforeAll(async () => {
  // A gateway without a worker: each test decides which process attempts deliveries, and when.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  database = openDatabase(gateway.database.url, 4)
  receiver = createServer((request, response) => {
    requestCount++
    request.resume()
    const status = statuses.shift()
    if (status !== undefined) response.writeHead(status).end()
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  await gateway.app.services.deliveries.registerEndpoint('chatterbox', receiverUrl('/hook'))
  await gateway.customer('bo', ['northbank'])
})
beforeEach(async () => {
  await makeDue()
  statuses = []
  requestCount = 0
})
afterEach(async () => {
  for (const worker of workers.splice(0)) if (worker.child.exitCode === null) await worker.stop('SIGKILL')
  await gateway.database.query("update delivery set status = 'DROPPED' where status = 'PENDING'")
})
afterAll(async () => {
  receiver.closeAllConnections()
  receiver.close()
  await database.close()
  await gateway.close()
})

const receiverUrl = (path: string): string => `http://127.0.0.1:${(receiver.address() as AddressInfo).port}${path}`

/** A pending delivery to the receiver; returns its ID. */
async function newDelivery(): Promise<string> {
  await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
  const [alert] = await gateway.database.query<{ id: string }>('select id from alert order by created_at desc limit 1')
  await gateway.app.services.deliveries.planDue()
  const [delivery] = await gateway.database.query<{ id: string }>('select id from delivery where alert_id = $1', [
    alert!.id,
  ])
  return delivery!.id
}

/** Makes every delivery due, and closes the circuit breaker of the endpoint. */
async function makeDue(): Promise<void> {
  const { deliveries } = gateway.app.services
  for (const { id, status } of await deliveries.listEndpoints('chatterbox'))
    if (status === 'ACTIVE') await deliveries.updateEndpoint('chatterbox', id, { status })
  await gateway.database.query(
    "update delivery set next_attempt_at = '2000-01-01', claimed_until = null where status = 'PENDING'",
  )
}

/** Claims what is due, like a process that is killed right afterwards. */
const claimAll = (at = new Date()) =>
  claimStore(database).claim(
    { freeSlots: 10, reserved: 0, reservedPerClient: 0, perClient: 10, perEndpoint: 5, loads: new Map() },
    at,
    60_000,
  )

/** Attempts what is due, like a worker, and waits for the outcomes. */
async function attemptDue(): Promise<void> {
  await gateway.app.services.deliveries.startDue(() => undefined)
  await gateway.app.services.deliveries.waitUntilIdle()
}

async function showDelivery(id: string): Promise<ShownDelivery> {
  const { deliveries } = gateway.app.services
  const delivery = (await deliveries.findDelivery('chatterbox', id))!
  const attempts = await deliveries.findAttempts([id])
  return {
    status: delivery.status,
    attempts: attempts.map(({ number, httpStatus, outcome }) => ({ number, httpStatus, outcome })),
  }
}

const nextAttemptOf = async (id: string): Promise<Date> =>
  (await gateway.app.services.deliveries.findDelivery('chatterbox', id))!.nextAttemptAt

async function startWorker(): Promise<GatewayProcess> {
  const worker = await startProcess(await newPlace(gateway.dataDir), {
    GUICHET_ROLE: 'worker',
    GUICHET_SANDBOX_BANKS: 'remote',
    GUICHET_SCHEDULED_CERTIFICATION: 'off',
    DATABASE_URL: gateway.database.url,
    ISSUER: gateway.issuer,
  })
  workers.push(worker)
  return worker
}

describe('attempts and their outcomes', () => {
  test('an attempt of a killed worker does not count, and a delivery shows only attempts with an outcome', async () => {
    const id = await newDelivery()
    for (let killed = 1; killed <= 3; killed++) {
      const worker = await startWorker()
      await eventually('a request without a response', () => Promise.resolve(requestCount === killed))
      await worker.stop('SIGKILL')
      // The lease of the killed process has ended.
      await makeDue()
    }
    statuses = [503, 204]
    await startWorker()
    await eventually('the first outcome', async () => (await showDelivery(id)).attempts.length === 1)
    await makeDue()
    await eventually('the delivery', async () => (await showDelivery(id)).status === 'DELIVERED')
    expect((await showDelivery(id)).attempts).toEqual([
      { number: 1, httpStatus: 503, outcome: 'REFUSED' },
      { number: 2, httpStatus: 204, outcome: 'ACCEPTED' },
    ])
  })

  test('a delivery that was claimed twenty times without an outcome is delivered when its endpoint accepts it', async () => {
    const id = await newDelivery()
    for (let claim = 0; claim < 20; claim++) {
      await makeDue()
      expect(await claimAll()).toEqual([expect.objectContaining({ id })])
    }
    expect(requestCount).toBe(0)
    statuses = [503, 204]
    await makeDue()
    await attemptDue()
    expect(await showDelivery(id)).toEqual({
      status: 'PENDING',
      attempts: [{ number: 1, httpStatus: 503, outcome: 'REFUSED' }],
    })
    await makeDue()
    await attemptDue()
    expect((await showDelivery(id)).status).toBe('DELIVERED')
  })

  test('an attempt without a request is counted, rescheduled, and finally given up like any other', async () => {
    const id = await newDelivery()
    const startedMs = Date.now()
    const sealed =
      'select sealed from webhook_secret where webhook_endpoint_id = (select webhook_endpoint_id from delivery where id = $1)'
    const [{ sealed: secret }] = (await gateway.database.query<{ sealed: string }>(sealed, [id])) as [
      { sealed: string },
    ]
    const setSecret = (text: string) =>
      gateway.database.query(
        `update webhook_secret set sealed = $1 where webhook_endpoint_id in (select id from webhook_endpoint where status = 'ACTIVE')`,
        [text],
      )
    await setSecret('cannot be unsealed')
    await attemptDue()
    const first = await showDelivery(id)
    expect(first).toEqual({ status: 'PENDING', attempts: [{ number: 1, httpStatus: null, outcome: 'NOT_SENT' }] })
    const nextMs = (await nextAttemptOf(id)).getTime()
    expect(nextMs - startedMs).toBeGreaterThan(700)
    expect(await claimAll(new Date(nextMs - 1))).toEqual([])
    while ((await showDelivery(id)).status === 'PENDING') {
      gateway.forward(Math.max(0, (await nextAttemptOf(id)).getTime() - Date.now()) + 1)
      await attemptDue()
    }
    expect(await showDelivery(id)).toMatchObject({ status: 'FAILED' })
    expect((await showDelivery(id)).attempts.every(({ outcome }) => outcome === 'NOT_SENT')).toBe(true)
    expect(requestCount).toBe(0)
    await setSecret(secret)
  })

  test('an accepted message is not sent again if its outcome could not be stored immediately', async () => {
    const id = await newDelivery()
    statuses = [204, 204]
    await gateway.database.query(`
      create sequence refusals;
      create function refuse() returns trigger language plpgsql as
        $$ begin if nextval('refusals') <= 2 then raise exception 'no'; end if; return new; end $$;
      create trigger refuse before insert on delivery_attempt for each row execute function refuse()`)
    await attemptDue()
    await gateway.database.query(
      'drop trigger refuse on delivery_attempt; drop function refuse; drop sequence refusals',
    )
    expect(requestCount).toBe(1)
    expect(await showDelivery(id)).toEqual({
      status: 'DELIVERED',
      attempts: [{ number: 1, httpStatus: 204, outcome: 'ACCEPTED' }],
    })
  })

  test('an attempt is stored once if the response to its commit is lost', async () => {
    const id = await newDelivery()
    statuses = [204]
    const prototype = pg.Client.prototype as unknown as { query: (...args: unknown[]) => unknown }
    const own = prototype.query
    let lostCount = 0
    prototype.query = function (this: unknown, ...args) {
      const result = Reflect.apply(own, this, args)
      if (args[0] !== 'commit' || lostCount > 0) return result
      lostCount++
      return (result as Promise<unknown>).then(() => Promise.reject(new Error('Connection terminated unexpectedly')))
    }
    await attemptDue().finally(() => (prototype.query = own))
    expect(lostCount).toBe(1)
    expect(requestCount).toBe(1)
    expect(await showDelivery(id)).toEqual({
      status: 'DELIVERED',
      attempts: [{ number: 1, httpStatus: 204, outcome: 'ACCEPTED' }],
    })
  })

  test('an attempt that the stop of its process interrupts is not counted, and the delivery is due immediately', async () => {
    const id = await newDelivery()
    const second = await startSecondGateway(gateway)
    await second.app.services.deliveries.startDue(() => undefined)
    await eventually('the request', () => Promise.resolve(requestCount === 1))
    second.app.services.deliveries.markStopping()
    await second.close()
    expect((await showDelivery(id)).attempts).toEqual([])
    statuses = [204]
    await attemptDue()
    expect(await showDelivery(id)).toEqual({
      status: 'DELIVERED',
      attempts: [{ number: 1, httpStatus: 204, outcome: 'ACCEPTED' }],
    })
  })

  test('an outcome that arrives after the claim was lost does not change the schedule', async () => {
    const id = await newDelivery()
    const store = claimStore(database)
    const [old] = await claimAll()
    await makeDue()
    const [current] = await claimAll()
    const settle = async (claimed: ClaimedDelivery, status: 'PENDING' | 'DELIVERED') => {
      const [settled] = await settlementStore.settle(
        database.delivery,
        [
          {
            deliveryId: claimed.id,
            claimedUntil: claimed.claimedUntil,
            attemptId: newId('atpt', systemRandomness),
            attemptedAt: new Date(),
            httpStatus: status === 'DELIVERED' ? 204 : 503,
            outcome: status === 'DELIVERED' ? 'ACCEPTED' : 'REFUSED',
            failureCause: null,
            setError: null,
            consentId: claimed.consentId,
            status,
            nextAttemptAt: status === 'DELIVERED' ? null : new Date('2100-01-01'),
          },
        ],
        new Date(),
      )
      return settled
    }
    expect(await settle(old!, 'PENDING')).toMatchObject({ number: 1, isHeld: false })
    await settlementStore.drop(database.delivery, [old!], new Date())
    await store.release([old!])
    expect(await claimAll()).toEqual([])
    expect(await settle(current!, 'DELIVERED')).toMatchObject({ number: 2, isHeld: true })
    expect((await showDelivery(id)).status).toBe('DELIVERED')
  })

  test('two processes that attempt one delivery concurrently store two attempts with different numbers', async () => {
    const id = await newDelivery()
    const { deliveries } = gateway.app.services
    await deliveries.startDue(() => undefined)
    await eventually('the first request', () => Promise.resolve(requestCount === 1))
    // The lease ends while the first attempt still waits for a response.
    await makeDue()
    statuses = [503]
    await deliveries.startDue(() => undefined)
    await eventually('the second outcome', async () => (await showDelivery(id)).attempts.length === 1)
    receiver.closeAllConnections()
    await deliveries.waitUntilIdle()
    expect((await showDelivery(id)).attempts).toEqual([
      { number: 1, httpStatus: 503, outcome: 'REFUSED' },
      { number: 2, httpStatus: null, outcome: 'UNREACHABLE' },
    ])
  })
})

describe('failure causes of attempts', () => {
  const causes = async (id: string) =>
    (await gateway.app.services.deliveries.findAttempts([id])).map(({ failureCause }) => failureCause)

  test('an attempt that does not reach its endpoint shows the cause, and one with a response has none', async () => {
    const id = await newDelivery()
    await gateway.app.services.deliveries.startDue(() => undefined)
    await eventually('the request', () => Promise.resolve(requestCount === 1))
    receiver.closeAllConnections()
    await gateway.app.services.deliveries.waitUntilIdle()
    statuses = [204]
    await makeDue()
    await attemptDue()
    expect(await causes(id)).toEqual(['CONNECTION_RESET', null])
    const query = '{ client { deliveries(first: 1) { nodes { attempts { outcome failureCause } } } } }'
    const answer = await gateway.ask(await gateway.own('chatterbox', 'deliveries:read'), query)
    expect(JSON.stringify(answer.data)).toContain('{"outcome":"UNREACHABLE","failureCause":"CONNECTION_RESET"}')
  })

  test('a host name with an internal address has the same public cause as a name that does not exist', async () => {
    const id = await newDelivery()
    for (const failureCause of ['ADDRESS_NOT_ALLOWED', 'DNS_NOT_FOUND'] as const) {
      gateway.intercept = (request) =>
        request.url.endsWith('/hook')
          ? Promise.reject(new OutboundError('OUTBOUND_UNREACHABLE', failureCause))
          : undefined
      await makeDue()
      await attemptDue()
    }
    gateway.intercept = undefined
    expect(await causes(id)).toEqual(['DNS_NOT_FOUND', 'DNS_NOT_FOUND'])
    const { attempts } = await showDelivery(id)
    expect(new Set(attempts.map(({ outcome, httpStatus }) => `${outcome} ${httpStatus}`)).size).toBe(1)
    expect(
      gateway.log.some((line) => line.includes('delivery.unreachable') && line.includes('ADDRESS_NOT_ALLOWED')),
    ).toBe(true)
  })
})

describe('the retry schedule of a delivery', () => {
  test('a refusing endpoint gets at least eight attempts over three days before the delivery has FAILED', async () => {
    const startedMs = Date.now()
    const id = await newDelivery()
    statuses = Array.from({ length: 30 }, () => 503)
    let lastAttemptMs = startedMs
    while ((await showDelivery(id)).status === 'PENDING') {
      gateway.forward(Math.max(0, (await nextAttemptOf(id)).getTime() - Date.now()) + 1)
      lastAttemptMs = Date.now()
      await attemptDue()
    }
    const { status, attempts } = await showDelivery(id)
    expect(status).toBe('FAILED')
    expect(attempts.length).toBeGreaterThanOrEqual(8)
    expect(lastAttemptMs - startedMs).toBeGreaterThanOrEqual(3 * DAY_MS)
    expect(lastAttemptMs - startedMs).toBeLessThan(3 * DAY_MS + HOUR_MS)
  })

  test('a delivery that could not be attempted for a week is still attempted more than once before it is given up', async () => {
    const id = await newDelivery()
    gateway.forward(7 * DAY_MS)
    statuses = [503, 204]
    await attemptDue()
    expect((await showDelivery(id)).status).toBe('PENDING')
    await makeDue()
    await attemptDue()
    expect((await showDelivery(id)).status).toBe('DELIVERED')
  })

  test('a replay of a FAILED delivery starts a new schedule with the same ID', async () => {
    const id = await newDelivery()
    await gateway.database.query(
      "update delivery set status = 'FAILED', attempt_count = 9, ended_at = now() where id = $1",
      [id],
    )
    gateway.forward(10 * DAY_MS)
    await gateway.app.services.deliveries.replay('chatterbox', { select: { deliveryIds: [id] } })
    statuses = [503, 503, 503, 503, 204]
    for (let attempt = 1; attempt <= 5; attempt++) {
      await makeDue()
      await attemptDue()
      // As after a first attempt: 1 s with jitter.
      if (attempt === 1) expect((await nextAttemptOf(id)).getTime() - Date.now()).toBeLessThan(2_000)
    }
    const { status, attempts } = await showDelivery(id)
    expect(status).toBe('DELIVERED')
    expect(attempts.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5])
  })
})
