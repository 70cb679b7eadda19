import type { ServerResponse } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { createDeliveryTools, registerOnlyEndpoint, type DeliveryTools } from '../support/delivery-tools.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { newPlace, startProcess, type GatewayProcess } from '../support/process.ts'
import { startWebhookReceiver, type ReceivedRequest, type WebhookReceiver } from '../support/webhook-receiver.ts'

let gateway: TestGateway
let receiver: WebhookReceiver
let tools: DeliveryTools
let endpointId = ''

beforeAll(async () => {
  gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  receiver = await startWebhookReceiver()
  tools = createDeliveryTools(gateway)
  endpointId = await registerOnlyEndpoint(gateway, `${receiver.origin}/ordered`, { ordering: 'PER_CUSTOMER' })
  await gateway.customer('bo', ['northbank'])
  await gateway.customer('ada', ['northbank'])
})
beforeEach(async () => {
  receiver.requests.length = 0
  accept()
  await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { status: 'ACTIVE' })
})
afterEach(async () => {
  await tools.clear()
  await gateway.database.query('delete from delivery_attempt; delete from delivery; delete from delivery_sequence')
})
afterAll(async () => {
  receiver.close()
  await gateway.close()
})

const accept = () => (receiver.respond = (response) => void response.writeHead(204).end())
const refuse = () => (receiver.respond = (response) => void response.writeHead(503).end())
interface Message {
  readonly sequence: number
  readonly data: { readonly customerId: string }
}
const messageOf = ({ body }: ReceivedRequest): Message => JSON.parse(body) as Message
const sequences = (path = '/ordered'): number[] =>
  receiver.requests.filter((request) => request.path === path).map((request) => messageOf(request).sequence)

/** Plans `count` alerts about Bo's account. Returns the IDs of their deliveries to the ordered endpoint, in order. */
async function plan(count: number): Promise<string[]> {
  const ids: string[] = []
  for (let number = 0; number < count; number++) ids.push((await tools.newDeliveries())[0]!)
  return ids
}

describe('an endpoint with the order PER_CUSTOMER', () => {
  test('messages about one customer are sent one at a time, by their sequence', async () => {
    await plan(3)
    for (const expected of [[1], [1, 2], [1, 2, 3]]) {
      await tools.attemptDue()
      expect(sequences()).toEqual(expected)
    }
  })

  test('a refused message holds the later ones of its customer, and none of another customer', async () => {
    const [first, second, third] = await plan(3)
    refuse()
    await tools.attemptDue()
    await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
    await gateway.app.services.deliveries.planDue()
    accept()
    await tools.attemptDue()
    const customers = new Set(receiver.requests.map((request) => messageOf(request).data.customerId))
    expect(customers.size).toBe(2)
    for (const id of [second, third]) expect(await tools.show(id!)).toEqual({ status: 'PENDING', attempts: [] })
    // A waiting delivery is due with the one before it, so that nothing claims it earlier.
    const due = await tools.nextAttemptOf(first!)
    expect(due.getTime()).toBeGreaterThan(Date.now())
    expect(await tools.nextAttemptOf(second!)).toEqual(due)
    expect(await tools.nextAttemptOf(third!)).toEqual(due)
    const [fourth] = await tools.newDeliveries()
    expect(await tools.nextAttemptOf(fourth!)).toEqual(due)
    for (let round = 0; round < 4; round++) {
      await tools.makeDue()
      await tools.attemptDue()
    }
    for (const id of [first, second, third, fourth])
      expect(await tools.show(id!)).toMatchObject({ status: 'DELIVERED' })
  })

  test.each(['FAILED', 'DROPPED'])('a message that ended as %s does not hold the later ones', async (status) => {
    const [first, second] = await plan(2)
    await gateway.database.query('update delivery set status = $2, ended_at = now() where id = $1', [first, status])
    await tools.attemptDue()
    expect(await tools.show(second!)).toMatchObject({ status: 'DELIVERED' })
    expect(sequences()).toEqual([2])
  })

  describe('after the consent of a message that is refused has ended', () => {
    afterAll(() => gateway.customer('ada', ['northbank']))

    /** Plans an alert of Northbank, and then one of another bank about the same customer. Returns the IDs of both deliveries. */
    async function planAboutTwoBanks(): Promise<[string, string]> {
      await gateway.customer('ada', ['northbank', 'rheinbank'])
      for (const bank of ['northbank', 'rheinbank'] as const) {
        await gateway.alert(bank, { customer: 'ada', type: 'CARD_SECURITY' })
        while (await gateway.app.services.deliveries.planDue());
      }
      const rows = await gateway.database.query<{ id: string }>('select id from delivery order by sequence')
      expect(rows).toHaveLength(2)
      return [rows[0]!.id, rows[1]!.id]
    }
    async function endConsents(): Promise<void> {
      const { consents, deliveries } = gateway.app.services
      const rows = await gateway.database.query<{ id: string }>(
        `select id from consent where bank_id = 'northbank' and status = 'ACTIVE'
           and customer_id = (select customer_id from delivery limit 1)`,
      )
      for (const { id } of rows) await consents.revoke(id, 'CLIENT')
      for (const { id } of rows) await deliveries.dropForConsent(id)
    }

    test('the next message about the customer waits no longer', async () => {
      const [first, second] = await planAboutTwoBanks()
      receiver.respond = (response) => void response.writeHead(503, { 'retry-after': '86400' }).end()
      await tools.attemptDue()
      expect(await tools.nextAttemptOf(second)).toEqual(await tools.nextAttemptOf(first))
      await endConsents()
      accept()
      await tools.attemptDue()
      expect(await tools.show(first)).toMatchObject({ status: 'DROPPED' })
      expect(await tools.show(second)).toMatchObject({ status: 'DELIVERED' })
    })

    test('the next message waits no longer either if the first try to end the others failed', async () => {
      const [first, second] = await planAboutTwoBanks()
      receiver.respond = (response) => void response.writeHead(503, { 'retry-after': '86400' }).end()
      await tools.attemptDue()
      await gateway.database.query(
        `create or replace function fail_for_test() returns trigger language plpgsql as $$
         begin raise exception 'the process has ended' using errcode = '57P01'; end $$`,
      )
      await gateway.database.query(
        `create trigger fail_for_test before update on delivery for each row
         when (new.next_attempt_at < old.next_attempt_at) execute function fail_for_test()`,
      )
      await expect(endConsents()).rejects.toThrow()
      await gateway.database.query('drop trigger fail_for_test on delivery')
      for (const { id } of await gateway.database.query<{ id: string }>(
        "select id from consent where bank_id = 'northbank' and status = 'REVOKED'",
      ))
        await gateway.app.services.deliveries.dropForConsent(id)
      accept()
      await tools.attemptDue()
      expect(await tools.show(first)).toMatchObject({ status: 'DROPPED' })
      expect(await tools.show(second)).toMatchObject({ status: 'DELIVERED' })
    })

    test('a refusal that arrives later postpones no other message', async () => {
      const [first, second] = await planAboutTwoBanks()
      const arrived = Promise.withResolvers<ServerResponse>()
      receiver.respond = (response) => arrived.resolve(response)
      const attempted = tools.attemptDue()
      const response = await arrived.promise
      await endConsents()
      response.writeHead(503, { 'retry-after': '86400' }).end()
      await attempted
      accept()
      await tools.attemptDue()
      expect(await tools.show(first)).toMatchObject({ status: 'DROPPED', attempts: [{ httpStatus: 503 }] })
      expect(await tools.show(second)).toMatchObject({ status: 'DELIVERED' })
    })
  })

  test('a replayed message goes before later ones that wait', async () => {
    const [first] = await plan(1)
    await tools.attemptDue()
    await plan(2)
    await gateway.app.services.deliveries.replay('chatterbox', { select: { deliveryIds: [first!] } })
    for (let round = 0; round < 3; round++) await tools.attemptDue()
    expect(sequences()).toEqual([1, 1, 2, 3])
  })

  test('an endpoint without order gets all messages, while the ordered one waits', async () => {
    const { deliveries } = gateway.app.services
    const { webhookEndpoint } = await deliveries.registerEndpoint('chatterbox', `${receiver.origin}/other`)
    receiver.respond = (response, { path }) => void response.writeHead(path === '/other' ? 204 : 503).end()
    await plan(3)
    await tools.attemptDue()
    expect(sequences()).toEqual([1])
    expect(sequences('/other').sort()).toEqual([1, 2, 3])
    await deliveries.updateEndpoint('chatterbox', webhookEndpoint.id, { status: 'DISABLED' })
  })

  test('a change of the order applies to new messages', async () => {
    await plan(2)
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { ordering: 'NONE' })
    await plan(2)
    await tools.attemptDue()
    expect(sequences().sort()).toEqual([1, 3, 4])
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { ordering: 'PER_CUSTOMER' })
  })

  test('two worker processes keep the order of every customer, under refusals and delays', async () => {
    const inFlight = new Map<string, number>()
    const accepted = new Map<string, number[]>()
    const overlaps: string[] = []
    let count = 0
    receiver.respond = (response, request) => {
      const { sequence, data } = messageOf(request)
      const { customerId } = data
      const open = (inFlight.get(customerId) ?? 0) + 1
      inFlight.set(customerId, open)
      if (open > 1) overlaps.push(`${customerId} ${sequence}`)
      const isRefused = ++count % 4 === 0
      setTimeout(() => {
        inFlight.set(customerId, inFlight.get(customerId)! - 1)
        if (!isRefused) accepted.set(customerId, [...(accepted.get(customerId) ?? []), sequence])
        response.writeHead(isRefused ? 503 : 204).end()
      }, count % 7)
    }
    const workers: GatewayProcess[] = []
    for (let number = 0; number < 2; number++)
      workers.push(
        await startProcess(await newPlace(gateway.dataDir), {
          GUICHET_ROLE: 'worker',
          GUICHET_SCHEDULED_CERTIFICATION: 'off',
          DATABASE_URL: gateway.database.url,
          ISSUER: gateway.issuer,
        }),
      )
    for (let number = 0; number < 15; number++) {
      await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
      await gateway.alert('northbank', { customer: 'ada', type: 'CARD_SECURITY' })
    }
    await eventually(
      'all messages',
      async () => {
        await gateway.database.query(
          "update delivery set next_attempt_at = now() where status = 'PENDING' and next_attempt_at > now() and claimed_until is null",
        )
        const [row] = await gateway.database.query<{ open: number; total: number }>(
          `select count(*) filter (where status = 'PENDING')::int + (select count(*)::int from outbox_message
             where topic in ('alert.urgent', 'alert.received')) as open, count(*)::int as total from delivery`,
        )
        return row!.open === 0 && row!.total >= 30
      },
      120_000,
    )
    for (const worker of workers) await worker.stop('SIGTERM')
    expect(overlaps).toEqual([])
    expect(accepted.size).toBe(2)
    for (const numbers of accepted.values()) expect(numbers).toEqual(numbers.map((_, index) => index + 1))
    expect(count).toBeGreaterThan([...accepted.values()].flat().length)
  })
})
