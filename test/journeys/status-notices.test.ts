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

/** Berlin Group's Resource Status Notification Service: anybody may send one, for nobody signs it. */
const tell = async (body: unknown): Promise<number> => {
  const headers = { 'content-type': 'application/json' }
  const url = `${gateway.issuer}/bank-events/${connectorId}`
  return (await fetch(url, { method: 'POST', headers, body: typeof body === 'string' ? body : JSON.stringify(body) }))
    .status
}
const stateOf = async (grantId: string | undefined): Promise<string> =>
  (
    await gateway.database.query<{ status: string }>('select status from consent where oauth_grant_id = $1', [grantId])
  )[0]!.status
const statusCalls = () => gateway.sent.filter(({ url }) => /\/consents\/[^/]+\/status$/.test(url))
const remembered = async (): Promise<number> =>
  (await gateway.database.query<{ n: number }>('select count(*)::int n from bank_event'))[0]!.n
const bankConsent = async (name: string): Promise<string> => {
  const answer = await fetch(`${gateway.sandbox.banks.rheinbank}/sandbox/consents?customer=${name}`)
  return ((await answer.json()) as { consents: { id: string }[] }).consents.at(-1)!.id
}

/** Waits until all that was promised is done. */
const idle = () =>
  eventually('all messages', async () => {
    const open = await gateway.database.query('select 1 from outbox_message where processed_at is null')
    return open.length === 0
  })

describe('a bank that only says that something changed', () => {
  test('was asked to, with each consent, at the address that is its own', () => {
    return gateway.customer('ada', ['rheinbank']).then(() => {
      const asked = gateway.sent.find(({ method, url }) => method === 'POST' && url.endsWith('/v1/consents'))
      expect(asked!.headers).toMatchObject({
        'tpp-notification-uri': `${gateway.issuer}/bank-events/${connectorId}`,
        'tpp-notification-content-preferred': 'status=PROCESS,LAST',
      })
    })
  })

  test('is asked whether it is so, and then the consent has ended here, too', async () => {
    const token = await gateway.customer('ada', ['rheinbank'])
    const before = statusCalls().length
    const body = JSON.stringify({ customer: 'ada' })
    const answer = await fetch(`${gateway.sandbox.banks.rheinbank}/sandbox/revocations`, { method: 'POST', body })
    const { pushed } = (await answer.json()) as { pushed: { status: number }[] }
    expect(pushed.every(({ status }) => status === 204)).toBe(true)
    await eventually('the end', async () => (await stateOf(token.grantId)) === 'REVOKED')
    expect(statusCalls().length).toBe(before + 1)
  })

  test('is believed and nobody else: a hundred false notices end nothing and cost the bank one question', async () => {
    const token = await gateway.customer('dan', ['rheinbank'])
    const consentId = await bankConsent('dan')
    // A new consent can have the bank asked about an older one.
    await idle()
    const before = statusCalls().length
    const statuses = await Promise.all(
      Array.from({ length: 100 }, () => tell({ consentId, consentStatus: 'revokedByPsu' })),
    )
    expect(new Set(statuses)).toEqual(new Set([204]))
    expect(await stateOf(token.grantId)).toBe('ACTIVE')
    await eventually('the question', () => Promise.resolve(statusCalls().length === before + 1), 20_000)
    await idle()
    expect(statusCalls().length).toBe(before + 1)
    gateway.forward(61_000)
    await tell({ consentId, consentStatus: 'expired' })
    await eventually('the second question', () => Promise.resolve(statusCalls().length === before + 2), 20_000)
    await idle()
    expect(await stateOf(token.grantId)).toBe('ACTIVE')
  })

  test('is not asked about what is unknown or well, and nothing of that is kept', async () => {
    await idle()
    const consentId = await bankConsent('dan')
    const [calls, rows] = [statusCalls().length, await remembered()]
    for (let index = 0; index < 20; index++)
      expect(await tell({ consentId: `made-up-${index}`, consentStatus: 'revokedByPsu' })).toBe(204)
    expect(await tell({ consentId, consentStatus: 'valid' })).toBe(204)
    expect([statusCalls().length, await remembered()]).toEqual([calls, rows])
  })

  test.each([
    ['no JSON', '<notice/>'],
    ['a list', '[]'],
    ['no consent', '{"consentStatus":"revokedByPsu"}'],
    ['a consent of a kilobyte', JSON.stringify({ consentId: 'x'.repeat(1_000), consentStatus: 'expired' })],
    ['an object for a status', '{"consentId":"a","consentStatus":{"a":1}}'],
  ])('and %s is refused', async (_what, body) => {
    expect(await tell(body)).toBe(400)
  })

  test('and does not answer the question is asked again until it does', async () => {
    const token = await gateway.customer('ada', ['rheinbank'])
    const consentId = await bankConsent('ada')
    const before = statusCalls().length
    gateway.intercept = ({ url }) =>
      url.endsWith('/status') ? Promise.resolve({ status: 503, headers: {}, text: '' }) : undefined
    expect(await tell({ consentId, consentStatus: 'revokedByPsu' })).toBe(204)
    await eventually('a question in vain', () => Promise.resolve(statusCalls().length > before))
    expect(await stateOf(token.grantId)).toBe('ACTIVE')
    gateway.intercept = ({ url }) =>
      url.endsWith('/status')
        ? Promise.resolve({ status: 200, headers: {}, text: '{"consentStatus":"revokedByPsu"}' })
        : undefined
    await eventually('the end', async () => (await stateOf(token.grantId)) === 'REVOKED')
  })
})
