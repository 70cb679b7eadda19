import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import type { OutboundResponse } from '../../src/kernel/outbound-http.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { holdRows } from '../support/locked-rows.ts'

const ALERTS = 1_000
const ACCOUNT = 'nb-10003'
const CLIENTS = ['chatterbox', 'chatterbox-bearer']

let gateway: TestGateway
/** Where each client receives webhooks, and the deliveries that were sent there, in order. */
let sent: { clientId: string; deliveryId: string }[] = []
/** Ends a request that an endpoint has received and not responded to. */
let respond: (() => void)[] = []
let isResponding = true

beforeAll(async () => {
  // Without a worker: the tests decide when what follows from a commit is done.
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  for (const clientId of CLIENTS)
    await gateway.app.services.deliveries.registerEndpoint(clientId, `${gateway.sandbox.platform}/of-${clientId}`)
})
afterAll(() => gateway.close())
beforeEach(() => {
  sent = []
  respond = []
  isResponding = true
  gateway.intercept = ({ url, headers }) => {
    const clientId = CLIENTS.find((id) => url.endsWith(`/of-${id}`))
    if (clientId === undefined) return undefined
    sent.push({ clientId, deliveryId: headers!['webhook-id']! })
    return new Promise<OutboundResponse>((resolve) => {
      const end = (): void => resolve({ status: 204, headers: {}, text: '' })
      if (isResponding) end()
      else respond.push(end)
    })
  }
})

/** Pushes so many alerts, each again until the gateway has accepted it. */
async function pushAlerts(count: number): Promise<void> {
  const events = Array.from({ length: count }, () => signEvent(gateway, 'northbank', { claims: alertClaims() }))
  await Promise.all(
    events.map(async (event) => {
      const { url, token } = await event
      while ((await push(url, token)).status !== 202) await new Promise((resolve) => setTimeout(resolve, 500))
    }),
  )
}

const alertClaims = () => ({
  jti: randomUUID(),
  sub_id: { format: 'opaque', id: ACCOUNT },
  events: {
    'urn:guichet:events:security-alert': {
      account: ACCOUNT,
      type: 'CARD_SECURITY',
      severity: 'URGENT',
      requested_action: 'CALL_BANK',
      occurred_at: Math.floor(Date.now() / 1_000),
    },
  },
})

const countByStatus = async (): Promise<Record<string, number>> =>
  Object.fromEntries(
    (
      await gateway.database.query<{ status: string; count: number }>(
        'select status, count(*)::int as count from delivery group by status',
      )
    ).map(({ status, count }) => [status, count]),
  )

const activeConsents = async (clientId: string): Promise<string[]> =>
  (
    await gateway.database.query<{ id: string }>("select id from consent where client_id = $1 and status = 'ACTIVE'", [
      clientId,
    ])
  ).map(({ id }) => id)

/** Plans and starts, like a worker, until nothing is due or the limits admit no more. Returns after the attempts have ended. */
async function deliver(): Promise<void> {
  const { deliveries } = gateway.app.services
  while (await deliveries.planDue());
  while ((await deliveries.startDue(() => undefined)) > 0) if (isResponding) await deliveries.waitUntilIdle()
  if (isResponding) await deliveries.waitUntilIdle()
}

describe('deliveries that wait', () => {
  test('none of a thousand deliveries that wait is sent after their consent has ended', async () => {
    isResponding = false
    await gateway.customer('bo', ['northbank'])
    const [consentId] = await activeConsents('chatterbox')
    await pushAlerts(ALERTS)
    await deliver()
    expect(await countByStatus()).toEqual({ PENDING: ALERTS })
    const sentCount = sent.length
    expect(sentCount).toBeGreaterThan(0)
    expect(sentCount).toBeLessThan(ALERTS / 10)
    // No job has dropped them yet: every claim checks the consent itself.
    await gateway.app.services.consents.revoke(consentId!, 'CLIENT')
    isResponding = true
    for (const end of respond) end()
    await deliver()
    expect(sent.length).toBe(sentCount)
    expect(await countByStatus()).toEqual({ DELIVERED: sentCount, DROPPED: ALERTS - sentCount })
  })

  test('an alert for two consents of one client and a consent of another is sent once to each client', async () => {
    const browser = createBrowser()
    await gateway.customer('bo', ['northbank'], { browser })
    await gateway.customer('bo', ['northbank'], { browser })
    await gateway.customer('bo', ['northbank'], { browser, clientId: 'chatterbox-bearer' })
    expect(await activeConsents('chatterbox')).toHaveLength(2)
    expect(await activeConsents('chatterbox-bearer')).toHaveLength(1)
    const startedAt = new Date()
    await pushAlerts(1)
    await deliver()
    const deliveries = await gateway.database.query(
      'select status, count(distinct alert_id)::int as alerts, count(*)::int as count from delivery where created_at >= $1 group by 1',
      [startedAt],
    )
    expect(deliveries).toEqual([{ status: 'DELIVERED', alerts: 1, count: 2 }])
    expect(sent.map(({ clientId }) => clientId).sort()).toEqual([...CLIENTS].sort())
    expect(new Set(sent.map(({ deliveryId }) => deliveryId)).size).toBe(2)
  })

  test('an attempt that ends while deliveries are claimed makes room for those that the claim left', async () => {
    const { deliveries } = gateway.app.services
    await gateway.customer('bo', ['northbank'])
    const startedAt = new Date()
    const countDelivered = async (): Promise<number> =>
      (
        await gateway.database.query("select from delivery where created_at >= $1 and status = 'DELIVERED'", [
          startedAt,
        ])
      ).length
    isResponding = false
    await pushAlerts(3)
    while (await deliveries.planDue());
    const startedCount = await deliveries.startDue(() => undefined)
    await eventually('their requests', () => Promise.resolve(respond.length === startedCount))
    // More than the limit of the endpoint admits.
    await pushAlerts(60)
    while (await deliveries.planDue());

    let roomCount = 0
    const keys = await holdRows(gateway, 'lock table webhook_secret in access exclusive mode')
    const claim = deliveries.startDue(() => roomCount++)
    await keys.waiting(1)
    for (const end of respond.splice(0)) end()
    await eventually('their outcomes', async () => (await countDelivered()) === startedCount)
    await keys.release()
    expect(await claim).toBeGreaterThan(0)
    expect(roomCount).toBeGreaterThan(0)
  })
})
