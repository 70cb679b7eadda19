import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { digest, type Randomness } from '../kernel/ids.ts'
import { adopt, run, start, type Home } from './embedded-server.ts'
import { makeFolder } from './folders.ts'
import { canEnter, copyForEveryAccount, packagedBinaries, unprivilegedAccount } from './postgres-binaries.ts'
import { openSession } from './session.ts'

/** A PostgreSQL server that this process started or found running, and the one address of its database. */
export interface EmbeddedPostgres {
  readonly url: string
  /** Stops the server, waiting for it; the data stays. */
  stop(): Promise<void>
}

/** Where the database lives, and how to tell people what is unusual. */
export interface EmbeddedPostgresOptions {
  readonly dataDir: string
  readonly randomness: Randomness
  /** Told, in one line for a person, what is out of the ordinary. */
  readonly say: (line: string) => void
  /** Told when the server ends without having been stopped, and what came of starting it again. */
  readonly onLost?: (what: 'LOST' | 'RESTARTED' | 'GONE', error?: unknown) => void
}

/** Held for as long as a gateway lives; a server whose lock is free was left behind by one that was killed. */
const GATEWAY_LOCK = 72_707_370
const DATABASE = 'guichet'
/** SQLSTATE cannot_connect_now: the server starts, recovers or stops. */
const IS_STARTING = '57P03'
const RECOVERY_MS = 30_000
const RECOVERY_PAUSE_MS = 100
/** Where files of PostgreSQL go that must be reached by its own account. */
const OWN_ROOT = '/var/lib/guichet'

/**
 * Starts real PostgreSQL in `dataDir`, creating it on the first use and adopting a server that an earlier kill left
 * running. As root the server runs as an unprivileged account. Throws where another gateway holds the same folder.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const home = await prepareHome(options)
  await initialise(home)
  const port = adopt(home) ?? (await start(home))
  const url = (database: string) => `postgresql://guichet:${home.password}@127.0.0.1:${port}/${database}`

  const life = { isStopping: false }
  const isStopping = (): boolean => life.isStopping
  let lock = await hold(url('postgres'), options.dataDir)
  const existing = await lock.query('select 1 from pg_database where datname = $1', [DATABASE])
  if (existing.rowCount === 0) await lock.query(`create database ${DATABASE}`)

  /** A server that ended, however it did, is started again where everybody looks for it. */
  async function startAgain(): Promise<void> {
    if (isStopping()) return
    options.onLost?.('LOST')
    try {
      const found = adopt(home)
      if (found === undefined) await start(home, port)
      else if (found !== port) throw new Error(`another gateway is running on ${options.dataDir}`)
      lock = await hold(url('postgres'), options.dataDir)
      watch()
      options.onLost?.('RESTARTED')
    } catch (error) {
      if (!isStopping()) options.onLost?.('GONE', error)
    }
  }
  const watch = (): void => void lock.once('end', () => void startAgain())
  watch()

  return {
    url: url(DATABASE),
    async stop() {
      life.isStopping = true
      await lock.end()
      await run(home, 'pg_ctl', ['stop', '-D', home.cluster, '-m', 'fast', '-w', '-t', '20'])
    },
  }
}

/** Takes the lock of a gateway on this folder, for as long as the session lives. Waits for a server that recovers. */
async function hold(url: string, dataDir: string): Promise<pg.Client> {
  const session = await openWhenReady(url)
  const { rows } = await session.query<{ free: boolean }>(`select pg_try_advisory_lock(${GATEWAY_LOCK}) as free`)
  if (rows[0]?.free) return session
  await session.end()
  throw new Error(`another gateway is running on ${dataDir}`)
}

async function openWhenReady(url: string, untilMs = performance.now() + RECOVERY_MS): Promise<pg.Client> {
  try {
    return await openSession(url)
  } catch (error) {
    if ((error as { code?: unknown }).code !== IS_STARTING || performance.now() > untilMs) throw error
    await sleep(RECOVERY_PAUSE_MS)
    return openWhenReady(url, untilMs)
  }
}

/** The address of the database of a gateway that runs on `dataDir`; nothing where none runs. Starts and changes nothing. */
export async function runningEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<string | undefined> {
  if (!existsSync(join(options.dataDir, 'postgresql-password'))) return undefined
  const home = await prepareHome(options)
  const port = adopt(home)
  return port === undefined ? undefined : `postgresql://guichet:${home.password}@127.0.0.1:${port}/${DATABASE}`
}

/** Whether another gateway runs on `dataDir` with its own embedded database. Starts and changes nothing. */
export async function isFolderHeld(options: EmbeddedPostgresOptions): Promise<boolean> {
  if ((await runningEmbeddedPostgres(options)) === undefined) return false
  const home = await prepareHome(options)
  const session = await openSession(`postgresql://guichet:${home.password}@127.0.0.1:${adopt(home)}/postgres`).catch(
    () => undefined,
  )
  const found = await session?.query<{ free: boolean }>(`select pg_try_advisory_lock(${GATEWAY_LOCK}) as free`)
  await session?.end()
  return found?.rows[0]?.free === false
}

async function prepareHome({ dataDir, randomness, say }: EmbeddedPostgresOptions): Promise<Home> {
  makeFolder(dataDir, 0o711)
  const account = unprivilegedAccount()
  let bin = await packagedBinaries()
  let folder = dataDir
  if (account && !(canEnter(account, realpathSync(bin)) && canEnter(account, realpathSync(dataDir)))) {
    folder = join(OWN_ROOT, digest(dataDir).slice(0, 16))
    const copy = join(OWN_ROOT, `postgresql-${digest(bin).slice(0, 16)}`)
    say(`PostgreSQL may not run as root and cannot enter ${dataDir}: its files are in ${folder}`)
    // All of it is ours, and an earlier start may have made it under a umask that closed it.
    for (const path of [OWN_ROOT, folder]) {
      makeFolder(path, 0o755)
      chmodSync(path, 0o755)
    }
    copyForEveryAccount(dirname(bin), copy)
    bin = join(copy, 'bin')
  }
  // initdb hands its own path to a shell, within double quotes.
  if (process.platform !== 'win32' && /["$`\\]/.test(bin))
    throw new Error(
      `PostgreSQL cannot run from ${bin}: move this folder to a path without " $ \` \\, or set DATABASE_URL`,
    )
  const cluster = join(folder, 'postgresql')
  if (!existsSync(cluster)) mkdirSync(cluster, { mode: 0o700 })
  if (account) chownSync(cluster, account.uid, account.gid)
  const passwordFile = join(dataDir, 'postgresql-password')
  if (!existsSync(passwordFile)) writeFileSync(passwordFile, randomness.bytes(24).toString('hex'), { mode: 0o600 })
  return { bin, cluster, logFile: join(cluster, 'server.log'), password: readFileSync(passwordFile, 'utf8'), account }
}

async function initialise(home: Home): Promise<void> {
  if (existsSync(join(home.cluster, 'global/pg_control'))) return
  // A first start that was killed half-way leaves a folder that initdb refuses.
  rmSync(home.cluster, { recursive: true, force: true })
  mkdirSync(home.cluster, { mode: 0o700 })
  const passwordFile = join(home.cluster, '..', `.initdb-${process.pid}`)
  writeFileSync(passwordFile, home.password, { mode: 0o600 })
  if (home.account) {
    chownSync(home.cluster, home.account.uid, home.account.gid)
    chownSync(passwordFile, home.account.uid, home.account.gid)
  }
  try {
    await run(home, 'initdb', [
      '-D',
      home.cluster,
      '-U',
      'guichet',
      '-A',
      'scram-sha-256',
      '--pwfile',
      passwordFile,
      '-E',
      'UTF8',
      '--locale',
      'C',
      '--no-instructions',
    ])
  } finally {
    rmSync(passwordFile, { force: true })
  }
}
