import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import type pg from 'pg'
import type { Timers } from '../kernel/clock.ts'
import { digest, type Randomness } from '../kernel/ids.ts'
import { RETRIES } from '../kernel/retry.ts'
import { adoptRunningServer, runProgram, startServer, type ServerInstance } from './embedded-server.ts'
import { createDirectory } from './directories.ts'
import { canTraverse, copyWorldReadable, findPackagedBinaries, findUnprivilegedAccount } from './postgres-binaries.ts'
import { openSession } from './session.ts'

/** A PostgreSQL server that this process started or adopted, with the URL of its database. */
export interface EmbeddedPostgres {
  readonly url: string
  /** Stops the server and waits until it has stopped. The data stays. */
  stop(): Promise<void>
}

/** The options of an embedded database. */
export interface EmbeddedPostgresOptions {
  readonly dataDir: string
  readonly randomness: Randomness
  readonly timers: Timers
  /** Receives notices for people, one line each. */
  readonly print: (line: string) => void
  /** Called when the server exits unexpectedly (LOST), and after the restart succeeded (RESTARTED) or failed (GONE). */
  readonly onServerEvent?: (event: 'LOST' | 'RESTARTED' | 'GONE', error?: unknown) => void
}

/** Held while a gateway runs. If the lock of a running server is free, its gateway was killed. */
const GATEWAY_LOCK_ID = 72_707_370
const DATABASE = 'guichet'
/** SQLSTATE cannot_connect_now: the server is starting, recovering or stopping. */
const CANNOT_CONNECT_NOW = '57P03'
/** For files that PostgreSQL's own account must be able to reach. */
const POSTGRES_ROOT = '/var/lib/guichet'

/**
 * Starts PostgreSQL in `dataDir`, creates its cluster on first use, and adopts a server that a killed gateway left running. If
 * this process is root, the server runs as an unprivileged account. Throws if another gateway uses the same folder.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const instance = await prepareInstance(options)
  await initializeCluster(instance)
  const port = adoptRunningServer(instance) ?? (await startServer(instance))
  const url = (database: string) => `postgresql://guichet:${instance.password}@127.0.0.1:${port}/${database}`

  const state = { isStopping: false }
  const isStopping = (): boolean => state.isStopping
  let lockSession = await acquireGatewayLock(url('postgres'), options)
  const existing = await lockSession.query('select 1 from pg_database where datname = $1', [DATABASE])
  if (existing.rowCount === 0) await lockSession.query(`create database ${DATABASE}`)

  /** Restarts the server on its port, which open pools keep using. */
  async function restart(): Promise<void> {
    if (isStopping()) return
    options.onServerEvent?.('LOST')
    try {
      const found = adoptRunningServer(instance)
      if (found === undefined) await startServer(instance, port)
      else if (found !== port) throw new Error(`another gateway is running on ${options.dataDir}`)
      lockSession = await acquireGatewayLock(url('postgres'), options)
      watchSession()
      options.onServerEvent?.('RESTARTED')
    } catch (error) {
      if (!isStopping()) options.onServerEvent?.('GONE', error)
    }
  }
  const watchSession = (): void => void lockSession.once('end', () => void restart())
  watchSession()

  return {
    url: url(DATABASE),
    async stop() {
      state.isStopping = true
      await lockSession.end()
      await runProgram(instance, 'pg_ctl', ['stop', '-D', instance.cluster, '-m', 'fast', '-w', '-t', '20'])
    },
  }
}

/** Takes the gateway lock of this folder, held by the returned session. Waits while the server recovers. */
async function acquireGatewayLock(url: string, { dataDir, timers }: EmbeddedPostgresOptions): Promise<pg.Client> {
  const session = await openWhenReady(url, timers)
  const { rows } = await session.query<{ free: boolean }>(`select pg_try_advisory_lock(${GATEWAY_LOCK_ID}) as free`)
  if (rows[0]?.free) return session
  await session.end()
  throw new Error(`another gateway is running on ${dataDir}`)
}

async function openWhenReady(
  url: string,
  timers: Timers,
  untilMs = timers.monotonicMs() + RETRIES.embeddedRecovery.timeoutMs,
): Promise<pg.Client> {
  try {
    return await openSession(url)
  } catch (error) {
    if ((error as { code?: unknown }).code !== CANNOT_CONNECT_NOW || timers.monotonicMs() > untilMs) throw error
    await timers.sleep(RETRIES.embeddedRecovery.delaysMs[0])
    return openWhenReady(url, timers, untilMs)
  }
}

/** The URL of the embedded database that runs on `dataDir`, or `undefined` if none runs. Starts nothing. */
export async function findRunningEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<string | undefined> {
  if (!existsSync(join(options.dataDir, 'postgresql-password'))) return undefined
  const instance = await prepareInstance(options)
  const port = adoptRunningServer(instance)
  return port === undefined ? undefined : `postgresql://guichet:${instance.password}@127.0.0.1:${port}/${DATABASE}`
}

/** Whether another gateway runs on `dataDir` with its embedded database. Starts nothing. */
export async function isDataDirLocked(options: EmbeddedPostgresOptions): Promise<boolean> {
  if ((await findRunningEmbeddedPostgres(options)) === undefined) return false
  const instance = await prepareInstance(options)
  const session = await openSession(
    `postgresql://guichet:${instance.password}@127.0.0.1:${adoptRunningServer(instance)}/postgres`,
  ).catch(() => undefined)
  const found = await session?.query<{ free: boolean }>(`select pg_try_advisory_lock(${GATEWAY_LOCK_ID}) as free`)
  await session?.end()
  return found?.rows[0]?.free === false
}

async function prepareInstance({
  dataDir,
  randomness,
  timers,
  print,
}: EmbeddedPostgresOptions): Promise<ServerInstance> {
  createDirectory(dataDir, 0o711)
  const account = findUnprivilegedAccount()
  let bin = await findPackagedBinaries()
  let folder = dataDir
  if (account && !(canTraverse(account, realpathSync(bin)) && canTraverse(account, realpathSync(dataDir)))) {
    folder = join(POSTGRES_ROOT, digest(dataDir).slice(0, 16))
    const copy = join(POSTGRES_ROOT, `postgresql-${digest(bin).slice(0, 16)}`)
    print(`PostgreSQL may not run as root and cannot enter ${dataDir}: its files are in ${folder}`)
    // Also for existing folders: an earlier start may have created them under a restrictive umask.
    for (const path of [POSTGRES_ROOT, folder]) {
      createDirectory(path, 0o755)
      chmodSync(path, 0o755)
    }
    copyWorldReadable(dirname(bin), copy)
    bin = join(copy, 'bin')
  }
  // initdb passes its own path to a shell, within double quotes.
  if (process.platform !== 'win32' && /["$`\\]/.test(bin))
    throw new Error(
      `PostgreSQL cannot run from ${bin}: move this folder to a path without " $ \` \\, or set DATABASE_URL`,
    )
  const cluster = join(folder, 'postgresql')
  if (!existsSync(cluster)) mkdirSync(cluster, { mode: 0o700 })
  if (account) chownSync(cluster, account.uid, account.gid)
  const passwordFile = join(dataDir, 'postgresql-password')
  if (!existsSync(passwordFile)) writeFileSync(passwordFile, randomness.bytes(24).toString('hex'), { mode: 0o600 })
  return {
    bin,
    cluster,
    logFile: join(cluster, 'server.log'),
    password: readFileSync(passwordFile, 'utf8'),
    account,
    timers,
  }
}

async function initializeCluster(instance: ServerInstance): Promise<void> {
  if (existsSync(join(instance.cluster, 'global/pg_control'))) return
  // If the first start was killed, it left a partial folder that initdb refuses.
  rmSync(instance.cluster, { recursive: true, force: true })
  mkdirSync(instance.cluster, { mode: 0o700 })
  const passwordFile = join(instance.cluster, '..', `.initdb-${process.pid}`)
  writeFileSync(passwordFile, instance.password, { mode: 0o600 })
  if (instance.account) {
    chownSync(instance.cluster, instance.account.uid, instance.account.gid)
    chownSync(passwordFile, instance.account.uid, instance.account.gid)
  }
  try {
    await runProgram(instance, 'initdb', [
      '-D',
      instance.cluster,
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
