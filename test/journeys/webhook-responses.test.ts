import { createServer as createTcpServer, type AddressInfo } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { DAY_MS, HOUR_MS, MINUTE_MS } from '../../src/kernel/clock.ts'
import { createDeliveryTools, type DeliveryTools } from '../support/delivery-tools.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

let gateway: TestGateway
let receiver: WebhookReceiver
let tools: DeliveryTools

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  receiver = await startWebhookReceiver()
  tools = createDeliveryTools(gateway)
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  await gateway.app.services.deliveries.registerEndpoint('chatterbox', `${receiver.origin}/hook`)
  await gateway.customer('bo', ['northbank'])
})
beforeEach(async () => {
  receiver.requests.length = 0
  receiver.respond = (response) => void response.writeHead(204).end()
  await resetLimits()
})
afterEach(() => tools.clear())
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

/** Closes the circuit breakers. */
async function resetLimits(): Promise<void> {
  const { deliveries } = gateway.app.services
  for (const { id, status } of await deliveries.listEndpoints('chatterbox'))
    if (status === 'ACTIVE') await deliveries.updateEndpoint('chatterbox', id, { status: 'ACTIVE' })
}

const refuseWith = (retryAfter: string, status = 503) => {
  receiver.respond = (response) => void response.writeHead(status, { 'retry-after': retryAfter }).end()
}
/** The wait from now until the next attempt. */
const waitOf = async (id: string): Promise<number> => (await tools.nextAttemptOf(id)).getTime() - Date.now()

describe('Retry-After of an endpoint that refuses a message', () => {
  test.each([
    ['seconds', () => '600', 10 * MINUTE_MS],
    ['a date', () => new Date(Date.now() + HOUR_MS).toUTCString(), HOUR_MS],
    ['far more than a day', () => '99999999999', DAY_MS],
    ['a date in ten years', () => new Date(Date.now() + 3_650 * DAY_MS).toUTCString(), DAY_MS],
  ])('a wait in the form of %s postpones the next attempt, by a day at most', async (_form, header, wait) => {
    const [id] = await tools.newDeliveries()
    refuseWith(header(), 429)
    await tools.attemptDue()
    expect(await tools.show(id!)).toMatchObject({ status: 'PENDING', attempts: [{ httpStatus: 429 }] })
    // Seconds are rounded, and the test itself takes time.
    expect(await waitOf(id!)).toBeGreaterThan(wait - 20_000)
    expect(await waitOf(id!)).toBeLessThanOrEqual(wait + 2_000)
  })

  test.each(['0', '1', '-5', 'Thu, 01 Jan 1970 00:00:00 GMT', '2', 'soon', '5 minutes', '1e9'])(
    'the value "%s" makes no attempt earlier than the schedule',
    async (header) => {
      const [id] = await tools.newDeliveries()
      // The third failure waits 15 s.
      await gateway.database.query('update delivery set attempt_count = 2 where id = $1', [id])
      refuseWith(header)
      await tools.attemptDue()
      expect(await waitOf(id!)).toBeGreaterThan(5_000)
      expect(await waitOf(id!)).toBeLessThan(20_000)
    },
  )

  test('no attempt is postponed beyond the end of its schedule', async () => {
    const [id] = await tools.newDeliveries()
    await gateway.database.query(
      "update delivery set attempt_count = 9, schedule_started_at = now() - interval '71 hours' where id = $1",
      [id],
    )
    refuseWith('86400')
    await tools.attemptDue()
    expect(await waitOf(id!)).toBeGreaterThan(0)
    expect(await waitOf(id!)).toBeLessThanOrEqual(HOUR_MS)
  })

  test('an accepted message is delivered and ignores Retry-After', async () => {
    const [id] = await tools.newDeliveries()
    refuseWith('600', 200)
    await tools.attemptDue()
    expect(await tools.show(id!)).toMatchObject({ status: 'DELIVERED' })
  })
})

describe('bodies and connections of endpoints', () => {
  test('an endpoint that accepts a message with a body of ten megabytes has accepted it, and the body is not read', async () => {
    const [id] = await tools.newDeliveries()
    let sentBytes = 0
    receiver.respond = (response) => {
      response.writeHead(200, { 'content-type': 'text/html' })
      const send = (): void => {
        while (sentBytes < 10_000_000 && !response.destroyed) {
          sentBytes += 65_536
          if (!response.write(Buffer.alloc(65_536, 'x'))) return void response.once('drain', send)
        }
        response.end()
      }
      send()
    }
    await tools.attemptDue()
    expect(await tools.show(id!)).toEqual({
      status: 'DELIVERED',
      attempts: [{ number: 1, httpStatus: 200, outcome: 'ACCEPTED' }],
    })
    expect(sentBytes).toBeLessThan(10_000_000)
  })

  test('an endpoint that accepts a message and then closes the connection has accepted it', async () => {
    const [id] = await tools.newDeliveries()
    receiver.respond = (response) => {
      response.writeHead(200, { 'content-length': '100' })
      response.write('ten bytes.')
      setTimeout(() => response.destroy(), 50)
    }
    await tools.attemptDue()
    expect((await tools.show(id!)).attempts).toEqual([{ number: 1, httpStatus: 200, outcome: 'ACCEPTED' }])
  })

  test('an attempt waits three seconds for a connection with its handshake, and not as long as for a response', async () => {
    const silent = createTcpServer((socket) => socket.on('error', () => undefined))
    await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve))
    const url = `https://127.0.0.1:${(silent.address() as AddressInfo).port}/hook`
    const { webhookEndpoint } = await gateway.app.services.deliveries.registerEndpoint('chatterbox', url)
    const [, id] = await tools.newDeliveries()
    await gateway.app.services.deliveries.startDue(() => undefined)
    const [attempt] = await eventually('the outcome', async () => {
      const attempts = await gateway.app.services.deliveries.findAttempts([id!])
      return attempts.length > 0 && attempts
    })
    silent.close()
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', webhookEndpoint.id, { status: 'DISABLED' })
    // The time limit of the whole attempt would be TIMED_OUT.
    expect(attempt).toMatchObject({ outcome: 'UNREACHABLE', failureCause: 'CONNECT_TIMEOUT' })
  })
})
