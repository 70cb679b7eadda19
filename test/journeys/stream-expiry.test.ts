import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'

const RECEIVED = 'subscription { alertReceived { id type } }'
const idsOf = (text: string): string[] => [...text.matchAll(/^id: (.+)$/gm)].map(([, id]) => id!)
const END = /^event: complete\ndata: \{"reason":"(\w+)"\}\n\n$/m

let gateway: TestGateway
let token: Token
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())
beforeEach(async () => {
  token = await gateway.customer('ada', ['northbank'])
})

const alert = (type: string): Promise<number[]> => gateway.alert('northbank', { account: 'nb-10001', type })
const count = (heard: { text(): string }, expected: number): Promise<boolean> =>
  eventually(`${expected} events`, () => Promise.resolve(idsOf(heard.text()).length === expected))

describe('a stream lives as long as its token', () => {
  test('a stream gets events until its token expires, and then ends with the reason TOKEN_EXPIRED', async () => {
    const stream = await listen(gateway.issuer, token, RECEIVED)
    gateway.forward(200_000)
    await alert('NEW_SIGN_IN')
    await count(stream, 1)
    expect(stream.ended()).toBe(false)
    gateway.forward(101_000)
    await eventually('the end', () => Promise.resolve(stream.ended()))
    expect(END.exec(stream.text())?.[1]).toBe('TOKEN_EXPIRED')
  })

  test('an alert after the expiry reaches no stream of the old token, even if a stream of a new token gets it', async () => {
    const old = await listen(gateway.issuer, token, RECEIVED)
    await alert('NEW_SIGN_IN')
    await count(old, 1)
    gateway.forward(240_000)
    const renewed = await gateway.renew(token)
    const fresh = await listen(gateway.issuer, renewed, RECEIVED)
    gateway.forward(61_000)
    await alert('CARD_SECURITY')
    await count(fresh, 1)
    expect(fresh.ended()).toBe(false)
    expect(idsOf(old.text())).toHaveLength(1)
    await eventually('the end', () => Promise.resolve(old.ended()))
    expect(END.exec(old.text())?.[1]).toBe('TOKEN_EXPIRED')

    const [last] = idsOf(old.text())
    const again = await listen(gateway.issuer, renewed, RECEIVED, { 'last-event-id': last! })
    await count(again, 1)
    expect(idsOf(again.text())).toEqual(idsOf(fresh.text()))
    for (const stream of [fresh, again]) stream.close()
  })

  test('a stream whose consent has ended ends with the reason NOT_AUTHORIZED', async () => {
    const stream = await listen(gateway.issuer, token, RECEIVED)
    await gateway.ask(token, 'mutation { withdrawConsents(input: { all: true }) { consents { status } } }')
    await eventually('the end', () => Promise.resolve(stream.ended()))
    expect(END.exec(stream.text())?.[1]).toBe('NOT_AUTHORIZED')
  })

  test('a gateway that stops ends its streams with the reason RESUME', async () => {
    const stream = await listen(gateway.issuer, token, RECEIVED)
    await gateway.app.stop()
    await eventually('the end', () => Promise.resolve(stream.ended()))
    expect(END.exec(stream.text())?.[1]).toBe('RESUME')
  })
})
