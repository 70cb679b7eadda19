import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { decodeJwt } from 'jose'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { createSeal } from '../../src/storage/seal.ts'
import { removeAlerts } from '../support/delivery-tools.ts'
import { ALL_SCOPES, eventually, startGateway, type TestGateway } from '../support/gateway.ts'
import { patientTimers } from '../support/patient-time.ts'

const CARD = 'nb-10003'

let gateway: TestGateway
let bo: Token
let server: Server
let origin: string
let connectorId: string
/** How the response endpoint of Northbank behaves. */
let listener: RequestListener
/** The paths that were requested. */
let paths: string[] = []
beforeAll(async () => {
  gateway = await startGateway()
  bo = await gateway.customer('bo', ['northbank'], { scopes: [...ALL_SCOPES, 'alerts:respond'] })
  server = createServer((request, response) => {
    paths.push(request.url!)
    // A path of another bank is never answered.
    if (request.url !== '/hanging') request.resume().on('end', () => listener(request, response))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const [connector] = await gateway.database.query<{ id: string }>(
    `update connector set registration = jsonb_set(registration::jsonb, '{alertResponses,url}', to_jsonb($1::text))
     where bank_id = 'northbank' returning id`,
    [`${origin}/alert-responses`],
  )
  connectorId = connector!.id
  await gateway.app.services.signals.publishNow({ kind: 'BANK', id: 'northbank' })
  // Its interface has the address of before.
  await gateway.app.services.signals.publishNow({ kind: 'CREDENTIALS', id: connectorId })
})
afterAll(async () => {
  server.closeAllConnections()
  server.close()
  await gateway.close()
})
beforeEach(async () => {
  gateway.intercept = undefined
  paths = []
  await removeAlerts(gateway)
  bo = await gateway.renew(bo)
})
afterEach(async () => {
  server.closeAllConnections()
  await gateway.database.query('update outbox_message set processed_at = now() where processed_at is null')
})

/** Northbank reports an alert, which bo then sees. Returns its ID. */
async function raiseAlert(): Promise<string> {
  expect(await gateway.alert('northbank', { account: CARD, type: 'UNUSUAL_ACTIVITY_REVIEW' })).toEqual([202])
  return eventually('the alert', async () => {
    const { data } = await gateway.ask(bo, '{ customer { alerts { nodes { id } } } }')
    return (data as { customer: { alerts: { nodes: { id: string }[] } } }).customer.alerts.nodes[0]?.id
  })
}

/** Bo responds to an alert. */
async function respond(alertId?: string): Promise<void> {
  const { data } = await gateway.ask(
    bo,
    'mutation ($input: RespondToAlertInput!) { respondToAlert(input: $input) { userErrors { code path } } }',
    { input: { alertId: alertId ?? (await raiseAlert()), answer: 'CALL_ME' } },
  )
  expect(data).toEqual({ respondToAlert: { userErrors: [] } })
}

interface Outcome {
  readonly id: string
  readonly status: string
  readonly errorCode: string | null
}
async function readOutcome(): Promise<Outcome | undefined> {
  const [row] = await gateway.database.query<Outcome>(
    `select id, status, (select last_error_code from outbox_message where subject_id = alert_response.id) as "errorCode"
     from alert_response`,
  )
  return row
}
/** The response after its first attempt. */
const outcome = () =>
  eventually('an outcome', async () => {
    const row = await readOutcome()
    return row && (row.status !== 'PENDING' || row.errorCode !== null) && row
  })
const untilStatus = (status: string) =>
  eventually(`the status ${status}`, async () => (await readOutcome())?.status === status)
const accept: RequestListener = (_request, response) => response.writeHead(202).end()

/** Adds `bankCount` connectors whose response endpoints never respond, each with `perBank` responses that are due now. */
async function addHangingBanks(bankCount: number, perBank: number): Promise<void> {
  const { database, dataDir } = gateway
  const { sealingKeys } = readConfig({ GUICHET_DATA_DIR: dataDir, DATABASE_URL: database.url })
  const seal = createSeal(sealingKeys)
  const [connector] = await database.query<{ sealed_key: string; registration: object }>(
    `select sealed_key, jsonb_set(registration, '{alertResponses,url}', to_jsonb($2::text)) as registration
     from connector where id = $1`,
    [connectorId, `${origin}/hanging`],
  )
  const [question] = await database.query<{ alert_id: string }>('select alert_id from alert_question')
  const alertId = question!.alert_id
  const key = await seal.unseal(`connector-key:${connectorId}`, connector!.sealed_key)
  /** Adds a row like that of `id`, except for the given columns. */
  const copy = (table: string, id: string, column: string, columns: object) =>
    database.query(
      `insert into ${table} select (jsonb_populate_record(original, $2::jsonb)).* from ${table} original where ${column} = $1`,
      [id, JSON.stringify(columns)],
    )
  const message = { eventId: 'event', answer: 'CALL_ME', respondedAt: new Date().toISOString() }
  for (let bank = 0; bank < bankCount; bank++) {
    const id = `cnct_hanging${bank}`
    const sealed_key = await seal.seal(`connector-key:${id}`, key)
    // With its address from the first moment: a job of the gateway may read it at once, and keep it.
    await copy('connector', connectorId, 'id', { id, sealed_key, registration: connector!.registration })
    for (let index = 0; index < perBank; index++) {
      const [alert_id, answer] = [`${alertId}-${bank}-${index}`, `answ_${bank}_${index}`]
      await copy('alert', alertId, 'id', { id: alert_id })
      await copy('alert_question', alertId, 'alert_id', { alert_id, connector_id: id })
      await database.query(
        `with response as (
           insert into alert_response (id, alert_id, client_id, consent_id, answer, status, sealed_message, created_at)
           values ($1, $2, 'chatterbox', 'none', 'CALL_ME', 'PENDING', $3, now()))
         insert into outbox_message (id, topic, subject_id, group_id, next_attempt_at)
         values ($1, 'alert-response.given', $1, $4, now() + interval '1 hour')`,
        [answer, alert_id, await seal.seal(`alert-response:${answer}`, message), id],
      )
    }
  }
}

test('a response reaches its bank within 2 seconds while the endpoints of twelve other banks hang', async () => {
  const [bankCount, perBank] = [12, 16]
  const alertId = await raiseAlert()
  await addHangingBanks(bankCount, perBank)
  listener = accept
  await gateway.database.query("update outbox_message set next_attempt_at = now() where group_id like 'cnct_hanging%'")
  await eventually('an attempt of each message', async () => {
    const attempted = await gateway.database.query(
      "select 1 from outbox_message where group_id like 'cnct_hanging%' and (claimed_until > now() or attempt_count > 0)",
    )
    return attempted.length === bankCount * perBank
  })
  await eventually('a hanging request', () => Promise.resolve(paths.includes('/hanging')))
  await respond(alertId)
  const startedAtMs = patientTimers.monotonicMs()
  await eventually('the response', () => Promise.resolve(paths.includes('/alert-responses')))
  expect(patientTimers.monotonicMs() - startedAtMs).toBeLessThan(2_000)
})

test.each<[string, RequestListener]>([
  ['is larger than the limit', (_request, response) => response.writeHead(202).end('x'.repeat(1_000_000))],
  ['has no end', (_request, response) => void response.writeHead(202).write('x')],
  ['is damaged', (_request, response) => response.writeHead(202, { 'content-encoding': 'gzip' }).end('not gzip')],
])('a response that the bank accepts with a body that %s is SENT after one request', async (_body, behavior) => {
  listener = behavior
  await respond()
  expect(await outcome()).toMatchObject({ status: 'SENT', errorCode: null })
  expect(paths).toEqual(['/alert-responses'])
})

test.each<[string, RequestListener, string]>([
  ['redirects', (_request, response) => response.writeHead(307, { location: '/elsewhere' }).end(), 'BANK_REFUSED'],
  ['is not found', (_request, response) => response.writeHead(404).end(), 'BANK_REFUSED'],
  ['refuses without a reason', (_request, response) => response.writeHead(400).end('null'), 'BANK_REFUSED'],
  ['fails', (_request, response) => response.writeHead(503).end(), 'BANK_UNAVAILABLE'],
  ['closes the connection', (request) => request.socket.destroy(), 'BANK_UNAVAILABLE'],
  ['does not respond', () => undefined, 'BANK_TIMEOUT'],
])('a response to an endpoint that %s stays PENDING and reaches it once it accepts', async (_fault, behavior, code) => {
  listener = behavior
  await respond()
  expect(await outcome()).toMatchObject({ status: 'PENDING', errorCode: code })
  listener = accept
  await untilStatus('SENT')
  expect(new Set(paths)).toEqual(new Set(['/alert-responses']))
})

/** The next requests wait. `arrived` resolves to the tokens of the first `count` of them; `accept` has the bank accept all. */
function hold(count: number): { readonly arrived: Promise<string[]>; accept(): void } {
  const tokens: string[] = []
  let acceptAll = (): void => undefined
  const accepted = new Promise<void>((resolve) => (acceptAll = resolve))
  const arrived = new Promise<string[]>((resolve) => {
    gateway.intercept = ({ url, body }) => {
      if (!url.endsWith('/alert-responses')) return undefined
      if (tokens.push(body!) === count) resolve(tokens)
      return accepted.then(() => ({ status: 202, headers: {}, text: '' }))
    }
  })
  return { arrived, accept: acceptAll }
}

test('a response that the bank accepted before its worker ended is repeated with its ID, and the bank acts once', async () => {
  const bank = gateway.sandbox.banks.northbank
  const readDesk = async () =>
    (await (await fetch(`${bank}/sandbox/alert-responses`)).json()) as { responses: { isConfirmed: boolean }[] }
  await fetch(`${bank}/sandbox/alert-responses`, { method: 'DELETE' })
  const { arrived, accept: acceptAll } = hold(2)
  await respond()
  await eventually('the first attempt', async () => {
    // The lease of a worker that has ended is over.
    const claimed = await gateway.database.query(
      `update outbox_message set claimed_until = now() where topic = 'alert-response.given' and claimed_until > now()
       returning id`,
    )
    return claimed.length > 0
  })
  const tokens = await arrived
  const { id } = (await readOutcome())!
  expect(tokens.map((token) => decodeJwt(token).jti)).toEqual([id, id])
  for (const body of tokens) {
    const headers = { 'content-type': 'application/secevent+jwt' }
    expect((await fetch(`${bank}/alert-responses`, { method: 'POST', headers, body })).status).toBe(202)
  }
  acceptAll()
  await untilStatus('CONFIRMED')
  expect((await readDesk()).responses).toMatchObject([{ isConfirmed: true }])
})

test('a response at a suspended connector waits without a request, and is sent after the connector is active again', async () => {
  const { banks } = gateway.app.services
  listener = accept
  const alertId = await raiseAlert()
  await banks.suspend('northbank-partner', connectorId)
  await respond(alertId)
  expect(await outcome()).toMatchObject({ status: 'PENDING', errorCode: 'BANK_UNAVAILABLE' })
  expect(paths).toEqual([])
  await banks.activate('admin', connectorId)
  await untilStatus('SENT')
  expect(paths).toEqual(['/alert-responses'])
})

test('a response at a connector that is retired is FAILED, because its bank will never get it', async () => {
  const { banks } = gateway.app.services
  listener = accept
  const alertId = await raiseAlert()
  await banks.suspend('northbank-partner', connectorId)
  await respond(alertId)
  expect(await outcome()).toMatchObject({ status: 'PENDING' })
  await banks.retire('northbank-partner', connectorId)
  await untilStatus('FAILED')
  expect(paths).toEqual([])
})
