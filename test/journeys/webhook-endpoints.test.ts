import type { ServerResponse } from 'node:http'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import type { WebhookEndpoint } from '../../src/modules/deliveries/model.ts'
import { commandLineOf } from '../support/command-line.ts'
import { createDeliveryTools, type DeliveryTools } from '../support/delivery-tools.ts'
import { eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { startWebhookReceiver, type WebhookReceiver } from '../support/webhook-receiver.ts'

let gateway: TestGateway
let receiver: WebhookReceiver
let endpointId = ''

async function start(env: Record<string, string>): Promise<void> {
  gateway = await startGateway({ env })
  receiver = await startWebhookReceiver()
  await gateway.database.query("update webhook_endpoint set status = 'DISABLED'")
  const registered = await gateway.app.services.deliveries.registerEndpoint('chatterbox', `${receiver.origin}/hook`)
  endpointId = registered.webhookEndpoint.id
  await gateway.customer('bo', ['northbank'])
}
async function stop(): Promise<void> {
  receiver.close()
  await gateway.close()
}

const findEndpoint = async (): Promise<WebhookEndpoint> =>
  (await gateway.app.services.deliveries.findEndpoint('chatterbox', endpointId))!
const entriesOf = (action: string): Promise<{ detail: string; client_id: string }[]> =>
  gateway.database.query(
    'select detail, client_id from ledger_entry where action = $1 and subject_id = $2 order by sequence',
    [action, endpointId],
  )

describe('the endpoints of a client', () => {
  beforeAll(() => start({ GUICHET_ROLE: 'gateway' }))
  afterAll(stop)

  test('a client gets no more than ten endpoints, also by requests at the same time', async () => {
    const { deliveries } = gateway.app.services
    const outcomes = await Promise.allSettled(
      Array.from({ length: 15 }, (_, index) =>
        deliveries.registerEndpoint('chatterbox', `${receiver.origin}/hook/${index}`),
      ),
    )
    const refused = outcomes.filter((outcome) => outcome.status === 'rejected')
    for (const { reason } of refused) expect(reason).toMatchObject({ code: 'STATE_CONFLICT' })
    const [row] = await gateway.database.query(
      "select count(*)::int as n from webhook_endpoint where client_id = 'chatterbox'",
    )
    expect(row).toEqual({ n: 10 })
  })
})

describe('an endpoint that fails', () => {
  let tools: DeliveryTools

  beforeAll(async () => {
    await start({ GUICHET_ROLE: 'gateway' })
    tools = createDeliveryTools(gateway)
  })
  afterAll(stop)
  beforeEach(async () => {
    receiver.respond = (response) => void response.writeHead(503).end()
    await gateway.app.services.deliveries.updateEndpoint('chatterbox', endpointId, { status: 'ACTIVE' })
    await gateway.database.query('update webhook_endpoint set last_success_at = null')
  })
  afterEach(() => tools.clear())

  /** Attempts one delivery that fails, after `count` failed attempts since `since` and a success at `success`. */
  async function failAfter({
    since,
    count,
    success = null,
  }: {
    since: string
    count: number
    success?: string | null
  }) {
    await gateway.database.query(
      `update webhook_endpoint set failing_since = now() - $2::interval, failed_attempt_count = $3,
         last_success_at = now() - $4::interval where id = $1`,
      [endpointId, since, count, success],
    )
    const [id] = await tools.newDeliveries()
    await tools.attemptDue()
    expect((await tools.show(id!)).attempts).toHaveLength(1)
    return findEndpoint()
  }

  test('it is disabled as FAILING after five days in which nothing was accepted and ten attempts failed', async () => {
    expect(await failAfter({ since: '121 hours', count: 9, success: '130 hours' })).toMatchObject({
      status: 'DISABLED',
      disabledReason: 'FAILING',
      disabledAt: expect.any(Date) as Date,
    })
    expect(await entriesOf('WEBHOOK_ENDPOINT_DISABLED')).toEqual([{ detail: 'FAILING', client_id: 'chatterbox' }])
  })

  test.each([
    ['fewer than ten attempts failed', { since: '200 hours', count: 8 }],
    ['it failed for less than five days', { since: '119 hours', count: 500 }],
    ['another process stored an accepted attempt', { since: '200 hours', count: 500, success: '119 hours' }],
  ])('it stays ACTIVE if %s', async (_why, state) => {
    expect(await failAfter(state)).toMatchObject({ status: 'ACTIVE', disabledAt: null, disabledReason: null })
  })

  test('an accepted attempt ends the series of failed ones, and every attempt of a series keeps its start', async () => {
    await tools.newDeliveries()
    await tools.attemptDue()
    const { failingSince } = await findEndpoint()
    expect(failingSince).not.toBeNull()
    await tools.makeDue()
    await tools.attemptDue()
    expect((await findEndpoint()).failingSince).toEqual(failingSince)
    receiver.respond = (response) => void response.writeHead(200).end()
    await tools.makeDue()
    await tools.attemptDue()
    const endpoint = await findEndpoint()
    expect(endpoint).toMatchObject({ failingSince: null, status: 'ACTIVE' })
    expect(endpoint.lastSuccessAt).not.toBeNull()
  })

  test('attempts that the gateway could not make say nothing about the endpoint', async () => {
    const [{ sealed }] = (await gateway.database.query(
      'select sealed from webhook_secret where webhook_endpoint_id = $1',
      [endpointId],
    )) as [{ sealed: string }]
    const setSecret = (text: string) =>
      gateway.database.query('update webhook_secret set sealed = $1 where webhook_endpoint_id = $2', [text, endpointId])
    await setSecret('cannot be unsealed')
    const endpoint = await failAfter({ since: '200 hours', count: 500 })
    await setSecret(sealed)
    expect(endpoint.status).toBe('ACTIVE')
  })

  test('an endpoint that responds with 410 is disabled immediately as GONE, even if it accepted messages before', async () => {
    receiver.respond = (response) => void response.writeHead(200).end()
    await tools.newDeliveries()
    await tools.attemptDue()
    receiver.respond = (response) => void response.writeHead(410).end()
    const [id] = await tools.newDeliveries()
    await tools.attemptDue()
    expect(await findEndpoint()).toMatchObject({ status: 'DISABLED', disabledReason: 'GONE' })
    expect((await entriesOf('WEBHOOK_ENDPOINT_DISABLED')).at(-1)).toEqual({ detail: 'GONE', client_id: 'chatterbox' })
    await gateway.app.services.deliveries.dropForEndpoint(endpointId)
    expect(await tools.show(id!)).toEqual({
      status: 'DROPPED',
      attempts: [{ number: 1, httpStatus: 410, outcome: 'REFUSED' }],
    })
  })

  test('responses from a URL that the endpoint no longer has neither disable it nor count as failures', async () => {
    const { deliveries } = gateway.app.services
    for (const status of [410, 503]) {
      const arrived = Promise.withResolvers<ServerResponse>()
      receiver.respond = (response) => arrived.resolve(response)
      const [id] = await tools.newDeliveries()
      const attempted = tools.attemptDue()
      const response = await arrived.promise
      await deliveries.updateEndpoint('chatterbox', endpointId, { url: `${receiver.origin}/moved/${status}` })
      response.writeHead(status).end()
      await attempted
      expect((await tools.show(id!)).attempts).toMatchObject([{ httpStatus: status }])
      expect(await findEndpoint()).toMatchObject({ status: 'ACTIVE', failingSince: null })
      await tools.clear()
    }
  })

  test('all pending deliveries of a disabled endpoint are dropped, and none of an endpoint that is enabled again', async () => {
    const { deliveries } = gateway.app.services
    const [id] = await tools.newDeliveries()
    await tools.attemptDue()
    await deliveries.updateEndpoint('chatterbox', endpointId, { status: 'DISABLED' })
    await deliveries.updateEndpoint('chatterbox', endpointId, { status: 'ACTIVE' })
    await deliveries.dropForEndpoint(endpointId)
    expect((await tools.show(id!)).status).toBe('PENDING')
    await gateway.database.query(
      `with added as (
         insert into alert (id, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at)
         select 'alrt_many' || n, bank_id, customer_id, account_id, type, severity, requested_action, occurred_at, created_at, shown_at
         from alert, generate_series(1, 2500) n where alert.id = (select alert_id from delivery where id = $1) returning id)
       insert into delivery (id, alert_id, webhook_endpoint_id, consent_id, customer_id, body, status, next_attempt_at)
       select 'dlvr_' || added.id, added.id, webhook_endpoint_id, consent_id, customer_id, body, 'PENDING', now() + interval '1 day'
       from added, delivery where delivery.id = $1`,
      [id],
    )
    await deliveries.updateEndpoint('chatterbox', endpointId, { status: 'DISABLED' })
    await deliveries.dropForEndpoint(endpointId)
    expect(await gateway.database.query("select 1 from delivery where status = 'PENDING'")).toEqual([])
  })
})

describe('changes of an endpoint', () => {
  const update = async (input: object, clientId = 'chatterbox') => {
    const query = `mutation ($input: UpdateWebhookEndpointInput!) { updateWebhookEndpoint(input: $input) {
      webhookEndpoint { id url status disabledAt disabledReason failingSince lastSuccessAt } userErrors { code path } } }`
    const token = await gateway.own(clientId, 'webhooks:manage')
    const { data, errors } = await gateway.ask(token, query, { input: { webhookEndpointId: endpointId, ...input } })
    expect(errors).toBeUndefined()
    return data!['updateWebhookEndpoint'] as { webhookEndpoint: object | null; userErrors: object[] }
  }

  beforeAll(() => start({}))
  afterAll(stop)
  afterEach(async () => {
    receiver.respond = (response) => void response.writeHead(204).end()
    await update({ status: 'ACTIVE', url: `${receiver.origin}/hook` })
  })

  test('the worker drops what is pending for an endpoint that is gone, and the graph says when and why it was disabled', async () => {
    receiver.respond = (response) => void response.writeHead(410).end()
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually('the end of the delivery', async () => {
      const rows = await gateway.database.query("select 1 from delivery where status = 'DROPPED'")
      return rows.length === 1
    })
    const query = '{ client { webhookEndpoints { id status disabledAt disabledReason } } }'
    const { data } = await gateway.ask(await gateway.own('chatterbox', 'deliveries:read'), query)
    const { webhookEndpoints } = data!['client'] as { webhookEndpoints: { id: string }[] }
    expect(webhookEndpoints.find(({ id }) => id === endpointId)).toEqual({
      id: endpointId,
      status: 'DISABLED',
      disabledAt: expect.stringMatching(/^20.+Z$/) as string,
      disabledReason: 'GONE',
    })
    const { webhookEndpoint } = await update({ status: 'ACTIVE' })
    expect(webhookEndpoint).toMatchObject({ status: 'ACTIVE', disabledAt: null, disabledReason: null })
  })

  test('a client that disables its endpoint is named as the reason, and a second time changes nothing', async () => {
    const first = await update({ status: 'DISABLED' })
    expect(first.webhookEndpoint).toMatchObject({ status: 'DISABLED', disabledReason: 'CLIENT' })
    expect(await update({ status: 'DISABLED' })).toEqual(first)
  })

  test('messages go to the new URL of an endpoint, and the ledger holds no path of either', async () => {
    const url = `${receiver.origin}/new-secret-path`
    expect((await update({ url })).webhookEndpoint).toMatchObject({ url, status: 'ACTIVE' })
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    await eventually('the message', () =>
      Promise.resolve(receiver.requests.some(({ path }) => path === '/new-secret-path')),
    )
    const changes = await gateway.database.query(
      "select changes from ledger_entry where action = 'WEBHOOK_ENDPOINT_CHANGED'",
    )
    expect(JSON.stringify(changes)).toContain('"field":"url"')
    expect(JSON.stringify(changes)).not.toMatch(/secret-path|hook"/)
  })

  test.each([
    'http://169.254.169.254/latest',
    'https://10.0.0.1/hook',
    'https://[::ffff:10.0.0.1]/',
    'https://user:pass@example.com/',
    'ftp://example.com/',
    'https://2130706433/',
  ])('the URL of an endpoint cannot be changed to %s', async (url) => {
    expect(await update({ url })).toEqual({
      webhookEndpoint: null,
      userErrors: [{ code: 'ADDRESS_NOT_ALLOWED', path: ['url'] }],
    })
    expect((await findEndpoint()).url).toBe(`${receiver.origin}/hook`)
  })

  test('the command line registers, shows, rotates and disables an endpoint', async () => {
    const { guichet } = commandLineOf(() => gateway)
    const read = async (words: string): Promise<unknown> => {
      const { code, out, err } = await guichet(`webhooks ${words} --json`)
      expect({ code, err }).toEqual({ code: 0, err: '' })
      return JSON.parse(out)
    }
    const url = `${receiver.origin}/by-command`
    const { id, signingSecret } = (await read(`create --url ${url}`)) as { id: string; signingSecret: string }
    expect(signingSecret).toMatch(/^whsec_/)
    const rotated = (await read(`rotate-secret ${id} --overlap-hours 1`)) as { signingSecret: string }
    expect(rotated).toMatchObject({ id, publicKey: expect.stringMatching(/^whpk_/) as string })
    expect(rotated.signingSecret).not.toBe(signingSecret)
    expect(await read(`update ${id} --status DISABLED`)).toMatchObject({ id, url, disabledReason: 'CLIENT' })
    expect(await read('list')).toContainEqual(expect.objectContaining({ id, url, status: 'DISABLED' }))
    expect(await guichet(`webhooks update ${id}`)).toMatchObject({ code: 2 })
  })

  test('two endpoints of a client have different URLs', async () => {
    const { deliveries } = gateway.app.services
    const other = await deliveries.registerEndpoint('chatterbox', `${receiver.origin}/other`)
    expect(await update({ url: other.webhookEndpoint.url })).toMatchObject({
      userErrors: [{ code: 'STATE_CONFLICT', path: ['url'] }],
    })
  })

  test('an endpoint of another client is changed like one that does not exist', async () => {
    const foreign = await update({ status: 'DISABLED' }, 'chatterbox-bearer')
    const unknown = await update({ status: 'DISABLED', webhookEndpointId: 'whep_nobody' }, 'chatterbox-bearer')
    expect(foreign).toEqual(unknown)
    expect(foreign).toMatchObject({ webhookEndpoint: null, userErrors: [{ code: 'NOT_FOUND' }] })
    expect((await findEndpoint()).status).toBe('ACTIVE')
  })
})
