import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { SIGNAL_TYPES } from '../../src/connectors/signal-types.ts'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway({ keepsEvents: true })
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

/** Adds an event to the bank's queue for aggregated polling (Open Banking). */
const queueAtBank = (path: 'alerts' | 'revocations', body: Record<string, unknown>) =>
  fetch(`${gateway.sandbox.banks.northbank}/sandbox/${path}`, { method: 'POST', body: JSON.stringify(body) })
const alertCount = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from alert'))[0]!.n
const pollRequests = () =>
  gateway.sent.filter(({ url }) => url.endsWith('/events')).map(({ body }) => JSON.parse(body!) as PollRequest)
interface PollRequest {
  ack: string[]
  setErrs: Record<string, { err: string }>
}
const alert = (deliveryMode: string) => ({ customer: 'ada', type: 'UNUSUAL_ACTIVITY_REVIEW', deliveryMode })

describe('a bank whose events are polled', () => {
  test('polled events are received like pushed ones', async () => {
    await gateway.customer('ada', ['northbank'])
    await queueAtBank('alerts', alert('QUEUED'))
    const message = await eventually('the webhook', async () => (await gateway.received())[0])
    expect(message).toMatchObject({ verified: true, body: { data: { bankId: 'northbank' } } })
    await eventually('the acknowledgement', () => Promise.resolve(pollRequests().some(({ ack }) => ack.length === 1)))
    expect(await alertCount()).toBe(1)
  })

  test('one subscription names the event types and the URL, for any number of polls', async () => {
    await eventually('three questions', () => Promise.resolve(pollRequests().length >= 3))
    const subscribed = gateway.sent.filter(
      ({ method, url }) => method === 'POST' && url.endsWith('/event-subscriptions'),
    )
    expect(subscribed).toHaveLength(1)
    const [row] = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'northbank'")
    const { EventTypes, ...data } = (JSON.parse(subscribed[0]!.body!) as { Data: { EventTypes: string[] } }).Data
    const url = `${gateway.issuer}/bank-events/${row!.id}/event-notifications`
    expect(data).toEqual({ CallbackUrl: url, Version: '4.0' })
    expect(EventTypes).toEqual([
      'urn:uk:org:openbanking:events:consent-authorization-revoked',
      'urn:guichet:events:security-alert',
      ...Object.keys(SIGNAL_TYPES),
    ])
  })

  test('a forged event is rejected with an error to the bank and has no effect', async () => {
    const before = await alertCount()
    await queueAtBank('alerts', alert('QUEUED_TAMPERED'))
    const refused = await eventually('the refusal', () =>
      Promise.resolve(pollRequests().find(({ setErrs }) => Object.keys(setErrs).length > 0)),
    )
    expect(Object.values(refused.setErrs)[0]).toMatchObject({ err: 'invalid_request' })
    expect(refused.ack).toEqual([])
    expect(await alertCount()).toBe(before)
  })

  test('an event that could not be stored is not acknowledged, and is stored when the bank returns it again', async () => {
    const before = await alertCount()
    await gateway.database.query('alter table alert rename to alert_away')
    await queueAtBank('alerts', alert('QUEUED'))
    const tried = () => Promise.resolve(gateway.log.some((line) => line.includes('bank_event.write_deferred')))
    await eventually('a question that fails', tried)
    await gateway.database.query('alter table alert_away rename to alert')
    await eventually('the alert', async () => (await alertCount()) === before + 1)
    const acked = pollRequests().flatMap(({ ack }) => ack)
    expect(new Set(acked).size).toBe(acked.length)
  })

  test('an event that can never be stored does not delay the events behind it', async () => {
    const before = await alertCount()
    await gateway.database.query(`alter table alert add constraint never check (type <> 'NEW_SIGN_IN') not valid`)
    await queueAtBank('alerts', { ...alert('QUEUED'), type: 'NEW_SIGN_IN' })
    await queueAtBank('alerts', alert('QUEUED'))
    await eventually('the one behind it', async () => (await alertCount()) === before + 1)
    await gateway.database.query('alter table alert drop constraint never')
    await eventually('the one that was left', async () => (await alertCount()) === before + 2)
  })

  test('a consent that the customer ended at the bank ends here by a polled event', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    await queueAtBank('revocations', { customer: 'ada', deliveryMode: 'QUEUED' })
    await eventually('the end', async () => {
      const sql = 'select status from consent where oauth_grant_id = $1'
      return (await gateway.database.query<{ status: string }>(sql, [token.grantId]))[0]!.status === 'REVOKED'
    })
  })

  test('a bank is polled by one process at a time', async () => {
    await gateway.database.query('update connector set events_polled_at = null')
    const { banks } = gateway.app.services
    const turns = (await Promise.all(Array.from({ length: 20 }, () => banks.claimEventPolls()))).flat()
    // The worker may have been faster.
    const pollers = turns.map(({ connectorId }) => connectorId)
    expect(new Set(pollers).size).toBe(pollers.length)
    const [row] = await gateway.database.query<{ justNow: boolean }>(
      `select events_polled_at between now() - interval '60 seconds' and now() as "justNow"
       from connector where bank_id = 'northbank'`,
    )
    expect(row!.justNow).toBe(true)
  })

  test('a bank that does not respond is polled once at a time and does not delay the polls of other banks', async () => {
    let pollCount = 0
    let respond: (response: OutboundResponse) => void = () => undefined
    gateway.intercept = ({ url }) => {
      if (!url.endsWith('/events')) return undefined
      pollCount++
      return new Promise((resolve) => (respond = resolve))
    }
    const nextTurn = async (): Promise<void> => {
      await gateway.database.query('update connector set events_polled_at = null')
      const sql = "select 1 from connector where bank_id = 'northbank' and events_polled_at is not null"
      await eventually('a turn', async () => (await gateway.database.query(sql)).length === 1)
    }
    for (let turn = 0; turn < 3; turn++) await nextTurn()
    expect(pollCount).toBe(1)
    respond({ status: 200, headers: {}, text: '{"sets":{}}' })
    await gateway.app.services.alerts.waitUntilIdle()
  })

  test('events that cannot be read are reported to the bank one by one, and the others take effect', async () => {
    await gateway.customer('ada', ['northbank'])
    const { token } = await signEvent(gateway, 'northbank')
    const noise = Object.fromEntries(Array.from({ length: 60 }, (_, index) => [`noise-${index}`, 'x']))
    const sets = { long: 'x'.repeat(900_000), number: 1, list: ['a'], nothing: null, good: token, ...noise }
    const before = await alertCount()
    gateway.sent.length = 0
    let responses = 0
    gateway.intercept = ({ url }) => {
      if (!url.endsWith('/events')) return undefined
      return Promise.resolve({ status: 200, headers: {}, text: JSON.stringify({ sets: responses++ ? {} : sets }) })
    }
    await gateway.database.query('update connector set events_polled_at = null')
    await eventually('the alert', async () => (await alertCount()) === before + 1)
    await eventually('the acknowledgement', () => Promise.resolve(responses > 1))
    const { ack, setErrs } = pollRequests().find((request) => request.ack.length > 0)!
    expect(ack).toEqual(['good'])
    expect(Object.keys(setErrs).slice(0, 4).sort()).toEqual(['list', 'long', 'nothing', 'number'])
    // The rest is in the next response, because nothing says that it arrived.
    expect(Object.keys(setErrs)).toHaveLength(49)
  })

  test.each([
    ['a list instead of a map', '{"moreAvailable":false,"sets":["a"]}'],
    ['HTML', '<html>down</html>'],
  ])('a poll response with %s is rejected', async (_what, text) => {
    const before = await alertCount()
    gateway.log.length = 0
    gateway.intercept = ({ url }) =>
      url.endsWith('/events') ? Promise.resolve({ status: 200, headers: {}, text }) : undefined
    await gateway.database.query('update connector set events_polled_at = null')
    const noticed = () => gateway.log.find((line) => line.includes('bank_events.poll_failed'))
    expect(await eventually('a line', () => Promise.resolve(noticed()))).toContain('BANK_RESPONSE_INVALID')
    expect(await alertCount()).toBe(before)
  })
})
