import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let connectorId: string
beforeAll(async () => {
  gateway = await startGateway()
  const [row] = await gateway.database.query<{ id: string }>("select id from connector where bank_id = 'rheinbank'")
  connectorId = row!.id
})
afterEach(() => {
  gateway.intercept = undefined
})
afterAll(() => gateway.close())

/** Sends a notification as in Berlin Group's Resource Status Notification Service. Anybody can, because they are unsigned. */
const notify = async (body: unknown): Promise<number> => {
  const headers = { 'content-type': 'application/json' }
  const url = `${gateway.issuer}/bank-events/${connectorId}`
  return (await fetch(url, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) }))
    .status
}
const statusOf = async (grantId: string | undefined): Promise<string> =>
  (
    await gateway.database.query<{ status: string }>('select status from consent where oauth_grant_id = $1', [grantId])
  )[0]!.status
const statusCalls = () => gateway.sent.filter(({ url }) => /\/consents\/[^/]+\/status$/.test(url))
const eventCount = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from bank_event'))[0]!.n
const bankConsent = async (name: string): Promise<string> => {
  const answer = await fetch(`${gateway.sandbox.banks.rheinbank}/sandbox/consents?customer=${name}`)
  return ((await answer.json()) as { consents: { id: string }[] }).consents.at(-1)!.id
}

/** Waits until the outbox has no pending message. */
const waitForOutbox = () =>
  eventually('all messages', async () => {
    const open = await gateway.database.query('select 1 from outbox_message where processed_at is null')
    return open.length === 0
  })

describe('a bank with unsigned status notifications (Berlin Group)', () => {
  test('each consent request asks the bank for notifications at the address of the connector', () => {
    return gateway.customer('ada', ['rheinbank']).then(() => {
      const asked = gateway.sent.find(({ method, url }) => method === 'POST' && url.endsWith('/v1/consents'))
      expect(asked!.headers).toMatchObject({
        'tpp-notification-uri': `${gateway.issuer}/bank-events/${connectorId}`,
        'tpp-notification-content-preferred': 'status=PROCESS,LAST',
      })
    })
  })

  test('a notification that a consent ended is checked with the bank, and then the consent ends', async () => {
    const token = await gateway.customer('ada', ['rheinbank'])
    // A new consent can cause a check of an older one.
    await waitForOutbox()
    const before = statusCalls().length
    const body = JSON.stringify({ customer: 'ada' })
    const answer = await fetch(`${gateway.sandbox.banks.rheinbank}/sandbox/revocations`, { method: 'POST', body })
    const { pushed } = (await answer.json()) as { pushed: { status: number }[] }
    expect(pushed.every(({ status }) => status === 204)).toBe(true)
    await eventually('the end', async () => (await statusOf(token.grantId)) === 'REVOKED')
    expect(statusCalls().length).toBe(before + 1)
  })

  test('a hundred forged notifications end no consent and cause one request to the bank', async () => {
    const token = await gateway.customer('dan', ['rheinbank'])
    const consentId = await bankConsent('dan')
    // A new consent can cause a check of an older one.
    await waitForOutbox()
    const before = statusCalls().length
    const statuses = await Promise.all(
      Array.from({ length: 100 }, () => notify({ consentId, consentStatus: 'revokedByPsu' })),
    )
    expect(new Set(statuses)).toEqual(new Set([204]))
    expect(await statusOf(token.grantId)).toBe('ACTIVE')
    await eventually('the check', () => Promise.resolve(statusCalls().length === before + 1))
    await waitForOutbox()
    expect(statusCalls().length).toBe(before + 1)
    gateway.forward(61_000)
    await notify({ consentId, consentStatus: 'expired' })
    await eventually('the second check', () => Promise.resolve(statusCalls().length === before + 2))
    await waitForOutbox()
    expect(await statusOf(token.grantId)).toBe('ACTIVE')
  })

  test('a notification about an unknown or valid consent causes no request, and nothing of it is stored', async () => {
    await waitForOutbox()
    const consentId = await bankConsent('dan')
    const [calls, rows] = [statusCalls().length, await eventCount()]
    for (let index = 0; index < 20; index++)
      expect(await notify({ consentId: `made-up-${index}`, consentStatus: 'revokedByPsu' })).toBe(204)
    expect(await notify({ consentId, consentStatus: 'valid' })).toBe(204)
    expect([statusCalls().length, await eventCount()]).toEqual([calls, rows])
  })

  test.each([
    ['not JSON', '<notification/>'],
    ['a list', '[]'],
    ['without a consent', '{"consentStatus":"revokedByPsu"}'],
    ['about a consent ID of two kilobytes', JSON.stringify({ consentId: 'x'.repeat(2_000), consentStatus: 'expired' })],
    ['with an object as status', '{"consentId":"a","consentStatus":{"a":1}}'],
  ])('a notification that is %s is refused', async (_what, body) => {
    expect(await notify(body)).toBe(400)
  })

  test('a bank that does not respond to the check is called again until it does', async () => {
    const token = await gateway.customer('ada', ['rheinbank'])
    const consentId = await bankConsent('ada')
    const before = statusCalls().length
    gateway.intercept = ({ url }) =>
      url.endsWith('/status') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    expect(await notify({ consentId, consentStatus: 'revokedByPsu' })).toBe(204)
    await eventually('a failed check', () => Promise.resolve(statusCalls().length > before))
    expect(await statusOf(token.grantId)).toBe('ACTIVE')
    gateway.intercept = ({ url }) =>
      url.endsWith('/status')
        ? Promise.resolve({ status: 200, headers: {}, text: '{"consentStatus":"revokedByPsu"}' })
        : undefined
    await eventually('the end', async () => (await statusOf(token.grantId)) === 'REVOKED')
  })
})
