import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { push, signEvent, type EventChoice } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

const CAEP = 'https://schemas.openid.net/secevent/caep/event-type'

let gateway: TestGateway
let connectorId: string
beforeAll(async () => {
  gateway = await startGateway()
  const rows = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'northbank'")
  connectorId = rows[0]!.id
  // Those of its certification.
  await gateway.database.query('delete from bank_event_count')
})
afterAll(() => gateway.close())

async function send(choice: EventChoice): Promise<number> {
  const { token, url } = await signEvent(gateway, 'northbank', choice)
  return (await push(url, token)).status
}
const sendType = (type: string, event: unknown = {}, claims: Record<string, unknown> = {}) =>
  send({ claims: { events: { [type]: event }, ...claims } })

interface Count {
  readonly day: string
  readonly outcome: string
  readonly eventType: string | null
  readonly count: number
}
async function countsFor(clientId = 'admin', scope = 'banks:manage'): Promise<Count[] | undefined> {
  const query = 'query ($id: ID!) { connector(id: $id) { eventCounts { day outcome eventType count } } }'
  const token = await gateway.own(clientId, scope)
  const { data } = await gateway.ask(token, query, { id: connectorId })
  return (data as { connector: { eventCounts: Count[] } | null }).connector?.eventCounts
}
/** The counts without their day, in the order of their names. */
const outcomes = async (): Promise<string[]> =>
  (await countsFor())!
    .map(({ outcome, eventType, count }) => `${outcome} ${eventType ?? '-'} ${count}`)
    .sort((one, other) => one.localeCompare(other))

describe('the counts of the events of a bank', () => {
  test('events without effect are acknowledged and counted by their reason, and by name if a standard has one', async () => {
    const compliance = `${CAEP}/device-compliance-change`
    expect(await sendType(compliance)).toBe(202)
    expect(await sendType(compliance)).toBe(202)
    expect(await sendType('urn:bank:CANARY-type')).toBe(202)
    const byEmail = { sub_id: { format: 'email', email: 'CANARY@example.com' } }
    expect(await sendType(`${CAEP}/credential-change`, {}, byEmail)).toBe(202)
    expect(await outcomes()).toEqual([
      `UNKNOWN_SUBJECT ${CAEP}/credential-change 1`,
      'UNKNOWN_TYPE - 1',
      `UNKNOWN_TYPE ${compliance} 2`,
    ])
  })

  test('rejected events are counted, and an event of an unknown sender counts for nobody', async () => {
    expect(await send({ claims: { iss: 'https://other-bank.example' } })).toBe(400)
    expect(await send({ header: { typ: 'JWT' } })).toBe(400)
    const { token, url } = await signEvent(gateway, 'northbank')
    expect((await push(url.replace(/cnct_\w+/, 'cnct_unknown'), token)).status).toBe(404)
    expect(await outcomes()).toContain('REJECTED - 2')
  })

  test('the partner of the bank sees its counts, and the partner of another bank does not', async () => {
    expect(await countsFor('northbank-partner', 'connectors:read')).not.toEqual([])
    expect(await countsFor('eastbank-partner', 'connectors:read')).toBeUndefined()
  })

  test('a day is shown by its start, and days before the last seven are not shown', async () => {
    const today = `${new Date().toISOString().slice(0, 10)}T00:00:00.000Z`
    expect(new Set((await countsFor())!.map(({ day }) => day))).toEqual(new Set([today]))
    await gateway.database.query("update bank_event_count set day = day - 7 where outcome = 'REJECTED'")
    expect((await outcomes()).some((line) => line.startsWith('REJECTED'))).toBe(false)
  })

  test('no text of the bank is stored', async () => {
    const rows = await gateway.database.query<Record<string, unknown>>('select * from bank_event_count')
    expect(JSON.stringify(rows)).not.toContain('CANARY')
  })

  test('counts that could not be stored are stored later without a further event, and no event fails with them', async () => {
    await gateway.database.query('alter table bank_event_count rename to away')
    expect(await sendType('urn:bank:other')).toBe(202)
    const hasFailed = () => Promise.resolve(gateway.log.some((line) => line.includes('bank_events.count_failed')))
    await eventually('a write that fails', hasFailed)
    await gateway.database.query('alter table away rename to bank_event_count')
    const stored = async () => {
      const sql = "select count from bank_event_count where outcome = 'UNKNOWN_TYPE' and event_type = ''"
      return (await gateway.database.query<{ count: number }>(sql))[0]!.count === 2
    }
    await eventually('the stored count', stored)
  })

  test('counts are deleted after thirty days', async () => {
    await gateway.database.query("update bank_event_count set day = current_date - 31 where outcome = 'UNKNOWN_TYPE'")
    expect(await gateway.app.services.banks.eventCounts.sweep()).toBe(2)
    expect((await outcomes()).some((line) => line.startsWith('UNKNOWN_TYPE'))).toBe(false)
  })
})
