#!/usr/bin/env node
import { join } from 'node:path'
import { createApp, type App } from './app.ts'
import { ConfigError, readConfig, removeDriverVariables, type Config } from './config.ts'
import { administrationNotice } from './enrolment.ts'
import { CLOCK_TOLERANCE_S, SECOND_MS } from './kernel/clock.ts'
import { GatewayError } from './kernel/errors.ts'
import { systemRandomness } from './kernel/ids.ts'
import { createLog, traceOf } from './kernel/log.ts'
import { createOutboundHttp } from './kernel/outbound-http.ts'
import { realWorld, type World } from './kernel/world.ts'
import { stopInSteps, type StopStep } from './kernel/stop.ts'
import { productionProblems } from './production.ts'
import type { SandboxAddresses } from './seed.ts'
import { listenProblem, startProblems, withDatabase } from './start-problems.ts'
import { clockProblem, createClockWatch } from './storage/clock-watch.ts'
import { openDatabase, type Database, type DatabaseUrls } from './storage/database.ts'
import { isFolderHeld, startEmbeddedPostgres } from './storage/embedded-postgres.ts'
import { migrate } from './storage/migrate.ts'
import { UnknownKeyError } from './storage/seal.ts'
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
  const sandbox = config.sandbox === 'OFF' ? undefined : await sandboxModules()
  await refuseToStart(config, sandbox)

  const database = openDatabase(await databaseOf(config))
  undo.push({ name: 'database', withinMs: 3_000, run: () => database.close() })

  await refuseForeignTime(database, world)

  const banks = await sandbox?.openSandboxBanks(config)
  if (banks?.stop) undo.push(banks.stop)
  const app: App = await createApp(config, world, database).catch((error: unknown) => {
    throw error instanceof UnknownKeyError ? new ConfigError([OTHER_KEY]) : error
  })
  undo.push({
    name: 'app',
    withinMs: 21_000,
    run: async () => {
      if (!(await app.stop())) throw new Error('a step of the stop was abandoned')
    },
  })
  const problems = config.profile === 'production' ? await productionProblems(app, world.http) : []
  if (problems.length > 0) throw new ConfigError(problems)
  const port = await app
    .start(async () => {
      // The sandbox banks are certified like any others, and part of that is that their events arrive here.
      if (sandbox && banks && config.role !== 'worker')
        await database.exclusively('seed', () =>
          sandbox.seedSandbox({ app, http: world.http, dataDir: config.dataDir, addresses: banks.addresses }),
        )
    })
    .catch((error: unknown) => {
      const problem = listenProblem(error, config.host, config.port)
      throw problem === undefined ? error : new ConfigError([problem])
    })
  const notice = config.role === 'worker' ? undefined : await administrationNotice(app, config, log)
  if (notice !== undefined) say(notice)
  log.info('started', { port })
  welcome(config, banks?.addresses, app.metricsUrl())
}

/** The sandbox is not in a production image, and nothing of it is loaded where it is not wanted. */
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
      'GUICHET_PROFILE: these files were built for production and hold no sandbox; set production, or GUICHET_SANDBOX_BANKS=off',
    ])
  }
}

/** Throws `ConfigError` with all that this machine lacks for these settings, before anything is started. */
async function refuseToStart(
  config: Config,
  sandbox: Awaited<ReturnType<typeof sandboxModules>> | undefined,
): Promise<void> {
  const { dataDir } = config
  const isHeld =
    !config.databaseUrl && (await isFolderHeld({ dataDir, randomness: systemRandomness, say: () => undefined }))
  const problems = [
    ...(isHeld ? [`GUICHET_DATA_DIR: another gateway is running on ${dataDir}; stop it, or set another folder`] : []),
    ...(await startProblems(config)),
    ...(isHeld ? [] : ((await sandbox?.sandboxProblems(config)) ?? [])),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
}

/** Tokens and proofs are checked by this process's clock, and claims go by the database's. */
async function refuseForeignTime(database: Database, world: World): Promise<void> {
  const toleranceMs = CLOCK_TOLERANCE_S * SECOND_MS
  const offsetMs = await createClockWatch({ database, world, toleranceMs }).offsetMs()
  if (Math.abs(offsetMs) > toleranceMs) throw new ConfigError([clockProblem(offsetMs)])
}

/** The database, migrated, and safe to use from where we are. */
async function databaseOf(config: Config): Promise<DatabaseUrls> {
  const url = config.databaseUrl ?? (await embedded(config))
  const directUrl = config.databaseDirectUrl
  await withDatabase(directUrl ? 'DATABASE_DIRECT_URL' : 'DATABASE_URL', async () => {
    if (await sharesSessions(directUrl ?? url)) throw new ConfigError([directUrl ? DIRECT_IS_POOLED : URL_IS_POOLED])
    await migrate(directUrl ?? url, join(root, 'prisma/migrations'))
    await setRoleDefaults(directUrl ?? url, { TimeZone: 'UTC' })
  })
  if (directUrl)
    await withDatabase('DATABASE_URL', async () => {
      await setRoleDefaults(url, ALL_SETTINGS)
      const wrong = await wrongSettings(url)
      if (wrong.length > 0) throw new ConfigError([`DATABASE_URL: ${STALE_SESSIONS}: ${wrong.join(', ')}`])
    })
  return { url, directUrl }
}

const OTHER_KEY =
  'GUICHET_SEALING_KEY: does not open what this database holds; set the key that it was sealed with, or name that one in GUICHET_SEALING_KEYS_BEFORE'
const URL_IS_POOLED =
  'DATABASE_URL: leads to a pooler that shares sessions (PgBouncer in transaction or statement mode), where LISTEN and migrations cannot work: set DATABASE_DIRECT_URL to PostgreSQL itself, or use session mode'
const DIRECT_IS_POOLED =
  'DATABASE_DIRECT_URL: leads to a pooler that shares sessions; it must lead to PostgreSQL itself, or to a pooler in session mode'
const STALE_SESSIONS =
  'the pooler holds sessions that were opened before with other settings (in its console: RECONNECT), or sets them itself'

async function embedded(config: Config): Promise<string> {
  const server = await embeddedServer(config).catch((error: unknown) => {
    throw new ConfigError([`GUICHET_DATA_DIR: ${error instanceof Error ? error.message : traceOf(error)}`])
  })
  // Goes on by itself where it takes longer.
  undo.push({ name: 'embedded database', withinMs: 10_000, run: () => server.stop() })
  return server.url
}

const embeddedServer = (config: Config): ReturnType<typeof startEmbeddedPostgres> =>
  startEmbeddedPostgres({
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
  npx guichet query '{ customer { accounts { nodes { displayName maskedNumber bank { name } balances { ... on ExactBalance { amount currency } ... on BalanceBand { from to currency } ... on BalanceUnavailable { reason } } } } } }' --customer ada
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
