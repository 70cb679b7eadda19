import { randomInt } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import pg from 'pg'
import { request } from 'undici'
import { HOUR_MS, startOfHour } from '../../src/kernel/clock.ts'
import { signEvent } from './bank-keys.ts'
import { copyCustomers, type CopiedCustomer } from './copied-customers.ts'
import { eventually, startGateway, type TestGateway } from './gateway.ts'
import type { AcknowledgedEvent, PipelineEvidence, WebhookRequest } from './pipeline-faults.ts'
import { newPlace, startProcess, type GatewayPlace, type GatewayProcess } from './process.ts'
import { registerWebhookPlatform } from './webhook-platform.ts'

type Role = 'gateway' | 'worker'

/** A gateway and a worker as processes that can be killed, with banks that push alerts and endpoints that receive them. */
export interface KilledPipeline {
  /** Kills a process at a random moment and starts it again. */
  kill(role: Role): Promise<void>
  /** Pushes alerts, 10 % of them twice, until `run` has ended. An event that was not acknowledged is sent again until it is. */
  underLoad(run: () => Promise<void>): Promise<void>
  /** Events that were acknowledged so far. */
  acknowledgedCount(): number
  /** Whether both processes run. */
  isRunning(): boolean
  /** Counts requests from now on as those of another worker, because outcomes of earlier ones may not have been stored. */
  countWorker(): void
  /** Waits until all deliveries have ended, stops both processes and returns all that is known. */
  evidence(): Promise<PipelineEvidence>
  close(): Promise<void>
}

const BANK = 'northbank'
const PLATFORMS = ['First', 'Second']
const TEMPLATE_CLIENT = 'chatterbox'
/** Accounts, and how many of them a second customer shares. */
const ACCOUNTS = { single: 400, joint: 40 }
/** Alerts of one account differ in their hour; no alert may be older than some days. */
const HOURS = 120
const SENDERS = 8
const SENDER_PAUSE_MS = 150
const RETRY_MS = 200
/** In percent: events that are sent twice, and webhooks that are refused at their first attempt. */
const SHARES = { twice: 10, refused: 5 }
/** Killed no earlier than the first and no later than the second after the last start. */
const KILL_AFTER_MS = [200, 1_200] as const
/** After it, even a gateway that stores what it has acknowledged later has stored it. */
const SETTLE_MS = 1_000
/** A killed worker's claims end with their lease. */
const DRAIN_TIMEOUT_MS = 120_000

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/** Starts the processes. `env` is for both of them, which reach the database at `databaseUrl` of its address. */
export async function startKilledPipeline(
  env: Record<string, string> = {},
  databaseUrl: (url: string) => string | Promise<string> = (url) => url,
): Promise<KilledPipeline> {
  // It registers clients and banks and serves nobody; the tests kill other processes on its database.
  const gateway = await startGateway({ env: { GUICHET_ROLE: 'gateway' } })
  const receiver = await startReceiver()
  const { customers, endpointByClient } = await seed(gateway, receiver)
  const places: Record<Role, GatewayPlace> = {
    gateway: await newPlace(gateway.dataDir),
    worker: await newPlace(gateway.dataDir),
  }
  const url = await databaseUrl(gateway.database.url)
  const start = (role: Role): Promise<GatewayProcess> =>
    startProcess(places[role], {
      GUICHET_ROLE: role,
      GUICHET_SANDBOX_BANKS: 'off',
      GUICHET_SCHEDULED_CERTIFICATION: 'off',
      DATABASE_URL: url,
      ISSUER: gateway.issuer,
      ...env,
    })
  const processes: Record<Role, GatewayProcess> = { gateway: await start('gateway'), worker: await start('worker') }
  const banks = createBanks(gateway, customers, () => processes.gateway.issuer)

  return {
    async kill(role) {
      await sleep(randomInt(...KILL_AFTER_MS))
      await processes[role].stop('SIGKILL')
      // What the killed worker has sent is read before the next one starts.
      await sleep(100)
      if (role === 'worker') receiver.worker++
      processes[role] = await start(role)
    },
    underLoad: banks.sendDuring,
    acknowledgedCount: () => banks.acknowledged.length,
    isRunning: () =>
      Object.values(processes).every(({ child }) => child.exitCode === null && child.signalCode === null),
    countWorker: () => void receiver.worker++,
    async evidence() {
      await sleep(SETTLE_MS)
      await eventually('the end of all deliveries', () => hasEnded(gateway), DRAIN_TIMEOUT_MS)
      await Promise.all(Object.values(processes).map((process) => process.stop('SIGTERM')))
      return {
        ...(await readEvidence(gateway)),
        acknowledged: banks.acknowledged,
        requests: receiver.requests,
        lastWorker: receiver.worker,
        endpointByAccount: new Map(
          customers.map(({ accountId, clientId }) => [accountId, endpointByClient.get(clientId)!]),
        ),
      }
    },
    async close() {
      for (const { child } of Object.values(processes)) if (child.exitCode === null) child.kill('SIGKILL')
      receiver.server.closeAllConnections()
      receiver.server.close()
      await gateway.close()
    },
  }
}

interface Receiver {
  readonly server: Server
  readonly origin: string
  readonly requests: WebhookRequest[]
  /** The endpoint at each path. */
  readonly endpointByPath: Map<string, string>
  worker: number
}

/** An endpoint that records every request and refuses some. */
async function startReceiver(): Promise<Receiver> {
  const server = createServer((request, response) => void receive(request, response))
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const receiver: Receiver = {
    server,
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests: [],
    endpointByPath: new Map(),
    worker: 1,
  }
  async function receive(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    let body = ''
    for await (const chunk of incoming.setEncoding('utf8')) body += chunk as string
    const webhookId = String(incoming.headers['webhook-id'])
    const { sequence, data } = JSON.parse(body) as { sequence: number; data: { id: string; customerId: string } }
    const isFirst = !receiver.requests.some((earlier) => earlier.webhookId === webhookId)
    const status = isFirst && randomInt(100) < SHARES.refused ? 503 : 204
    receiver.requests.push({
      endpointId: receiver.endpointByPath.get(incoming.url!)!,
      webhookId,
      sentAtSeconds: Number(incoming.headers['webhook-timestamp']),
      alertId: data.id,
      customerId: data.customerId,
      sequence,
      status,
      worker: receiver.worker,
    })
    response.writeHead(status).end()
  }
  return receiver
}

async function seed(gateway: TestGateway, receiver: Receiver) {
  const endpointByClient = new Map<string, string>()
  for (const name of PLATFORMS) {
    const url = `${receiver.origin}/${name}`
    const platform = await registerWebhookPlatform(gateway.issuer, gateway.client('admin'), { name, url })
    endpointByClient.set(platform.client.clientId, platform.endpointId)
    receiver.endpointByPath.set(`/${name}`, platform.endpointId)
  }
  await gateway.customer('ada', [BANK], { clientId: TEMPLATE_CLIENT })
  const database = new pg.Client({ connectionString: gateway.database.url })
  await database.connect()
  const clientIds = [...endpointByClient.keys()]
  const options = { dataDir: gateway.dataDir, bankId: BANK, templateClientId: TEMPLATE_CLIENT, clientIds }
  const customers = [
    ...(await copyCustomers(database, { ...options, first: 0, count: ACCOUNTS.single })),
    ...(await copyCustomers(database, { ...options, first: ACCOUNTS.single, count: ACCOUNTS.joint, firstRef: 0 })),
  ]
  await database.end()
  return { customers, endpointByClient }
}

/** Banks that push events about the accounts in turn, each event about another account or hour. */
function createBanks(gateway: TestGateway, customers: readonly CopiedCustomer[], origin: () => string) {
  const accountIdsByRef = new Map<string, string[]>()
  for (const { accountRef, accountId } of customers)
    accountIdsByRef.set(accountRef, [...(accountIdsByRef.get(accountRef) ?? []), accountId])
  const refs = [...accountIdsByRef.keys()]
  const acknowledged: AcknowledgedEvent[] = []
  const newestHour = startOfHour(new Date()).getTime() - HOUR_MS
  let sentCount = 0
  let isSending = false

  async function sendEvent(): Promise<void> {
    const index = sentCount++
    if (index >= refs.length * HOURS) throw new Error('there are no more different events')
    const ref = refs[index % refs.length]!
    const occurredAt = new Date(newestHour - Math.floor(index / refs.length) * HOUR_MS)
    const { token, url } = await signEvent(gateway, BANK, {
      claims: { sub_id: { format: 'opaque', id: ref }, events: alertEvent(ref, occurredAt) },
    })
    const send = (): Promise<boolean> => pushTo(origin(), url, token)
    const isTwice = randomInt(100) < SHARES.twice
    while (!(await Promise.all(isTwice ? [send(), send()] : [send()])).some(Boolean)) await sleep(RETRY_MS)
    acknowledged.push({ accountIds: accountIdsByRef.get(ref)!, occurredAt })
  }

  return {
    acknowledged,
    async sendDuring(run: () => Promise<void>): Promise<void> {
      isSending = true
      const senders = Array.from({ length: SENDERS }, async () => {
        while (isSending) {
          await sendEvent()
          await sleep(SENDER_PAUSE_MS)
        }
      })
      await run().finally(() => (isSending = false))
      await Promise.all(senders)
    },
  }
}

/** Pushes an event for `url` to the process at `origin`, as a proxy passes it on. Returns whether it was accepted. */
async function pushTo(origin: string, url: string, token: string): Promise<boolean> {
  const { host, pathname } = new URL(url)
  const headers = { host, 'content-type': 'application/secevent+jwt' }
  const response = await request(`${origin}${pathname}`, { method: 'POST', headers, body: token }).catch(
    () => undefined,
  )
  const status = response?.statusCode ?? 0
  await response?.body.dump().catch(() => undefined)
  if (status > 202 && status < 500) throw new Error(`an event got ${status}`)
  return status === 202
}

const alertEvent = (account: string, occurredAt: Date) => ({
  'urn:guichet:events:security-alert': {
    account,
    type: 'CARD_SECURITY',
    severity: 'URGENT',
    requested_action: 'CALL_BANK',
    occurred_at: occurredAt.getTime() / 1_000,
  },
})

/** Whether nothing is left to plan or to send. */
async function hasEnded({ database }: TestGateway): Promise<boolean> {
  const [row] = await database.query<{ count: number }>(
    `select (select count(*) from delivery where status = 'PENDING')::int
      + (select count(*) from outbox_message where topic in ('alert.urgent', 'alert.received') and processed_at is null)::int as count`,
  )
  return row!.count === 0
}

async function readEvidence({
  database,
}: TestGateway): Promise<Pick<PipelineEvidence, 'alerts' | 'deliveries' | 'attempts'>> {
  return {
    alerts: await database.query(
      `select alert.id, account_id as "accountId", alert.occurred_at as "occurredAt",
         count(*) filter (where action = 'ALERT_RECEIVED')::int as "ledgerCount"
       from alert left join ledger_entry on subject_id = alert.id group by alert.id`,
    ),
    deliveries: await database.query(
      'select id, alert_id as "alertId", webhook_endpoint_id as "endpointId", status from delivery',
    ),
    attempts: await database.query(
      `select delivery_id as "deliveryId", attempted_at as "attemptedAt", http_status as "httpStatus", outcome
       from delivery_attempt`,
    ),
  }
}
