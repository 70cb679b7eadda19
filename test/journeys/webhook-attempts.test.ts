import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS } from '../../src/kernel/clock.ts'
import { OutboundError } from '../../src/kernel/outbound-error.ts'
import { claimStore } from '../../src/modules/deliveries/claim-store.ts'
import { openDatabase, type Database } from '../../src/storage/database.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { newPlace, startProcess, type GatewayProcess } from '../support/process.ts'
import { startSecondGateway } from '../support/second-gateway.ts'

interface Shown {
  status: string
  attempts: { number: number; httpStatus: number | null; outcome: string }[]
}

let gateway: TestGateway
let database: Database
/** A receiver whose answers the tests choose; `undefined` never answers. */
let receiver: Server
let answers: (number | undefined)[] = []
let requests = 0
const workers: GatewayProcess[] = []

beforeAll(async () => {
  // A gateway without a worker: the tests decide who works on deliveries, and when.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  database = openDatabase(gateway.database.url, 4)
  receiver = createServer((request, response) => {
    requests++
    request.resume()
    const status = answers.shift()
    if (status !== undefined) response.writeHead(status).end()
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  const url = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`
  await gateway.app.services.deliveries.registerEndpoint('chatterbox', url)
  await gateway.customer('bo', ['northbank'])
})
beforeEach(() => {
  answers = []
  requests = 0
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

/** One planned delivery to the receiver. */
async function newDelivery(): Promise<string> {
  await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
  const [alert] = await gateway.database.query<{ id: string }>('select id from alert order by created_at desc limit 1')
  await gateway.app.services.deliveries.scheduleForAlert(alert!.id)
  await gateway.database.query("update outbox_message set processed_at = now() where topic = 'alert.received'")
  const [delivery] = await gateway.database.query<{ id: string }>('select id from delivery where alert_id = $1', [
    alert!.id,
  ])
  return delivery!.id
}

const makeDue = (): Promise<unknown> =>
  gateway.database.query(
    "update delivery set next_attempt_at = '2000-01-01', claimed_until = null where status = 'PENDING'",
  )

/** Claims what is due, as a process that is killed right after it. */
const claimAll = () =>
  claimStore(database).claim(
    { freeSlots: 10, reserved: 0, reservedPerClient: 0, perClient: 10, perEndpoint: 5, inFlightByEndpoint: new Map() },
    new Date(),
    60_000,
  )

/** So many planned deliveries to the receiver. */
async function newDeliveries(count: number): Promise<void> {
  const id = await newDelivery()
  await gateway.database.query(
    `with added as (insert into alert (id, account_id, type, severity, requested_action, occurred_at, created_at)
       select alert.id || n, account_id, type, severity, requested_action, occurred_at, alert.created_at
       from alert join delivery on alert_id = alert.id, generate_series(2, $2::int) n where delivery.id = $1 returning id)
     insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, status, next_attempt_at)
     select 'dlvr_' || added.id, added.id, webhook_endpoint_id, consent_id, 'PENDING', next_attempt_at
     from added, delivery where delivery.id = $1`,
    [id, count],
  )
  await makeDue()
}

/** Works on what is due, as a worker does, and waits for the outcomes. */
async function work(): Promise<void> {
  await gateway.app.services.deliveries.startDue(() => undefined)
  await gateway.app.services.deliveries.waitUntilIdle()
}

async function shown(id: string): Promise<Shown> {
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

async function deliveriesLeft(): Promise<number> {
  const rows = await gateway.database.query("select 1 from delivery where status = 'PENDING' and claimed_until is null")
  return rows.length
}

async function startWorker(): Promise<GatewayProcess> {
  const worker = await startProcess(await newPlace(gateway.dataDir), {
    GUICHET_ROLE: 'worker',
    GUICHET_SANDBOX_BANKS: 'remote',
    GUICHET_NIGHTLY_CERTIFICATION: 'off',
    DATABASE_URL: gateway.database.url,
    ISSUER: gateway.issuer,
  })
  workers.push(worker)
  return worker
}

describe('an attempt counts once it has an outcome', () => {
  test('a worker killed during an attempt uses up none of them, and the delivery shows only what really happened', async () => {
    const id = await newDelivery()
    for (let killed = 1; killed <= 3; killed++) {
      const worker = await startWorker()
      await eventually('a request that stays unanswered', () => Promise.resolve(requests === killed), 15_000)
      await worker.stop('SIGKILL')
      // The lease of the killed process has ended.
      await makeDue()
    }
    answers = [503, 204]
    await startWorker()
    await eventually('the first outcome', async () => (await shown(id)).attempts.length === 1, 15_000)
    await makeDue()
    await eventually('the delivery', async () => (await shown(id)).status === 'DELIVERED', 15_000)
    expect((await shown(id)).attempts).toEqual([
      { number: 1, httpStatus: 503, outcome: 'REFUSED' },
      { number: 2, httpStatus: 204, outcome: 'ACCEPTED' },
    ])
  })

  test('a delivery that was claimed twenty times without an outcome is delivered once its endpoint accepts it', async () => {
    const id = await newDelivery()
    for (let claim = 0; claim < 20; claim++) {
      await makeDue()
      expect(await claimAll()).toEqual([expect.objectContaining({ id })])
    }
    expect(requests).toBe(0)
    answers = [503, 204]
    await makeDue()
    await work()
    expect(await shown(id)).toEqual({
      status: 'PENDING',
      attempts: [{ number: 1, httpStatus: 503, outcome: 'REFUSED' }],
    })
    await makeDue()
    await work()
    expect((await shown(id)).status).toBe('DELIVERED')
  })

  test('an attempt that comes to no request is counted, put off by the schedule, and given up by its age', async () => {
    const id = await newDelivery()
    const began = Date.now()
    const sealed =
      'select sealed_signing_secret as sealed from webhook_endpoint where id = (select webhook_endpoint_id from delivery where id = $1)'
    const [{ sealed: secret }] = (await gateway.database.query<{ sealed: string }>(sealed, [id])) as [
      { sealed: string },
    ]
    const setSecret = (text: string) =>
      gateway.database.query('update webhook_endpoint set sealed_signing_secret = $1 where status = $2', [
        text,
        'ACTIVE',
      ])
    await setSecret('cannot be opened')
    await work()
    const first = await shown(id)
    expect(first).toEqual({ status: 'PENDING', attempts: [{ number: 1, httpStatus: null, outcome: 'NOT_SENT' }] })
    expect((await nextAttemptOf(id)).getTime() - began).toBeGreaterThan(3_000)
    expect(await claimAll()).toEqual([])
    while ((await shown(id)).status === 'PENDING') {
      gateway.forward(Math.max(0, (await nextAttemptOf(id)).getTime() - Date.now()) + 1)
      await work()
    }
    expect(await shown(id)).toMatchObject({ status: 'FAILED' })
    expect((await shown(id)).attempts.every(({ outcome }) => outcome === 'NOT_SENT')).toBe(true)
    expect(requests).toBe(0)
    await setSecret(secret)
  })

  test('an accepted message whose outcome could not be stored at once is not sent again', async () => {
    const id = await newDelivery()
    answers = [204, 204]
    await gateway.database.query(`
      create sequence refusals;
      create function refuse() returns trigger language plpgsql as
        $$ begin if nextval('refusals') <= 2 then raise exception 'no'; end if; return new; end $$;
      create trigger refuse before insert on delivery_attempt for each row execute function refuse()`)
    await work()
    await gateway.database.query(
      'drop trigger refuse on delivery_attempt; drop function refuse; drop sequence refusals',
    )
    expect(requests).toBe(1)
    expect(await shown(id)).toEqual({
      status: 'DELIVERED',
      attempts: [{ number: 1, httpStatus: 204, outcome: 'ACCEPTED' }],
    })
  })

  test('an attempt that the end of its own process cuts off counts as none, and is due again at once', async () => {
    const id = await newDelivery()
    const second = await startSecondGateway(gateway)
    await second.app.services.deliveries.startDue(() => undefined)
    await eventually('the request', () => Promise.resolve(requests === 1))
    second.app.services.deliveries.markStopping()
    await second.close()
    expect((await shown(id)).attempts).toEqual([])
    answers = [204]
    await work()
    expect(await shown(id)).toEqual({
      status: 'DELIVERED',
      attempts: [{ number: 1, httpStatus: 204, outcome: 'ACCEPTED' }],
    })
  })

  test('an outcome that comes when the claim is another’s changes nothing of the schedule', async () => {
    const id = await newDelivery()
    const store = claimStore(database)
    const [old] = await claimAll()
    await makeDue()
    const [current] = await claimAll()
    expect(await store.renew(old!, 20_000)).toBeUndefined()
    await database.transaction(async (tx) => {
      expect(await store.countAttempt(tx, old!, old!.consentId)).toBeUndefined()
      expect(await store.reschedule(tx, old!, new Date('2100-01-01'))).toBe(false)
      expect(await store.finish(tx, old!, 'DELIVERED', new Date())).toBe(false)
    })
    await store.release(old!)
    expect(await claimAll()).toEqual([])
    const renewed = await store.renew(current!, 20_000)
    await database.transaction(async (tx) => {
      expect(await store.countAttempt(tx, renewed!, renewed!.consentId)).toMatchObject({ attemptCount: 1 })
      expect(await store.finish(tx, renewed!, 'DELIVERED', new Date())).toBe(true)
    })
    expect((await shown(id)).status).toBe('DELIVERED')
  })

  test('two processes that attempt the same delivery at once leave two attempts with two numbers', async () => {
    const id = await newDelivery()
    const { deliveries } = gateway.app.services
    await deliveries.startDue(() => undefined)
    await eventually('the first request', () => Promise.resolve(requests === 1))
    // The lease ends while the first attempt is still unanswered.
    await makeDue()
    answers = [503]
    await deliveries.startDue(() => undefined)
    await eventually('the second outcome', async () => (await shown(id)).attempts.length === 1)
    receiver.closeAllConnections()
    await deliveries.waitUntilIdle()
    expect((await shown(id)).attempts).toEqual([
      { number: 1, httpStatus: 503, outcome: 'REFUSED' },
      { number: 2, httpStatus: null, outcome: 'UNREACHABLE' },
    ])
  })
})

describe('a claim', () => {
  test('leaves to others what it has no hands for', async () => {
    await newDeliveries(12)
    const [first, second, third] = [await claimAll(), await claimAll(), await claimAll()]
    expect([first, second, third].map(({ length }) => length)).toEqual([5, 5, 2])
    expect(new Set([...first, ...second, ...third].map(({ id }) => id)).size).toBe(12)
  })

  test('is nobody else’s, however many processes claim at the same moment', async () => {
    await newDeliveries(400)
    const many = Array.from({ length: 8 }, () => openDatabase(gateway.database.url, 1))
    const claimed: string[] = []
    const places = {
      freeSlots: 10,
      reserved: 0,
      reservedPerClient: 0,
      perClient: 10,
      perEndpoint: 5,
      inFlightByEndpoint: new Map<string, number>(),
    }
    await Promise.all(
      many.map(async (own) => {
        const store = claimStore(own)
        while (claimed.length < 400 && (await deliveriesLeft()) > 0)
          claimed.push(...(await store.claim(places, new Date(), 60_000)).map(({ id }) => id))
      }),
    )
    for (const own of many) await own.close()
    expect(claimed).toHaveLength(400)
    expect(new Set(claimed).size).toBe(400)
  })
})

describe('an attempt that does not reach its endpoint', () => {
  const causes = async (id: string) =>
    (await gateway.app.services.deliveries.findAttempts([id])).map(({ failureCause }) => failureCause)

  test('tells the client why, and an attempt with a response has no cause', async () => {
    const id = await newDelivery()
    await gateway.app.services.deliveries.startDue(() => undefined)
    await eventually('the request', () => Promise.resolve(requests === 1))
    receiver.closeAllConnections()
    await gateway.app.services.deliveries.waitUntilIdle()
    answers = [204]
    await makeDue()
    await work()
    expect(await causes(id)).toEqual(['CONNECTION_RESET', null])
    const query = '{ client { deliveries(first: 1) { nodes { attempts { outcome failureCause } } } } }'
    const answer = await gateway.ask(await gateway.own('chatterbox', 'deliveries:read'), query)
    expect(JSON.stringify(answer.data)).toContain('{"outcome":"UNREACHABLE","failureCause":"CONNECTION_RESET"}')
  })

  test('does not tell a name that leads inside from a name that does not exist', async () => {
    const id = await newDelivery()
    for (const failureCause of ['ADDRESS_NOT_ALLOWED', 'DNS_NOT_FOUND'] as const) {
      gateway.intercept = (request) =>
        request.url.endsWith('/hook')
          ? Promise.reject(new OutboundError('OUTBOUND_UNREACHABLE', failureCause))
          : undefined
      await makeDue()
      await work()
    }
    gateway.intercept = undefined
    expect(await causes(id)).toEqual(['DNS_NOT_FOUND', 'DNS_NOT_FOUND'])
    const { attempts } = await shown(id)
    expect(new Set(attempts.map(({ outcome, httpStatus }) => `${outcome} ${httpStatus}`)).size).toBe(1)
    expect(
      gateway.log.some((line) => line.includes('delivery.unreachable') && line.includes('ADDRESS_NOT_ALLOWED')),
    ).toBe(true)
  })
})

describe('a delivery is given up by its age', () => {
  test('an endpoint that refuses gets at least eight attempts, the last one after three days, before the delivery FAILED', async () => {
    const began = Date.now()
    const id = await newDelivery()
    answers = Array.from({ length: 30 }, () => 503)
    let last = began
    while ((await shown(id)).status === 'PENDING') {
      gateway.forward(Math.max(0, (await nextAttemptOf(id)).getTime() - Date.now()) + 1)
      last = Date.now()
      await work()
    }
    const { status, attempts } = await shown(id)
    expect(status).toBe('FAILED')
    expect(attempts.length).toBeGreaterThanOrEqual(8)
    expect(last - began).toBeGreaterThanOrEqual(3 * DAY_MS)
    expect(last - began).toBeLessThan(3 * DAY_MS + HOUR_MS)
  })

  test('a delivery that nobody could attempt for a week is still attempted more than once before it is given up', async () => {
    const id = await newDelivery()
    gateway.forward(7 * DAY_MS)
    answers = [503, 204]
    await work()
    expect((await shown(id)).status).toBe('PENDING')
    await makeDue()
    await work()
    expect((await shown(id)).status).toBe('DELIVERED')
  })

  test('a replay of a FAILED delivery begins the whole schedule again under the same id', async () => {
    const id = await newDelivery()
    await gateway.database.query(
      "update delivery set status = 'FAILED', attempt_count = 9, ended_at = now() where id = $1",
      [id],
    )
    gateway.forward(10 * DAY_MS)
    await gateway.app.services.deliveries.replay('chatterbox', { select: { deliveryIds: [id] } })
    answers = [503, 503, 503, 503, 204]
    for (let attempt = 1; attempt <= 5; attempt++) {
      await makeDue()
      await work()
      // As after a first attempt: 5 s, with its jitter.
      if (attempt === 1) expect((await nextAttemptOf(id)).getTime() - Date.now()).toBeLessThan(7_000)
    }
    const { status, attempts } = await shown(id)
    expect(status).toBe('DELIVERED')
    expect(attempts.map(({ number }) => number)).toEqual([1, 2, 3, 4, 5])
  })
})
