import { randomUUID } from 'node:crypto'
import { connect, type Socket } from 'node:net'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { digest } from '../../src/kernel/ids.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

let gateway: TestGateway
let blocker: pg.Client
beforeAll(async () => {
  gateway = await startGateway()
  blocker = new pg.Client({ connectionString: gateway.database.url })
  await blocker.connect()
})
afterEach(async () => {
  await blocker.query('rollback')
})
afterAll(async () => {
  await blocker.end()
  await gateway.close()
})

interface Outcome {
  jti: string
  status: number
  retryAfter: string | null
  body: string
}

const eventsOf = (jti: string) => ({ claims: { jti } })
type SendingBank = 'northbank' | 'rheinbank'
/** By what an event of a bank is known. */
const digestOf = (jti: string, bank: SendingBank): string => digest(JSON.stringify([bank, jti]))
const storedCount = async (jtis: readonly string[], bank: SendingBank = 'northbank'): Promise<number> =>
  (
    await gateway.database.query<{ n: number }>('select count(*)::int n from bank_event where jti_digest = any($1)', [
      jtis.map((jti) => digestOf(jti, bank)),
    ])
  )[0]!.n

/** Pushes one signed event. The status is 0 if the sender left. */
async function send(jti: string, token: string, url: string, signal?: AbortSignal): Promise<Outcome> {
  return fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/secevent+jwt' },
    body: token,
    ...(signal && { signal }),
  }).then(
    async (response) => ({
      jti,
      status: response.status,
      retryAfter: response.headers.get('retry-after'),
      body: await response.text(),
    }),
    () => ({ jti, status: 0, retryAfter: null, body: '' }),
  )
}

async function sign(count: number, bank: SendingBank = 'northbank') {
  const events: { jti: string; token: string; url: string }[] = []
  for (let index = 0; index < count; index++) {
    const jti = randomUUID()
    events.push({ jti, ...(await signEvent(gateway, bank, eventsOf(jti))) })
  }
  return events
}

/** Inserts this event in an open transaction. Other transactions that store it must wait. */
async function blockEvent(jti: string, bank: SendingBank = 'northbank'): Promise<void> {
  await blocker.query('begin')
  await blocker.query('insert into bank_event (issuer, jti_digest, received_at) values ($1, $2, now())', [
    gateway.sandbox.banks[bank],
    digestOf(jti, bank),
  ])
}
/** The number of transactions that wait for a lock. */
const waitingInDatabase = async (): Promise<number> =>
  (
    await gateway.database.query<{ n: number }>(
      "select count(*)::int n from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
    )
  )[0]!.n

const expectRefusal = ({ status, retryAfter, body }: Outcome): void => {
  expect(status).toBe(503)
  expect(Number(retryAfter)).toBeGreaterThanOrEqual(1)
  expect((JSON.parse(body) as { error: { code: string } }).error.code).toMatch(/OVERLOADED|DATABASE_UNAVAILABLE/)
}

describe('events beyond what the gateway can store', () => {
  test('each of 2,000 concurrent events is stored and gets 202, or gets 503, even if half of the senders leave', async () => {
    const events = await sign(2_000)
    await blocker.query('begin')
    await blocker.query('lock table bank_event in access exclusive mode')
    const leaving = new AbortController()
    let endedCount = 0
    const sending = events.map(({ jti, token, url }, index) =>
      send(jti, token, url, index % 2 === 0 ? leaving.signal : undefined).finally(() => endedCount++),
    )
    await eventually('transactions that wait', async () => (await waitingInDatabase()) > 0)
    // All have arrived: a hundred are queued, and 32 are being stored.
    await eventually('the refusal of the others', () => Promise.resolve(endedCount >= events.length - 132))
    leaving.abort()
    // Long enough for the gateway to notice it, and shorter than events wait for their turn.
    await patientTimers.sleep(1_000)
    await blocker.query('rollback')
    const outcomes = await Promise.all(sending)

    // 408: on a busy machine, a sender here can be too slow.
    const answered = outcomes.filter(({ status }) => status !== 0 && status !== 408)
    expect(new Set(answered.map(({ status }) => status))).toEqual(new Set([202, 503]))
    const accepted = answered.filter(({ status }) => status === 202)
    for (const one of answered) if (one.status !== 202) expectRefusal(one)
    expect(await storedCount(accepted.map(({ jti }) => jti))).toBe(accepted.length)
    // Of the senders that left, only those whose event was already being stored.
    const left = outcomes.filter(({ status }) => status === 0)
    expect(left.length).toBeGreaterThan(0)
    expect(await storedCount(left.map(({ jti }) => jti))).toBeLessThanOrEqual(32)

    const [fresh] = await sign(1)
    const began = patientTimers.monotonicMs()
    expect((await send(fresh!.jti, fresh!.token, fresh!.url)).status).toBe(202)
    expect((await fetch(`${gateway.issuer}/readyz`)).status).toBe(200)
    expect(patientTimers.monotonicMs() - began).toBeLessThan(5_000)
  })

  test("a flood of events from one bank does not delay another bank's event, and each is accepted or refused", async () => {
    const [stuck] = await sign(1)
    await blockEvent(stuck!.jti)
    const flood = Array.from({ length: 300 }, () => send(stuck!.jti, stuck!.token, stuck!.url))
    await eventually('transactions that wait', async () => (await waitingInDatabase()) > 0)
    const [other] = await sign(1, 'rheinbank')
    const answer = await Promise.race([send(other!.jti, other!.token, other!.url), patientTimers.sleep(4_000)])
    expect(answer?.status).toBe(202)
    await blocker.query('rollback')
    const outcomes = await Promise.all(flood)
    expect(outcomes.some(({ status }) => status === 202)).toBe(true)
    for (const one of outcomes) if (one.status !== 202) expectRefusal(one)
  })

  test('an event whose sender leaves before its turn is not stored', async () => {
    // From here on of a bank whose allowance the floods before this have not used up.
    const [stuck, ...waiting] = await sign(21, 'rheinbank')
    // As many as one bank may have in progress.
    await blockEvent(stuck!.jti, 'rheinbank')
    const running = Array.from({ length: 32 }, () => send(stuck!.jti, stuck!.token, stuck!.url))
    await eventually('transactions that wait', async () => (await waitingInDatabase()) >= 1)
    const leaving = new AbortController()
    const left = waiting.map(({ jti, token, url }) => send(jti, token, url, leaving.signal))
    // Together shorter than the wait of the others for the lock.
    await patientTimers.sleep(300)
    leaving.abort()
    await Promise.all(left)
    await patientTimers.sleep(100)
    await blocker.query('rollback')
    expect((await Promise.all(running)).map(({ status }) => status).filter((status) => status !== 202)).toEqual([])
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(
      await storedCount(
        waiting.map(({ jti }) => jti),
        'rheinbank',
      ),
    ).toBe(0)
  })

  test('senders that stop in the middle of a body occupy no slot', async () => {
    const [event] = await sign(1, 'rheinbank')
    const { port, pathname } = new URL(event!.url)
    const slow: Socket[] = []
    for (let index = 0; index < 400; index++) {
      const socket = connect(Number(port), '127.0.0.1').on('error', () => undefined)
      socket.write(
        `POST ${pathname} HTTP/1.1\r\nhost: 127.0.0.1:${port}\r\ncontent-type: application/secevent+jwt\r\ncontent-length: 1000\r\n\r\nabc`,
      )
      slow.push(socket)
    }
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect((await send(event!.jti, event!.token, event!.url)).status).toBe(202)
    for (const socket of slow) socket.destroy()
  })
})

describe('events that are refused early', () => {
  test('unknown connector IDs get 404 without a database query', async () => {
    const [event] = await sign(1, 'rheinbank')
    const { signals } = gateway.app.services
    await eventually('signals', () => Promise.resolve(signals.coherence() !== false))
    // The next event loads the cache again; it stays valid for half a minute.
    await signals.publishNow({ kind: 'BANK', id: 'northbank' })
    expect((await send(event!.jti, event!.token, event!.url)).status).toBe(202)
    await blocker.query('begin')
    await blocker.query('lock table connector in access exclusive mode')
    const answers = await Promise.race([
      Promise.all(
        Array.from({ length: 300 }, () =>
          push(`${gateway.issuer}/bank-events/cnct_${randomUUID()}`, event!.token).then(({ status }) => status),
        ),
      ),
      new Promise<undefined>((resolve) => setTimeout(() => resolve(undefined), 15_000)),
    ])
    expect(answers && [...new Set(answers)]).toEqual([404])
  })
})

describe('a database that cannot store', () => {
  test.each(['53100', '53200', '57P03', '58030'])(
    'an event that cannot be stored because of error %s gets 503 with Retry-After, and is accepted afterwards',
    async (code) => {
      const [event] = await sign(1, 'rheinbank')
      await gateway.database.query(
        `create or replace function fail_for_test() returns trigger language plpgsql as $$
         begin raise exception 'no space' using errcode = '${code}'; end $$`,
      )
      await gateway.database.query(
        'create trigger fail_for_test before insert on bank_event for each row execute function fail_for_test()',
      )
      const refused = await send(event!.jti, event!.token, event!.url)
      await gateway.database.query('drop trigger fail_for_test on bank_event')
      expectRefusal(refused)
      expect(await storedCount([event!.jti])).toBe(0)
      expect((await send(event!.jti, event!.token, event!.url)).status).toBe(202)
    },
  )
})
