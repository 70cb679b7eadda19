import { spawn, spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fchmodSync,
  fchownSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  rmSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

/** A data folder of PostgreSQL with what runs on it, and as whom. */
export interface ServerInstance {
  readonly bin: string
  readonly cluster: string
  readonly logFile: string
  readonly password: string
  readonly account: { uid: number; gid: number } | undefined
}

const START_RETRIES = 8
const START_RETRY_DELAY_MS = 400
const READY_TIMEOUT_MS = 30_000
const READY_POLL_MS = 20
/** All that PostgreSQL sees of this machine's settings. */
const ENVIRONMENT = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

/**
 * The port of a server that already runs on this cluster, if there is one. A pid file whose process is gone, or is by now
 * another program or the server of another folder, is removed.
 */
export function adoptRunningServer(instance: ServerInstance): number | undefined {
  const pidFile = join(instance.cluster, 'postmaster.pid')
  if (!existsSync(pidFile)) return undefined
  const [pid, , , port] = readFileSync(pidFile, 'utf8').split('\n')
  if (isServerOf(instance.cluster, Number(pid)) && Number(port) > 0) return Number(port)
  rmSync(pidFile, { force: true })
  return undefined
}

/** Whether the process is the live PostgreSQL server of this cluster. Its number may have gone to any other. */
function isServerOf(cluster: string, pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  if (process.platform === 'win32') return isAlive(pid)
  const realCluster = realpathSync(cluster)
  if (process.platform !== 'linux') return commandLineOf(pid).includes(` -D ${cluster} `)
  // One that was killed and not yet collected has no command line.
  const [program = '', ...args] = tryOrUndefined(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.split('\0') ?? []
  if (basename(program) !== 'postgres') return false
  const dataDirectory = args[args.indexOf('-D') + 1] ?? ''
  // The folder that it works in, where it may be seen, also tells one whose folder was moved.
  return (
    tryOrUndefined(() => readlinkSync(`/proc/${pid}/cwd`)) === realCluster ||
    tryOrUndefined(() => realpathSync(dataDirectory)) === realCluster
  )
}

function isAlive(pid: number): boolean {
  return tryOrUndefined(() => process.kill(pid, 0)) === true
}

/** The command line of a process on a machine without /proc; empty where there is no such process. */
const commandLineOf = (pid: number): string =>
  `${spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()} `

function tryOrUndefined<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

/** What neither the machine nor the folder's own configuration may decide. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  fsync: 'on',
  // The log holds statements of failed queries otherwise, and those hold values.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_parameter_max_length_on_error: '0',
}

/** Starts the server on `given` or a free port of this machine, which it returns, and waits until it takes connections. */
export async function startServer(instance: ServerInstance, fixedPort?: number): Promise<number> {
  const port = fixedPort ?? (await findFreePort())
  for (let retriesLeft = START_RETRIES; ; retriesLeft--) {
    try {
      await spawnServer(instance, port)
      return port
    } catch (error) {
      // The children of a server that was killed hold its memory for a moment longer.
      if (retriesLeft === 0) throw error
      await sleep(START_RETRY_DELAY_MS)
    }
  }
}

/** Runs the server itself: pg_ctl would hand the folder's name to a shell. It outlives this process and its terminal. */
async function spawnServer({ bin, cluster, logFile, account }: ServerInstance, port: number): Promise<void> {
  const log = openSync(logFile, 'a', 0o600)
  try {
    fchmodSync(log, 0o600)
    if (account) fchownSync(log, account.uid, account.gid)
    const settings = Object.entries({ ...SETTINGS, port }).flatMap(([name, value]) => ['-c', `${name}=${value}`])
    const server = spawn(join(bin, 'postgres'), ['-D', cluster, ...settings], {
      ...account,
      cwd: '/',
      env: ENVIRONMENT,
      detached: true,
      stdio: ['ignore', log, log],
    })
    const failed = new Promise<never>((_, reject) => {
      server.once('error', reject)
      server.once('exit', (code) => reject(new Error(`postgres ended with ${code}: ${tailOf(logFile)}`)))
    })
    failed.catch(() => undefined)
    for (let waitedMs = 0; !isReady(cluster, server.pid); waitedMs += READY_POLL_MS) {
      if (waitedMs > READY_TIMEOUT_MS) {
        server.kill('SIGQUIT')
        throw new Error(`postgres is not ready after ${READY_TIMEOUT_MS / 1_000} s: ${tailOf(logFile)}`)
      }
      await Promise.race([sleep(READY_POLL_MS), failed])
    }
    server.unref()
  } finally {
    closeSync(log)
  }
}

/** Whether the server with this number takes connections, by what it says in its own file. */
function isReady(cluster: string, pid: number | undefined): boolean {
  const file = join(cluster, 'postmaster.pid')
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

const tailOf = (file: string): string => readFileSync(file, 'utf8').trim().slice(-2_000)

function findFreePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const probe = createServer()
    probe.once('error', reject)
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address()
      probe.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
    })
  })
}

/** Runs one of PostgreSQL's own programs; throws with the end of what it said. */
export async function runProgram(instance: ServerInstance, program: string, args: string[]): Promise<void> {
  const { code, stderr } = await execute(join(instance.bin, program), args, { ...instance.account, cwd: '/' })
  if (code !== 0) throw new Error(`${program} failed (${code}): ${stderr.trim().slice(-2_000)}`)
}

interface ProcessResult {
  code: number | null
  stderr: string
}

function execute(
  file: string,
  args: string[],
  options: { uid?: number; gid?: number; cwd: string },
): Promise<ProcessResult> {
  return new Promise((resolve, reject) => {
    // The server outlives pg_ctl and would hold an inherited stdout open, so only stderr is read.
    const child = spawn(file, args, {
      ...options,
      stdio: ['ignore', 'ignore', 'pipe'],
      env: ENVIRONMENT,
    })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (chunk: string) => (stderr += chunk))
    child.once('error', reject)
    child.once('exit', (code) => resolve({ code, stderr }))
  })
}
