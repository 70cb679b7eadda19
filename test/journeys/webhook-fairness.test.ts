import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'

const OTHER = 'chatterbox-bearer'
let gateway: TestGateway
let receiver: Server
let origin = ''
/** Requests without a response, by path, and how many there were at most. */
const open = new Map<string, number>()
let mostOpen = 0
const delivered: string[] = []

beforeAll(async () => {
  gateway = await startGateway()
  receiver = createServer((request, response) => {
    const { url = '' } = request
    request.resume()
    if (!url.startsWith('/hangs')) {
      delivered.push(url)
      return void response.writeHead(204).end()
    }
    open.set(url, (open.get(url) ?? 0) + 1)
    mostOpen = Math.max(mostOpen, openRequests())
    response.on('close', () => open.set(url, open.get(url)! - 1))
  })
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}`
  await gateway.customer('bo', ['northbank'])
  await gateway.customer('bo', ['northbank'], { clientId: OTHER })
  await gateway.customer('ada', ['northbank'])
  await deleteEndpoints()
})
afterEach(async () => {
  await gateway.database.query("update delivery set status = 'DROPPED' where status = 'PENDING'")
  receiver.closeAllConnections()
  await gateway.app.services.deliveries.waitUntilIdle()
  await deleteEndpoints()
  delivered.length = 0
  mostOpen = 0
})
afterAll(async () => {
  receiver.closeAllConnections()
  receiver.close()
  await gateway.close()
})

async function deleteEndpoints(): Promise<void> {
  for (const table of ['delivery_attempt', 'delivery', 'webhook_endpoint'])
    await gateway.database.query(`delete from ${table}`)
}
const openRequests = (): number => [...open.values()].reduce((sum, count) => sum + count, 0)
const register = (clientId: string, path: string) =>
  gateway.app.services.deliveries.registerEndpoint(clientId, `${origin}${path}`)

/** Adds `count` pending deliveries to each endpoint of the client, due before any later one. */
async function fillBacklog(clientId: string, count: number): Promise<void> {
  await gateway.database.query(
    `with account as (select account_id, consent_id, customer_id, bank_id from consent_account
       join consent on consent.id = consent_id where client_id = $1 and status = 'ACTIVE' limit 1),
     added as (
       insert into alert (id, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at)
       select 'alrt_' || gen_random_uuid(), bank_id, customer_id, account_id, 'CARD_SECURITY', 'URGENT', 'CALL_BANK', now(), now(), now()
       from account, generate_series(1, $2::int) n returning id)
     insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, customer_id, priority, body, status, next_attempt_at)
     select 'dlvr_' || added.id || endpoint.id, added.id, endpoint.id, consent_id, customer_id, 'URGENT', '{}', 'PENDING',
       now() - interval '1 hour'
     from added, account, webhook_endpoint endpoint where client_id = $1 and endpoint.status = 'ACTIVE'`,
    [clientId, count],
  )
}

describe('endpoints that hang', () => {
  test('ten hanging endpoints with 1,500 pending deliveries do not delay the alert of another client', async () => {
    for (let index = 0; index < 10; index++) await register('chatterbox', `/hangs/${index}`)
    await register(OTHER, '/healthy')
    await fillBacklog('chatterbox', 150)
    await eventually('a request in every slot of the client', () => Promise.resolve(mostOpen >= 40))
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually("the other client's webhook", () => Promise.resolve(delivered.includes('/healthy')), 8_000)
    expect(mostOpen).toBe(40)
  })

  test('three hanging endpoints of a client leave slots for its fourth', async () => {
    for (let index = 0; index < 3; index++) await register('chatterbox', `/hangs/own-${index}`)
    await register('chatterbox', '/own-healthy')
    for (let index = 0; index < 8; index++) await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
    const deliveredCount = (): number => delivered.filter((path) => path === '/own-healthy').length
    await eventually('all of its webhooks', () => Promise.resolve(deliveredCount() >= 8), 8_000)
    expect(Math.max(...open.values())).toBeLessThanOrEqual(5)
  })

  test('hanging endpoints of many clients leave a slot for a client without attempts in flight', async () => {
    const { clients } = gateway.app.services
    const organization = await clients.organizations.register('sandbox', {
      kind: 'PLATFORM',
      name: 'Hanging platform',
    })
    const template = (await clients.find('chatterbox'))!
    for (let number = 1; number <= 12; number++) {
      const id = `hanging-${number}`
      await clients.register('sandbox', { ...template, organizationId: organization.id, name: id }, { id })
      await gateway.database.query(
        `with source as (select consent.* from consent where client_id = $2 and status = 'ACTIVE' limit 1),
         added as (insert into consent (id, client_id, customer_id, bank_id, connection_id, status, scopes, purposes, expires_at, activated_at, oauth_grant_id)
           select 'cnst_' || $1, $1, customer_id, bank_id, connection_id, status, scopes, purposes, expires_at, activated_at, $1
           from source returning id)
         insert into consent_account (consent_id, account_id)
         select added.id, account_id from added, source join consent_account on consent_id = source.id`,
        [id, OTHER],
      )
      for (let index = 0; index < 4; index++) await register(id, `/hangs/${id}/${index}`)
      await fillBacklog(id, 20)
    }
    await register(OTHER, '/healthy')
    await eventually('requests that hang', () => Promise.resolve(openRequests() >= 150))
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually("the other client's webhook", () => Promise.resolve(delivered.includes('/healthy')), 8_000)
  })
})
