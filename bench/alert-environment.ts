import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { createBrowser } from '../src/entrypoints/cli/browser.ts'
import type { ClientFile } from '../src/entrypoints/cli/oauth-client.ts'
import { optIn } from '../src/entrypoints/cli/opt-in.ts'
import { systemTimers } from '../src/kernel/clock.ts'
import { systemRandomness } from '../src/kernel/ids.ts'
import { startEmbeddedPostgres } from '../src/storage/embedded-postgres.ts'
import { copyCustomers, type CopiedCustomer } from '../test/support/copied-customers.ts'
import { registerWebhookPlatform } from '../test/support/webhook-platform.ts'
import type { EventSender } from './bank-load.ts'
import { parentPidOf, startServer, type Server } from './process.ts'

const ROOT = join(import.meta.dirname, '..')
const TEMPLATE = 'guichet_alerts'
const TEMPLATE_CLIENT = 'chatterbox-bearer'
/** The banks that the seed activates. */
const BANKS = ['northbank', 'rheinbank', 'westbank', 'southbank']
const PLATFORM_COUNT = 4
const CUSTOMERS_PER_BANK = 750

/** How the gateway runs: as two processes, or as one, like `npm start`. */
export type Shape = 'SPLIT' | 'ALL'

/** The processes of a gateway on a database of its own, with the customers and platforms of the environment. */
export interface RunningGateway {
  readonly shape: Shape
  readonly gateway: Server
  /** The same process as `gateway` in the shape ALL. */
  readonly worker: Server
  readonly database: pg.Client
  readonly databaseUrl: string
  /** Ends the worker, so that deliveries wait, and starts it again. SPLIT only. */
  stopWorker(): Promise<void>
  startWorker(): Promise<Server>
  stop(): Promise<void>
}

/** What all measurements of alerts have in common. */
export interface AlertEnvironment {
  readonly dataDir: string
  readonly postmasterPid: number
  /** The ports of the platforms' endpoints, on which the receiver listens. */
  readonly endpointPorts: readonly number[]
  readonly customers: readonly CopiedCustomer[]
  /** Each bank with its key and the accounts of its customers. */
  readonly senders: readonly (EventSender & { readonly bankId: string })[]
  start(shape: Shape): Promise<RunningGateway>
  /** The settings of a worker on this database. */
  workerEnvironment(databaseUrl: string): Readonly<Record<string, string>>
  /** Creates a copy of the database in which nobody has sent anything. */
  createDatabase(): Promise<{ readonly url: string; drop(): Promise<void> }>
  stop(): Promise<void>
}

/**
 * Starts PostgreSQL and the sandbox banks, and creates a database with four platforms that have an endpoint each, and 3,000
 * customers with one account each, whose alerts one of the platforms receives.
 */
export async function createAlertEnvironment(
  firstPort: number,
  print: (line: string) => void,
): Promise<AlertEnvironment> {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-alerts-'))
  chmodSync(dataDir, 0o711)
  const endpointPorts = Array.from({ length: PLATFORM_COUNT }, (_, index) => firstPort + 10 + index)
  const sandboxPort = firstPort + 20
  const postgres = await startEmbeddedPostgres({
    dataDir,
    randomness: systemRandomness,
    timers: systemTimers,
    print,
  })
  const server = new pg.Client({ connectionString: postgres.url })
  await server.connect()
  await server.query(`create database ${TEMPLATE}`)
  const urlOf = (name: string): string => Object.assign(new URL(postgres.url), { pathname: `/${name}` }).href
  const postmasterPid = await findPostmaster(server)
  const clean = (): void => {
    try {
      // The server outlives the process that started it; this stops it without waiting for its clients.
      process.kill(postmasterPid, 'SIGQUIT')
    } catch {
      // It has ended.
    }
    rmSync(dataDir, { recursive: true, force: true })
  }
  process.once('exit', clean)
  const sandbox = await startSandbox(sandboxPort, join(dataDir, 'sandbox'))
  const launch = (url: string, role: RoleOptions['role']): Promise<Server> =>
    startRole({ dataDir, url, role, issuerPort: firstPort, sandboxPort })

  const seeding = await launch(urlOf(TEMPLATE), 'gateway')
  const seeded = await seed({ issuer: issuerOf(firstPort), dataDir, url: urlOf(TEMPLATE), endpointPorts })
  await seeding.stop()

  let databaseCount = 0
  async function createDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
    const name = `${TEMPLATE}_${++databaseCount}`
    await server.query(`create database ${name} template ${TEMPLATE}`)
    return {
      url: urlOf(name),
      drop: async () => void (await server.query(`drop database ${name} with (force)`)),
    }
  }

  return {
    dataDir,
    postmasterPid,
    endpointPorts,
    ...seeded,
    createDatabase,
    workerEnvironment: (url) => roleEnvironment({ dataDir, url, role: 'worker', issuerPort: firstPort, sandboxPort }),
    start: async (shape) => startShape(shape, await createDatabase(), launch),
    async stop() {
      await sandbox.stop()
      await server.end()
      await postgres.stop()
      process.off('exit', clean)
      rmSync(dataDir, { recursive: true, force: true })
    },
  }
}

const issuerOf = (port: number): string => `http://127.0.0.1:${port}`

async function findPostmaster(client: pg.Client): Promise<number> {
  const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid')
  return parentPidOf(rows[0]!.pid)
}

/** The sandbox banks in a process of their own, with one extra customer, who shares accounts at all of them. */
const startSandbox = (port: number, stateDir: string): Promise<Server> =>
  startServer(
    'banks',
    port,
    [
      join(ROOT, 'src/sandbox/main.ts'),
      JSON.stringify({ host: '127.0.0.1', port, stateDir, seed: 'bench', extraCustomerCount: 1, queuesEvents: false }),
    ],
    {},
    '}',
  )

interface RoleOptions {
  readonly dataDir: string
  readonly url: string
  readonly role: 'gateway' | 'worker' | 'all'
  readonly issuerPort: number
  readonly sandboxPort: number
}

const portOf = ({ role, issuerPort }: RoleOptions): number => (role === 'worker' ? issuerPort + 1 : issuerPort)

const roleEnvironment = (options: RoleOptions): Record<string, string> => ({
  PORT: String(portOf(options)),
  ISSUER: issuerOf(options.issuerPort),
  DATABASE_URL: options.url,
  GUICHET_ROLE: options.role,
  GUICHET_DATA_DIR: options.dataDir,
  GUICHET_SANDBOX_PORT: String(options.sandboxPort),
  GUICHET_SANDBOX_BANKS: 'remote',
  GUICHET_SCHEDULED_CERTIFICATION: 'off',
  GUICHET_LOG_LEVEL: 'error',
})

const startRole = (options: RoleOptions): Promise<Server> =>
  startServer(options.role, portOf(options), [join(ROOT, 'src/main.ts')], roleEnvironment(options))

async function startShape(
  shape: Shape,
  { url, drop }: { url: string; drop(): Promise<void> },
  launch: (url: string, role: RoleOptions['role']) => Promise<Server>,
): Promise<RunningGateway> {
  const database = new pg.Client({ connectionString: url })
  await database.connect()
  const gateway = await launch(url, shape === 'ALL' ? 'all' : 'gateway')
  let worker = shape === 'ALL' ? gateway : await launch(url, 'worker')
  return {
    shape,
    gateway,
    get worker() {
      return worker
    },
    database,
    databaseUrl: url,
    stopWorker: () => worker.stop(),
    startWorker: async () => (worker = await launch(url, 'worker')),
    async stop() {
      await worker.stop()
      await gateway.stop()
      await database.end()
      await drop()
    },
  }
}

interface SeedOptions {
  readonly issuer: string
  readonly dataDir: string
  readonly url: string
  readonly endpointPorts: readonly number[]
}

async function seed({ issuer, dataDir, url, endpointPorts }: SeedOptions) {
  const clientFile = (id: string): ClientFile =>
    JSON.parse(readFileSync(join(dataDir, 'clients', `${id}.json`), 'utf8')) as ClientFile
  const clientIds: string[] = []
  for (const [index, port] of endpointPorts.entries()) {
    const platform = { name: `Bench platform ${index + 1}`, url: `${issuerOf(port)}/webhooks` }
    clientIds.push((await registerWebhookPlatform(issuer, clientFile('admin'), platform)).client.clientId)
  }
  await optInEverywhere(issuer, clientFile(TEMPLATE_CLIENT))
  const database = new pg.Client({ connectionString: url })
  await database.connect()
  const customers: CopiedCustomer[] = []
  for (const [index, bankId] of BANKS.entries())
    customers.push(
      ...(await copyCustomers(database, {
        dataDir,
        bankId,
        templateClientId: TEMPLATE_CLIENT,
        clientIds,
        first: index * CUSTOMERS_PER_BANK,
        count: CUSTOMERS_PER_BANK,
      })),
    )
  await database.end()
  const refsOf = (bankId: string): string[] =>
    customers.filter((customer) => customer.bankId === bankId).map(({ accountRef }) => accountRef)
  return {
    customers,
    senders: BANKS.map((bankId) => ({ bankId, ...readSender(dataDir, bankId), accountRefs: refsOf(bankId) })),
  }
}

/** One customer opts in at each bank, whose rows are then copied. */
async function optInEverywhere(issuer: string, client: ClientFile): Promise<void> {
  const browser = createBrowser()
  let idTokenHint: string | undefined
  for (const bank of BANKS) {
    const scopes = ['accounts:read', 'alerts:read']
    const customer = { issuer, client, bearer: true, customer: 'crowd0', bank, browser, scopes }
    idTokenHint = (await optIn({ ...customer, ...(idTokenHint !== undefined && { idTokenHint }) })).idToken
  }
}

/** The bank's key and the address of its events, as the sandbox bank stores them. */
function readSender(dataDir: string, bankId: string): Omit<EventSender, 'accountRefs'> {
  const state = JSON.parse(readFileSync(join(dataDir, 'sandbox', `${bankId}.json`), 'utf8')) as {
    signingKey: EventSender['signingKey']
    clients: Record<string, { eventsUrl: string }>
  }
  const { banks } = JSON.parse(readFileSync(join(dataDir, 'sandbox.json'), 'utf8')) as { banks: Record<string, string> }
  return { issuer: banks[bankId]!, eventsUrl: state.clients['guichet']!.eventsUrl, signingKey: state.signingKey }
}
