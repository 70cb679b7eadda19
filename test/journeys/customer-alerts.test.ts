import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

let gateway: TestGateway
let ada: Token
let bo: Token
beforeAll(async () => {
  gateway = await startGateway()
  ada = await gateway.customer('ada', ['northbank'])
  bo = await gateway.customer('bo', ['northbank'])
})
afterAll(() => gateway.close())

/** Northbank reports that somebody changed how this person signs in. */
async function reportChange(person: string, jti: string = randomUUID()): Promise<number> {
  const iss = gateway.sandbox.banks.northbank
  const { token, url } = await signEvent(gateway, 'northbank', {
    claims: {
      jti,
      sub_id: { format: 'iss_sub', iss, sub: person },
      events: {
        'https://schemas.openid.net/secevent/caep/event-type/credential-change': {
          credential_type: 'password',
          change_type: 'update',
        },
      },
    },
  })
  return (await push(url, token)).status
}

const ALERTS = '{ customer { alerts { nodes { id type accountId severity bank { id } } } } }'
async function alertsOf(
  token: Token,
): Promise<{ id: string; type: string; accountId: string | null; severity: string }[]> {
  const { data } = await gateway.ask(token, ALERTS)
  return (data as { customer: { alerts: { nodes: never[] } } }).customer.alerts.nodes
}

/** The events of today about what nobody shares. */
async function unknownSubjectCount(): Promise<number> {
  const { data } = await gateway.ask(
    await gateway.own('admin', 'banks:manage'),
    '{ connectors(filter: { bankIds: ["northbank"] }) { nodes { eventCounts { outcome count } } } }',
  )
  const { nodes } = (data as { connectors: { nodes: { eventCounts: { outcome: string; count: number }[] }[] } })
    .connectors
  return nodes[0]!.eventCounts
    .filter(({ outcome }) => outcome === 'UNKNOWN_SUBJECT')
    .reduce((sum, { count }) => sum + count, 0)
}

test('an event about a person becomes one alert without an account, which only this customer sees', async () => {
  const before = (await gateway.received()).length
  const jti = randomUUID()
  expect(await reportChange('ada', jti)).toBe(202)
  expect(await reportChange('ada', jti)).toBe(202)
  // The severity of such an event is not URGENT, so it is shown when the window of the hour closes.
  expect(await alertsOf(ada)).toEqual([])
  gateway.forward(80 * 60_000)
  const message = await eventually('the webhook', async () => (await gateway.received())[before])
  expect(message.body.data).toMatchObject({ type: 'AUTHENTICATION_CHANGED', accountId: null, bankId: 'northbank' })
  const [adaAgain, boAgain] = [await gateway.renew(ada), await gateway.renew(bo)]
  expect(await alertsOf(adaAgain)).toMatchObject([{ type: 'AUTHENTICATION_CHANGED', accountId: null }])
  expect(await alertsOf(boAgain)).toEqual([])
  expect((await gateway.received()).length).toBe(before + 1)
})

test('an event about a person who shares nothing is accepted, stored for nobody and counted', async () => {
  const before = await unknownSubjectCount()
  expect(await reportChange('nobody')).toBe(202)
  const rows = await gateway.database.query('select 1 from alert where account_id is null')
  expect(rows).toHaveLength(1)
  await eventually('the count', async () => (await unknownSubjectCount()) === before + 1)
})
