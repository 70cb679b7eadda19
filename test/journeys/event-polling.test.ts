import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ keepsEvents: true })
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

/** Open Banking's aggregated polling: what a bank could not deliver, or keeps until it is asked. */
const keep = (path: 'alerts' | 'revocations', body: Record<string, unknown>) =>
  fetch(`${gateway.sandbox.banks.northbank}/sandbox/${path}`, { method: 'POST', body: JSON.stringify(body) })
const alerts = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n
const asked = () =>
  gateway.sent.filter(({ url }) => url.endsWith('/events')).map(({ body }) => JSON.parse(body!) as Asked)
interface Asked {
  ack: string[]
  setErrs: Record<string, { err: string }>
}
const alert = (how: string) => ({ customer: 'ada', type: 'UNUSUAL_ACTIVITY_REVIEW', deliveryMode: how })

describe('a bank that keeps its events', () => {
  test('is asked for them, and they are taken as if it had delivered them', async () => {
    await gateway.customer('ada', ['northbank'])
    await keep('alerts', alert('QUEUED'))
    const message = await eventually('the webhook', async () => (await gateway.received())[0], 15_000)
    expect(message).toMatchObject({ verified: true, body: { data: { bankId: 'northbank' } } })
    await eventually('the bank to be told', () => Promise.resolve(asked().some(({ ack }) => ack.length === 1)))
    expect(await alerts()).toBe(1)
  })

  test('is asked once to tell of what concerns us, by address and kind, however often it is asked for events', async () => {
    await eventually('three questions', () => Promise.resolve(asked().length >= 3), 20_000)
    const subscribed = gateway.sent.filter(
      ({ method, url }) => method === 'POST' && url.endsWith('/event-subscriptions'),
    )
    expect(subscribed).toHaveLength(1)
    const [row] = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'northbank'")
    expect(JSON.parse(subscribed[0]!.body!)).toEqual({
      Data: {
        CallbackUrl: `${gateway.issuer}/bank-events/${row!.id}/event-notifications`,
        Version: '4.0',
        EventTypes: [
          'urn:uk:org:openbanking:events:consent-authorization-revoked',
          'urn:guichet:events:security-alert',
        ],
      },
    })
  })

  test('is told of a forged one that it is refused, and the forged one does nothing', async () => {
    const before = await alerts()
    await keep('alerts', alert('QUEUED_TAMPERED'))
    const refused = await eventually(
      'the refusal',
      () => Promise.resolve(asked().find(({ setErrs }) => Object.keys(setErrs).length > 0)),
      15_000,
    )
    expect(Object.values(refused.setErrs)[0]).toMatchObject({ err: 'invalid_request' })
    expect(refused.ack).toEqual([])
    expect(await alerts()).toBe(before)
  })

  test('keeps one that could not be stored, and gives it again: nothing is lost, nothing is told twice', async () => {
    const before = await alerts()
    await gateway.database.query('alter table alert rename to alert_away')
    await keep('alerts', alert('QUEUED'))
    const tried = () => Promise.resolve(gateway.log.some((line) => line.includes('bank_event.write_deferred')))
    await eventually('a question that fails', tried, 15_000)
    await gateway.database.query('alter table alert_away rename to alert')
    await eventually('the alert', async () => (await alerts()) === before + 1, 15_000)
    const acked = asked().flatMap(({ ack }) => ack)
    expect(new Set(acked).size).toBe(acked.length)
  })

  test('gives one that can never be stored again and again, and the ones behind it are taken all the same', async () => {
    const before = await alerts()
    await gateway.database.query(`alter table alert add constraint never check (type <> 'NEW_SIGN_IN') not valid`)
    await keep('alerts', { ...alert('QUEUED'), type: 'NEW_SIGN_IN' })
    await keep('alerts', alert('QUEUED'))
    await eventually('the one behind it', async () => (await alerts()) === before + 1, 15_000)
    await gateway.database.query('alter table alert drop constraint never')
    await eventually('the one that was left', async () => (await alerts()) === before + 2, 15_000)
  })

  test('tells so of a customer who ended the sharing there', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    await keep('revocations', { customer: 'ada', deliveryMode: 'QUEUED' })
    await eventually(
      'the end',
      async () => {
        const sql = 'select status from consent where oauth_grant_id = $1'
        return (await gateway.database.query<{ status: string }>(sql, [token.grantId]))[0]!.status === 'REVOKED'
      },
      15_000,
    )
  })

  test('is asked by one process at a time', async () => {
    await gateway.database.query('update connector set events_polled_at = null')
    const { banks } = gateway.app.services
    const turns = (await Promise.all(Array.from({ length: 20 }, () => banks.claimEventPolls()))).flat()
    // The worker itself may have been quicker.
    expect(turns.length).toBeLessThanOrEqual(1)
    const [row] = await gateway.database.query<{ justNow: boolean }>(
      `select events_polled_at between now() - interval '5 seconds' and now() as "justNow"
       from connector where bank_id = 'northbank'`,
    )
    expect(row!.justNow).toBe(true)
  })

  test('and does not answer keeps nobody else waiting: turns are taken as before, and it is asked once at a time', async () => {
    let asked = 0
    let answer: (given: OutboundResponse) => void = () => undefined
    gateway.intercept = ({ url }) => {
      if (!url.endsWith('/events')) return undefined
      asked++
      return new Promise((resolve) => (answer = resolve))
    }
    const nextTurn = async (): Promise<void> => {
      await gateway.database.query('update connector set events_polled_at = null')
      const sql = "select 1 from connector where bank_id = 'northbank' and events_polled_at is not null"
      await eventually('a turn', async () => (await gateway.database.query(sql)).length === 1, 4_000)
    }
    for (let turn = 0; turn < 3; turn++) await nextTurn()
    expect(asked).toBe(1)
    answer({ status: 200, headers: {}, text: '{"sets":{}}' })
    await gateway.app.services.alerts.waitUntilIdle()
  })

  test.each([
    ['a list where a map belongs', '{"moreAvailable":false,"sets":["a"]}'],
    ['HTML', '<html>down</html>'],
    [
      'more than was asked for',
      JSON.stringify({ sets: Object.fromEntries([...Array(51).keys()].map((n) => [n, 'x'])) }),
    ],
    ['an event of a megabyte', JSON.stringify({ sets: { a: 'x'.repeat(900_000) } })],
  ])('is not believed where it answers with %s', async (_what, text) => {
    const before = await alerts()
    gateway.log.length = 0
    gateway.intercept = ({ url }) =>
      url.endsWith('/events') ? Promise.resolve({ status: 200, headers: {}, text }) : undefined
    await gateway.database.query('update connector set events_polled_at = null')
    const noticed = () => gateway.log.find((line) => line.includes('bank_events.poll_failed'))
    expect(await eventually('a line', () => Promise.resolve(noticed()), 15_000)).toContain('BANK_RESPONSE_INVALID')
    expect(await alerts()).toBe(before)
  })
})
