import { afterAll, beforeAll, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import {
  createRespondingTools,
  RESPONDING_SCOPES,
  type RespondingTools,
  type ShownAlert,
} from '../support/alert-responding.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { platformsOf } from '../support/platforms.ts'

const JOINT_ACCOUNT = '8f1c2a44-0003-4000-8000-000000000003'

let gateway: TestGateway
let tools: RespondingTools
beforeAll(async () => {
  gateway = await startGateway()
  tools = createRespondingTools(gateway)
})
afterAll(() => gateway.close())

const newestAlertOf = async (token: Token): Promise<ShownAlert | undefined> => (await tools.alertsOf(token))[0]
const untilAlertOf = (token: Token) => eventually('the alert', () => newestAlertOf(token))
const faultsOf = async (token: Token, alertId: string, answer: string): Promise<string[]> =>
  (await tools.respond(token, alertId, answer))!.userErrors.map(({ code }) => code)

test('a consent that allows responses allows none to alerts that another consent shares', async () => {
  const browser = createBrowser()
  const { idToken } = await gateway.customer('ada', ['northbank'], { browser })
  const ada = await gateway.customer('ada', ['rheinbank'], { browser, idTokenHint: idToken, scopes: RESPONDING_SCOPES })
  expect(await gateway.alert('northbank', { account: 'nb-10001', type: 'CARD_SECURITY' })).toEqual([202])
  const alert = await untilAlertOf(ada)
  expect(alert.responseOptions).toEqual([])
  expect(await faultsOf(ada, alert.id, 'FREEZE_REQUESTED')).toEqual(['NOT_CONSENTED'])
  expect(await gateway.database.query('select 1 from alert_response')).toEqual([])
})

test('a second platform sees no response of the first and cannot lower it', async () => {
  await platformsOf(gateway).add('parley', 'Parley')
  const first = await gateway.customer('bo', ['northbank'], { scopes: RESPONDING_SCOPES })
  const second = await gateway.customer('bo', ['northbank'], {
    clientId: 'parley',
    scopes: ['accounts:read', 'alerts:read', 'alerts:respond'],
  })
  expect(await gateway.alert('northbank', { account: 'nb-10003', type: 'UNUSUAL_ACTIVITY_REVIEW' })).toEqual([202])
  const [alert, other] = [await untilAlertOf(first), await untilAlertOf(second)]
  expect(other.id).not.toBe(alert.id)
  expect(await faultsOf(second, alert.id, 'CALL_ME')).toEqual(['NOT_FOUND'])
  expect(await faultsOf(first, alert.id, 'IT_WAS_NOT_ME')).toEqual([])
  expect(await newestAlertOf(second)).toMatchObject({ response: null, responseOptions: ['FREEZE_REQUESTED'] })
  expect(await faultsOf(second, other.id, 'CALL_ME')).toEqual(['STATE_CONFLICT'])
  expect(await faultsOf(second, other.id, 'IT_WAS_NOT_ME')).toEqual(['STATE_CONFLICT'])
  expect(await faultsOf(second, other.id, 'FREEZE_REQUESTED')).toEqual([])
})

test('a report that names only a joint account shows no holder the response "it was me"', async () => {
  const holders = []
  for (const name of ['cleo', 'dan'])
    holders.push(await gateway.customer(name, ['rheinbank'], { scopes: RESPONDING_SCOPES }))
  expect(await gateway.alert('rheinbank', { account: JOINT_ACCOUNT, type: 'UNUSUAL_ACTIVITY_REVIEW' })).toEqual([202])
  for (const holder of holders) expect((await untilAlertOf(holder)).responseOptions).toContain('CALL_ME')
  expect((await fetch(`${gateway.sandbox.banks.rheinbank}/app/cleo`)).status).toBe(200)
  for (const holder of holders) {
    const { id, responseOptions } = await untilAlertOf(holder)
    expect(responseOptions).not.toContain('IT_WAS_ME')
    expect(await faultsOf(holder, id, 'IT_WAS_ME')).toEqual(['STATE_CONFLICT'])
  }
  // Each holder responds to an alert of their own.
  expect(await faultsOf(holders[0]!, (await untilAlertOf(holders[0]!)).id, 'FREEZE_REQUESTED')).toEqual([])
  expect(await newestAlertOf(holders[1]!)).toMatchObject({ response: null })
  expect((await newestAlertOf(holders[1]!))!.responseOptions).toContain('CALL_ME')
})
