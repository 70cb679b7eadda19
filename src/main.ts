#!/usr/bin/env node
import { fork, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { createApp, type App } from './app.ts'
import { ConfigError, readConfig, removeDriverVariables, type Config } from './config.ts'
import { administrationNotice } from './enrolment.ts'
import { GatewayError } from './kernel/errors.ts'
import { systemRandomness } from './kernel/ids.ts'
import { createLog, traceOf } from './kernel/log.ts'
import { createOutboundHttp } from './kernel/outbound-http.ts'
import { realWorld } from './kernel/world.ts'
import { stopInSteps, type StopStep } from './kernel/stop.ts'
import { productionProblems } from './production.ts'
import { seedSandbox, type SandboxAddresses } from './seed.ts'
import { openDatabase, type DatabaseUrls } from './storage/database.ts'
import { startEmbeddedPostgres } from './storage/embedded-postgres.ts'
import { makeFolder } from './storage/folders.ts'
import { migrate } from './storage/migrate.ts'
import { ALL_SETTINGS, setRoleDefaults, sharesSessions, wrongSettings } from './storage/pooler.ts'

const root = join(import.meta.dirname, '..')
const say = (line: string): void => void process.stdout.write(`${line}\n`)

/** A stop takes at most this long, whatever hangs. docs/OPERATE.md states it for whatever runs the process. */
const STOP_DEADLINE_MS = 30_000
/** What must be undone at the end, the last first. */
const undo: StopStep[] = []
let ending: Promise<void> | undefined
let log = createLog(
  'info',
  () => new Date(),
  (line) => process.stderr.write(`${line}\n`),
)

/** Undoes everything and exits with `code`, or with 1 if something had to be abandoned. */
function end(code: number): Promise<void> {
  ending ??= (async () => {
    setTimeout(() => {
      log.error('stop.abandoned', { operation: 'all', durationMs: STOP_DEADLINE_MS })
      process.exit(1)
    }, STOP_DEADLINE_MS)
    const clean = await stopInSteps(
      undo.reverse().map((step) => [step]),
      log,
    )
    process.exit(clean ? code : 1)
  })()
  return ending
}

async function start(config: Config): Promise<void> {
  log = createLog(
    config.logLevel,
    () => new Date(),
    (line) => process.stderr.write(`${line}\n`),
  )
  const world = realWorld(log, createOutboundHttp(config.egress))
  makeFolder(config.dataDir, 0o711)

  const database = openDatabase(await databaseOf(config))
  undo.push({ name: 'database', withinMs: 3_000, run: () => database.close() })

  const addresses = await sandboxOf(config)
  const app: App = await createApp(config, world, database)
  undo.push({
    name: 'app',
    withinMs: 21_000,
    run: async () => {
      if (!(await app.stop())) throw new Error('a step of the stop was abandoned')
    },
  })
  const problems = config.profile === 'production' ? await productionProblems(app, world.http) : []
  if (problems.length > 0) throw new ConfigError(problems)
  const port = await app.start(async () => {
    // The sandbox banks are certified like any others, and part of that is that their events arrive here.
    if (addresses && config.role !== 'worker')
      await database.exclusively('seed', () =>
        seedSandbox({ app, http: world.http, dataDir: config.dataDir, addresses }),
      )
  })
  const notice = config.role === 'worker' ? undefined : await administrationNotice(app, config, log)
  if (notice !== undefined) say(notice)
  log.info('started', { port })
  welcome(config, addresses, app.metricsUrl())
}

/** The database, migrated, and safe to use from where we are. */
async function databaseOf(config: Config): Promise<DatabaseUrls> {
  const url = config.databaseUrl ?? (await embedded(config))
  const directUrl = config.databaseDirectUrl
  if (await sharesSessions(directUrl ?? url)) throw new ConfigError([directUrl ? DIRECT_IS_POOLED : URL_IS_POOLED])
  await migrate(directUrl ?? url, join(root, 'prisma/migrations'))
  await setRoleDefaults(directUrl ?? url, { TimeZone: 'UTC' })
  if (directUrl) {
    await setRoleDefaults(url, ALL_SETTINGS)
    const wrong = await wrongSettings(url)
    if (wrong.length > 0) throw new ConfigError([`DATABASE_URL: ${STALE_SESSIONS}: ${wrong.join(', ')}`])
  }
  return { url, directUrl }
}

const URL_IS_POOLED =
  'DATABASE_URL: leads to a pooler that shares sessions (PgBouncer in transaction or statement mode), where LISTEN and migrations cannot work: set DATABASE_DIRECT_URL to PostgreSQL itself, or use session mode'
const DIRECT_IS_POOLED =
  'DATABASE_DIRECT_URL: leads to a pooler that shares sessions; it must lead to PostgreSQL itself, or to a pooler in session mode'
const STALE_SESSIONS =
  'the pooler holds sessions that were opened before with other settings (in its console: RECONNECT), or sets them itself'

async function embedded(config: Config): Promise<string> {
  const server = await startEmbeddedPostgres({
    dataDir: config.dataDir,
    randomness: systemRandomness,
    say,
    onLost(what, error) {
      if (what === 'LOST') log.error('database.lost')
      if (what === 'RESTARTED') log.warn('database.restarted')
      if (what !== 'GONE') return
      log.error('database.gone', { trace: traceOf(error) })
      void end(1)
    },
  })
  // Goes on by itself where it takes longer.
  undo.push({ name: 'embedded database', withinMs: 10_000, run: () => server.stop() })
  return server.url
}

/** Where the pretend banks are, started where they are ours to start. */
async function sandboxOf(config: Config): Promise<SandboxAddresses | undefined> {
  if (config.sandbox === 'ON') return startSandbox(config)
  if (config.sandbox === 'OFF') return undefined
  const at = (offset: number): string => `http://127.0.0.1:${config.sandboxPort + offset}`
  const banks = ['northbank', 'rheinbank', 'eastbank', 'westbank', 'lakebank', 'southbank']
  return { banks: Object.fromEntries(banks.map((bank, index) => [bank, at(index)])), platform: at(banks.length) }
}

/** Runs the pretend banks as their own process, which ends with this one however this one ends. */
async function startSandbox(config: Config): Promise<SandboxAddresses> {
  const options = {
    host: '127.0.0.1',
    port: config.sandboxPort,
    stateDir: join(config.dataDir, 'sandbox'),
    seed: 'guichet',
    canary: config.sandboxCanary,
  }
  const child: ChildProcess = fork(join(import.meta.dirname, 'sandbox/main.ts'), [JSON.stringify(options)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  undo.push({
    name: 'sandbox banks',
    withinMs: 3_000,
    run: () =>
      new Promise<void>((resolve) => {
        if (child.exitCode !== null) return void resolve()
        child.once('exit', () => resolve())
        child.disconnect()
      }),
  })
  return new Promise((resolve, reject) => {
    child.once('message', (addresses) => resolve(addresses as SandboxAddresses))
    child.once('exit', (code) =>
      reject(
        new Error(
          `the sandbox banks ended with ${code}; is a port of ${config.sandboxPort} to ${config.sandboxPort + 6} in use?`,
        ),
      ),
    )
  })
}

function welcome(
  { issuer, role }: Config,
  addresses: SandboxAddresses | undefined,
  metricsUrl: string | undefined,
): void {
  const ready = `ready  ${issuer}  (${role === 'all' ? 'gateway and worker' : role})`
  if (!addresses) return void say(ready)
  say(`${ready}

  API            ${issuer}/graphql
  What I share   ${issuer}/sharing
  Metrics        ${metricsUrl}
  Banks          ${Object.entries(addresses.banks)
    .map(([id, url]) => `${id} ${url}`)
    .join('   ')}

Try, in another terminal:
  npx guichet query '{ viewer { accounts { nodes { displayName maskedNumber bank { name } balances { ... on ExactBalance { amount currency } ... on BalanceUnavailable { reason } } } } } }' --customer ada
  npx guichet sandbox alert --bank northbank --customer ada --type UNUSUAL_ACTIVITY_REVIEW
  npx guichet alerts deliveries`)
}

// One request that fails where nobody waits for it must not end everybody else's.
process.on('unhandledRejection', (error) => log.error('rejection.unhandled', { trace: traceOf(error) }))

// Node would print the message, which can hold input. What state the process is in is unknown: it ends, and with it the
// database and the sandbox banks.
process.on('uncaughtException', (error) => {
  log.error('exception.uncaught', { trace: traceOf(error) })
  void end(1)
})

// A reader of our output that went away, or a full disk, costs lines of the log and nothing else.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

// SIGHUP: the terminal that it runs in was closed.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (ending) process.exit(130)
    void end(0)
  })

try {
  const removed = removeDriverVariables(process.env)
  if (removed.length > 0) say(`${removed.join(', ')} not used: DATABASE_URL says all about the database`)
  await start(readConfig(process.env))
} catch (error) {
  process.stderr.write(`${lineOf(error)}\n`)
  await end(1)
}

/** Why the start failed, for whoever runs the process: an error's internal text is for them. */
function lineOf(error: unknown): string {
  if (error instanceof GatewayError && error.internal) return error.internal
  return error instanceof Error ? error.message : traceOf(error)
}
