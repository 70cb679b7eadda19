import { connect } from 'node:net'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { createAuthorizationHeaders, createOauthClient } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'

let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

const RECEIVED = 'subscription { alertReceived { id type } }'
const CHANGED = 'subscription { consentChanged { id status bank { id } } }'
const idsOf = (text: string): string[] => [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id!)
const dataOf = (text: string): string[] => [...text.matchAll(/^data: (\{"data".+\})$/gm)].map(([, data]) => data!)

describe('a platform listens', () => {
  test('two streams that ask the same get one answer and one ledger line, each its own copy', async () => {
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

  test('after a break, the id of the last event brings what was missed, the oldest first, and nothing twice', async () => {
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

  test('a consent that is added or withdrawn is told, and the stream on the withdrawn one ends within two seconds', async () => {
    const browser = (await import('../../src/entrypoints/cli/browser.ts')).createBrowser()
    const north = await gateway.customer('ada', ['northbank'], { browser })
    const stream = await listen(gateway.issuer, north, CHANGED)
    await gateway.customer('ada', ['rheinbank'], { browser, idTokenHint: north.idToken })
    await eventually('the new consent', () => Promise.resolve(/"ACTIVE".*"rheinbank"/.test(stream.text())))
    await eventually('the word of it that comes last', async () => {
      const [{ count }] = (await gateway.database.query<{ count: string }>(
        'select count(*) from outbox_message where processed_at is null',
      )) as [{ count: string }]
      return count === '0'
    })
    // Word of it came by three ways.
    expect(idsOf(stream.text()).filter((id) => id.endsWith('.ACTIVE'))).toHaveLength(1)
    const began = Date.now()
    await gateway.ask(north, 'mutation { withdrawConsents(input: { all: true }) { consents { status } } }')
    await eventually('the end', () => Promise.resolve(stream.ended()))
    expect(Date.now() - began).toBeLessThan(2_000)
    expect(dataOf(stream.text()).at(-1)).toMatch(/"REVOKED"/)
    expect(stream.text()).toMatch(/event: complete/)
  })

  test('a token that is revoked and a client that is suspended end their streams within two seconds', async () => {
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

  test('a stream on what ended a moment before it was there to hear of it ends at once', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    // Known to be good in this process, and gone without a word.
    await gateway.ask(token, '{ customer { id } }')
    await gateway.database.query("delete from oauth_artifact where kind = 'AccessToken'")
    const stream = await listen(gateway.issuer, token, RECEIVED)
    await eventually('the end', () => Promise.resolve(stream.ended()), 2_000)
  })

  test('a stream that cannot be given what was missed ends, rather than go on with a gap', async () => {
    const token = await gateway.customer('ada', ['northbank'])
    const failing = vi.spyOn(gateway.app.services.alerts, 'listNewest').mockRejectedValueOnce(new Error('database'))
    const stream = await listen(gateway.issuer, token, RECEIVED, { 'last-event-id': 'alert_none' })
    await eventually('the end', () => Promise.resolve(stream.ended()), 2_000)
    failing.mockRestore()
  })

  test('a listener of HTTP/1.0, which has no chunks, is refused', async () => {
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

  test('a client has no more than a hundred streams for one customer', async () => {
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
