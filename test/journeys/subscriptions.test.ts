import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createAuthorizationHeaders, createOauthClient } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { patientTimers } from '../support/patient-time.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const RECEIVED = 'subscription { alertReceived { id type } }'
const CHANGED = 'subscription { consentChanged { id status bank { id } } }'
const idsOf = (text: string): string[] => [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id!)
const dataOf = (text: string): string[] => [...text.matchAll(/^data: (\{"data".+\})$/gm)].map(([, data]) => data!)

describe('subscriptions of a platform', () => {
  test('streams with the same operation share one execution and one ledger entry', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const streams = await Promise.all([1, 2, 3].map(() => listen(gateway.issuer, token, RECEIVED)))
    await gateway.alert('northbank', { account: 'nb-10001', type: 'NEW_SIGN_IN' })
    for (const stream of streams)
      await eventually('the alert', () => Promise.resolve(idsOf(stream.text()).length === 1))
    const texts = streams.map(({ text }) => dataOf(text())[0])
    expect(new Set(texts).size).toBe(1)
    const lines = await gateway.database.query(
      "select 1 from ledger_entry where action = 'READ_ALERTS' and subject_id is not null",
    )
    expect(lines).toHaveLength(1)
    for (const stream of streams) stream.close()
  })

  test('a stream that resumes with the ID of the last event gets the missed events, oldest first, and none twice', async () => {
    const token = await gateway.customer('bo', ['northbank'])
    const first = await listen(gateway.issuer, token, RECEIVED)
    await gateway.alert('northbank', { account: 'nb-10003', type: 'NEW_SIGN_IN' })
    await eventually('the first', () => Promise.resolve(idsOf(first.text()).length === 1))
    const [last] = idsOf(first.text())
    first.close()
    for (const type of ['CARD_SECURITY', 'ACCOUNT_RESTRICTED'])
      expect(await gateway.alert('northbank', { account: 'nb-10003', type })).toEqual([202])

    const second = await listen(gateway.issuer, token, RECEIVED, { 'last-event-id': last! })
    await eventually('what was missed', () => Promise.resolve(idsOf(second.text()).length === 2))
    expect(dataOf(second.text()).map((text) => /"type":"(\w+)"/.exec(text)![1])).toEqual([
      'CARD_SECURITY',
      'ACCOUNT_RESTRICTED',
    ])
    expect(idsOf(second.text())).not.toContain(last)
    second.close()
  })

  test('a new and a withdrawn consent are published, and the stream of the withdrawn one ends within two seconds', async () => {
    const browser = (await import('../../src/entrypoints/cli/browser.ts')).createBrowser()
    const north = await gateway.customer('ada', ['northbank'], { browser })
    const stream = await listen(gateway.issuer, north, CHANGED)
    await gateway.customer('ada', ['rheinbank'], { browser, idTokenHint: north.idToken })
    await eventually('the new consent', () => Promise.resolve(/"ACTIVE".*"rheinbank"/.test(stream.text())))
    await eventually('an empty outbox', async () => {
      const [{ count }] = (await gateway.database.query<{ count: string }>(
        'select count(*) from outbox_message where processed_at is null',
      )) as [{ count: string }]
      return count === '0'
    })
    // Three signals announced the change.
    expect(idsOf(stream.text()).filter((id) => id.endsWith('.ACTIVE'))).toHaveLength(1)
    await gateway.ask(north, 'mutation { withdrawConsents(input: { all: true }) { consents { status } } }')
    const began = patientTimers.monotonicMs()
    await eventually('the end', () => Promise.resolve(stream.ended()))
    expect(patientTimers.monotonicMs() - began).toBeLessThan(2_000)
    expect(dataOf(stream.text()).at(-1)).toMatch(/"REVOKED"/)
    expect(stream.text()).toMatch(/event: complete/)
  })

  test('streams end within two seconds of the revocation of their token or the suspension of their client', async () => {
    const token = await gateway.customer('cleo', ['rheinbank'])
    const other = await gateway.customer('cleo', ['rheinbank'])
    const [stream, untouched] = [
      await listen(gateway.issuer, token, RECEIVED),
      await listen(gateway.issuer, other, RECEIVED),
    ]
    await createOauthClient(gateway.issuer, gateway.client('chatterbox')).revoke(token.accessToken)
    await eventually('the end', () => Promise.resolve(stream.ended()), 2_000)
    expect(untouched.ended()).toBe(false)
    const { clients } = gateway.app.services
    await clients.suspend('admin', 'chatterbox')
    await eventually('the end', () => Promise.resolve(untouched.ended()), 2_000)
    await clients.resume('admin', 'chatterbox')
  })

  test('a stream whose token ended before the stream started ends immediately', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    // Cached as valid in this process, then deleted without a signal.
    await gateway.ask(token, '{ customer { id } }')
    await gateway.database.query("delete from oauth_artifact where kind = 'AccessToken'")
    const stream = await listen(gateway.issuer, token, RECEIVED)
    await eventually('the end', () => Promise.resolve(stream.ended()), 2_000)
  })

  test('a stream ends if its missed events cannot be read, instead of continuing with a gap', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const failing = vi.spyOn(gateway.app.services.alerts, 'listNewest').mockRejectedValueOnce(new Error('database'))
    const stream = await listen(gateway.issuer, token, RECEIVED, { 'last-event-id': 'alert_none' })
    await eventually('the end', () => Promise.resolve(stream.ended()), 2_000)
    failing.mockRestore()
  })

  test('a subscription over HTTP/1.0, which has no chunks, is refused', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const url = `${gateway.issuer}/graphql`
    const { hostname, port } = new URL(url)
    const body = JSON.stringify({ query: RECEIVED })
    const headers = { ...(await createAuthorizationHeaders(token, 'POST', url)), 'content-type': 'application/json' }
    const socket = connect(Number(port), hostname)
    socket.write(
      [
        'POST /graphql HTTP/1.0',
        `host: ${hostname}:${port}`,
        'accept: text/event-stream',
        `content-length: ${body.length}`,
        ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
        '',
        body,
      ].join('\r\n'),
    )
    let text = ''
    for await (const chunk of socket) text += String(chunk)
    expect(text).toMatch(/^HTTP\/1\.[01] 400 /)
  })

  test('a client has at most a hundred streams for one customer', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const streams = await Promise.all(Array.from({ length: 100 }, () => listen(gateway.issuer, token, RECEIVED)))
    expect(streams.map(({ status }) => status)).toEqual(Array.from({ length: 100 }, () => 200))
    expect((await listen(gateway.issuer, token, RECEIVED)).status).toBe(429)
    for (const stream of streams) stream.close()
    await eventually('room', async () => {
      const again = await listen(gateway.issuer, token, RECEIVED)
      again.close()
      return again.status === 200
    })
  })
})
