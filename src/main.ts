#!/usr/bin/env node
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { createApp, type App } from './app.ts'
import { ConfigError, readConfig, removeDriverVariables, type Config } from './config.ts'
import { administrationNotice } from './enrollment.ts'
import { localOrigin } from './kernel/addresses.ts'
import { CLOCK_TOLERANCE_SECONDS, SECOND_MS, systemClock, systemTimers } from './kernel/clock.ts'
import { GatewayError } from './kernel/errors.ts'
import { systemRandomness } from './kernel/ids.ts'
import { createLog, errorTrace } from './kernel/log.ts'
import { createOutboundHttp } from './kernel/outbound-http.ts'
import { createWorld, type World } from './kernel/world.ts'
import { runShutdown, type ShutdownStep } from './kernel/shutdown.ts'
import { productionProblems } from './production.ts'
import type { SandboxAddresses } from './seed.ts'
import { embeddedDatabaseProblem, listenProblem, startProblems, withDatabase } from './start-problems.ts'
import { clockSkewMessage, createClockMonitor } from './storage/clock-monitor.ts'
import { openDatabase, type Database, type DatabaseUrls } from './storage/database.ts'
import { isDataDirLocked, startEmbeddedPostgres } from './storage/embedded-postgres.ts'
import { migrate } from './storage/migrate.ts'
import { UnknownKeyError } from './storage/seal.ts'
import { ALL_SESSION_SETTINGS, setRoleDefaults, hasSharedSessions, findWrongSettings } from './storage/pooler.ts'

// What lives is small beside what is allocated in a second. V8 would let the heap grow to four times what lives before it collects.
setFlagsFromString('--heap-growing-percent=50')

const root = join(import.meta.dirname, '..')
const print = (line: string): void => void process.stdout.write(`${line}\n`)

/** The maximum duration of a stop. docs/OPERATE.md states it for process supervisors. Longer draining adds to it. */
let stopDeadlineMs = 30_000
/** Steps of the stop. They run in reverse order. */
const shutdownSteps: ShutdownStep[] = []
let shutdownPromise: Promise<void> | undefined
let log = createLog(
  'info',
  () => systemClock.now(),
  (line) => process.stderr.write(`${line}\n`),
)

/** Runs all steps of the stop and exits with `code`, or with 1 if a step failed or was abandoned. */
function shutdown(code: number): Promise<void> {
  shutdownPromise ??= (async () => {
    systemTimers.setTimeout(() => {
      log.error('shutdown.step_timed_out', { operation: 'all', durationMs: stopDeadlineMs })
      process.exit(1)
    }, stopDeadlineMs)
    const isClean = await runShutdown(
      shutdownSteps.reverse().map((step) => [step]),
      { log, timers: systemTimers },
    )
    process.exit(isClean ? code : 1)
  })()
  return shutdownPromise
}

async function start(config: Config): Promise<void> {
  stopDeadlineMs = Math.max(stopDeadlineMs, 25_000 + config.drainMs)
  log = createLog(
    config.logLevel,
    () => systemClock.now(),
    (line) => process.stderr.write(`${line}\n`),
  )
  const world = createWorld(log, createOutboundHttp(config.egress))
  // The sandbox banks belong to a gateway.
  const hasSandbox = config.sandboxMode !== 'OFF' && config.role !== 'worker'
  const sandbox = hasSandbox ? await sandboxModules() : undefined
  await assertCanStart(config, sandbox)

  const database = openDatabase(await prepareDatabase(config))
  shutdownSteps.push({ name: 'database', timeoutMs: 3_000, run: () => database.close() })

  await assertClockInSync(database, world)

  const banks = await sandbox?.openSandboxBanks(config)
  if (banks?.stop) shutdownSteps.push(banks.stop)
  const app: App = await createApp(config, world, database).catch((error: unknown) => {
    throw error instanceof UnknownKeyError ? new ConfigError([WRONG_SEALING_KEY]) : error
  })
  shutdownSteps.push({
    name: 'app',
    timeoutMs: 22_000 + config.drainMs,
    run: async () => {
      if (!(await app.stop())) throw new Error('a step of the stop was abandoned')
    },
  })
  const problems = config.profile === 'production' ? await productionProblems(app, world.http) : []
  if (problems.length > 0) throw new ConfigError(problems)
  const port = await app
    .start(async () => {
      // Only after listening: the certification of the sandbox banks includes events that they send to the gateway.
      if (sandbox && banks)
        await database.withAdvisoryLock('seed', () =>
          sandbox.seedSandbox({ app, world, dataDir: config.dataDir, addresses: banks.addresses }),
        )
    })
    .catch((error: unknown) => {
      const problem = listenProblem(error, config.host, config.port)
      throw problem === undefined ? error : new ConfigError([problem])
    })
  const notice = config.role === 'worker' ? undefined : await administrationNotice(app, config, log)
  if (notice !== undefined) print(notice)
  log.info('started', { port })
  if (config.role === 'worker') printWorkerWelcome(config, port, app.metricsUrl())
  else printWelcome(config, banks?.addresses, app.metricsUrl())
}

/** Loads the sandbox only when needed, because a production image does not contain it. */
async function sandboxModules() {
  try {
    const [{ seedSandbox }, { openSandboxBanks, sandboxProblems }] = await Promise.all([
      import('./seed.ts'),
      import('./sandbox-banks.ts'),
    ])
    return { seedSandbox, openSandboxBanks, sandboxProblems }
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error
    throw new ConfigError([
      'GUICHET_PROFILE: this build is for production and contains no sandbox; set production, or GUICHET_SANDBOX_BANKS=off',
    ])
  }
}

/** Throws `ConfigError` with everything on this machine that prevents a start with these settings. */
async function assertCanStart(
  config: Config,
  sandbox: Awaited<ReturnType<typeof sandboxModules>> | undefined,
): Promise<void> {
  const { dataDir } = config
  const embeddedProblem = config.databaseUrl ? undefined : await embeddedDatabaseProblem()
  const isLocked =
    !config.databaseUrl &&
    embeddedProblem === undefined &&
    (await isDataDirLocked({ dataDir, randomness: systemRandomness, timers: systemTimers, print: () => undefined }))
  const problems = [
    ...(embeddedProblem === undefined ? [] : [embeddedProblem]),
    ...(isLocked ? [`GUICHET_DATA_DIR: another gateway is running on ${dataDir}; stop it, or set another folder`] : []),
    ...(await startProblems(config)),
    ...(isLocked ? [] : ((await sandbox?.sandboxProblems(config)) ?? [])),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
}

/** Throws `ConfigError` if the clocks differ: tokens are checked by the process's clock, leases by the database's. */
async function assertClockInSync(database: Database, world: World): Promise<void> {
  const toleranceMs = CLOCK_TOLERANCE_SECONDS * SECOND_MS
  const offsetMs = await createClockMonitor({ database, world, toleranceMs }).offsetMs()
  if (Math.abs(offsetMs) > toleranceMs) throw new ConfigError([clockSkewMessage(offsetMs)])
}

/** Starts the embedded database if configured, checks for poolers that share sessions, and migrates. Returns the addresses. */
async function prepareDatabase(config: Config): Promise<DatabaseUrls> {
  const url = config.databaseUrl ?? (await startEmbeddedDatabase(config))
  const directUrl = config.databaseDirectUrl
  await withDatabase(directUrl ? 'DATABASE_DIRECT_URL' : 'DATABASE_URL', async () => {
    if (await hasSharedSessions(directUrl ?? url)) throw new ConfigError([directUrl ? DIRECT_IS_POOLED : URL_IS_POOLED])
    await migrate(directUrl ?? url, join(root, 'prisma/migrations'))
    await setRoleDefaults(directUrl ?? url, { TimeZone: 'UTC' })
  })
  if (directUrl)
    await withDatabase('DATABASE_URL', async () => {
      await setRoleDefaults(url, ALL_SESSION_SETTINGS)
      const wrong = await findWrongSettings(url)
      if (wrong.length > 0) throw new ConfigError([`DATABASE_URL: ${STALE_SESSIONS}: ${wrong.join(', ')}`])
    })
  return { url, directUrl }
}

const WRONG_SEALING_KEY =
  'GUICHET_SEALING_KEY: cannot decrypt the data in this database; set the key that it was sealed with, or add that key to GUICHET_PREVIOUS_SEALING_KEYS'
const URL_IS_POOLED =
  'DATABASE_URL: leads to a pooler that shares sessions (PgBouncer in transaction or statement mode), where LISTEN and migrations do not work; set DATABASE_DIRECT_URL to PostgreSQL itself, or use session mode'
const DIRECT_IS_POOLED =
  'DATABASE_DIRECT_URL: leads to a pooler that shares sessions; it must lead to PostgreSQL itself, or to a pooler in session mode'
const STALE_SESSIONS =
  'the pooler has open sessions with other settings (run RECONNECT in its console), or overrides them'

async function startEmbeddedDatabase(config: Config): Promise<string> {
  const server = await startEmbeddedServer(config).catch((error: unknown) => {
    throw new ConfigError([`GUICHET_DATA_DIR: ${error instanceof Error ? error.message : errorTrace(error)}`])
  })
  // If it takes longer, it continues without this process.
  shutdownSteps.push({ name: 'embedded database', timeoutMs: 10_000, run: () => server.stop() })
  return server.url
}

const startEmbeddedServer = (config: Config): ReturnType<typeof startEmbeddedPostgres> =>
  startEmbeddedPostgres({
    dataDir: config.dataDir,
    randomness: systemRandomness,
    timers: systemTimers,
    print,
    onServerEvent(event, error) {
      if (event === 'LOST') log.error('database.exited')
      if (event === 'RESTARTED') log.warn('database.restarted')
      if (event !== 'GONE') return
      log.error('database.restart_failed', { trace: errorTrace(error) })
      void shutdown(1)
    },
  })

function printWorkerWelcome({ issuer, host }: Config, port: number, metricsUrl: string | undefined): void {
  print(`ready  ${issuer}  (worker)

  Health         ${localOrigin(host, port)}/readyz
  Metrics        ${metricsUrl}
  Work           outbox messages, webhook deliveries, polls of banks, certification runs, scheduled jobs

Ctrl-C or SIGTERM stops it after its work in progress.`)
}

function printWelcome(
  { issuer, role }: Config,
  addresses: SandboxAddresses | undefined,
  metricsUrl: string | undefined,
): void {
  const ready = `ready  ${issuer}  (${role === 'all' ? 'gateway and worker' : role})`
  if (!addresses) return void print(ready)
  print(`${ready}

  API            ${issuer}/graphql
  Explorer       ${issuer}/explorer
  Dashboard      ${issuer}/sharing
  Metrics        ${metricsUrl}
  Banks          ${Object.entries(addresses.banks)
    .map(([id, url]) => `${id} ${url}`)
    .join('   ')}

Try, in another terminal:
  npx guichet query '{ customer { accounts { nodes { displayName maskedNumber bank { name } balances { ... on ExactBalance { value { amount currency } } ... on BalanceBand { lowerBound { amount } upperBound { amount currency } } ... on BalanceUnavailable { reason { code } } } } } } }' --customer ada
  npx guichet sandbox alert --bank northbank --customer ada --type UNUSUAL_ACTIVITY_REVIEW
  npx guichet alerts deliveries`)
}

// A failure that nobody awaits must not end the process and with it all other requests.
process.on('unhandledRejection', (error) => log.error('process.unhandled_rejection', { trace: errorTrace(error) }))

// Node would print the message, which can contain input. The state of the process is unknown, so it stops, with the database
// and the sandbox banks.
process.on('uncaughtException', (error) => {
  log.error('process.uncaught_exception', { trace: errorTrace(error) })
  void shutdown(1)
})

// If stdout or stderr is closed or the disk is full, only log lines are lost.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined)

// SIGHUP: the terminal was closed.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
  process.on(signal, () => {
    if (shutdownPromise) process.exit(130)
    void shutdown(0)
  })

try {
  const removed = removeDriverVariables(process.env)
  if (removed.length > 0) print(`${removed.join(', ')} ignored: set DATABASE_URL instead`)
  await start(readConfig(process.env))
} catch (error) {
  process.stderr.write(`${startErrorMessage(error)}\n`)
  await shutdown(1)
}

/** Why the start failed. Internal messages are for operators, so they are shown. */
function startErrorMessage(error: unknown): string {
  if (error instanceof GatewayError && error.internalMessage) return error.internalMessage
  return error instanceof Error ? error.message : errorTrace(error)
}
