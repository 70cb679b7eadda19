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
import type { Timers } from '../kernel/clock.ts'
import { EMBEDDED_START_RETRIES, RETRIES } from '../kernel/retry.ts'

/** The files, password and account of an embedded server, and the timers to wait for it. `cluster` is its data directory. */
export interface ServerInstance {
  readonly bin: string
  readonly cluster: string
  readonly logFile: string
  readonly password: string
  readonly account: { uid: number; gid: number } | undefined
  readonly timers: Timers
}

const READY_TIMEOUT_MS = RETRIES.embeddedReady.timeoutMs
const READY_POLL_MS = RETRIES.embeddedReady.delaysMs[0]
/** The whole environment of PostgreSQL's programs, so that the machine's settings do not affect them. */
const ENVIRONMENT = { PATH: '/usr/bin:/bin', LC_ALL: 'C', TZ: 'UTC' }

/**
 * The port of a server that already runs on this cluster, or `undefined`. Removes a pid file whose process is gone or is not
 * the server of this cluster.
 */
export function adoptRunningServer(instance: ServerInstance): number | undefined {
  const pidFile = join(instance.cluster, 'postmaster.pid')
  if (!existsSync(pidFile)) return undefined
  const [pid, , , port] = readFileSync(pidFile, 'utf8').split('\n')
  if (isServerOf(instance.cluster, Number(pid)) && Number(port) > 0) return Number(port)
  rmSync(pidFile, { force: true })
  return undefined
}

/** Whether the process is the live PostgreSQL server of this cluster. The system may have reused its pid. */
function isServerOf(cluster: string, pid: number): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false
  if (process.platform === 'win32') return isAlive(pid)
  const realCluster = realpathSync(cluster)
  if (process.platform !== 'linux') return commandLineOf(pid).includes(` -D ${cluster} `)
  // A zombie process has no command line.
  const [program = '', ...args] = tryOrUndefined(() => readFileSync(`/proc/${pid}/cmdline`, 'utf8'))?.split('\0') ?? []
  if (basename(program) !== 'postgres') return false
  const dataDirectory = args[args.indexOf('-D') + 1] ?? ''
  // The working directory, if readable, also identifies a server whose folder was moved.
  return (
    tryOrUndefined(() => readlinkSync(`/proc/${pid}/cwd`)) === realCluster ||
    tryOrUndefined(() => realpathSync(dataDirectory)) === realCluster
  )
}

function isAlive(pid: number): boolean {
  return tryOrUndefined(() => process.kill(pid, 0)) === true
}

/** The command line of a process on a machine without /proc, with a trailing space; blank if there is no such process. */
const commandLineOf = (pid: number): string =>
  `${spawnSync('ps', ['-ww', '-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).stdout.trim()} `

function tryOrUndefined<T>(work: () => T): T | undefined {
  try {
    return work()
  } catch {
    return undefined
  }
}

/** Settings that override those of the machine and of the cluster's own configuration. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '200',
  timezone: 'UTC',
  log_timezone: 'UTC',
  lc_messages: 'C',
  fsync: 'on',
  // Otherwise the log would hold failed statements, which can contain values.
  log_min_error_statement: 'panic',
  log_error_verbosity: 'terse',
  log_parameter_max_length_on_error: '0',
}

/** Starts the server on `fixedPort` or a free port and waits until it accepts connections. Returns the port. */
export async function startServer(instance: ServerInstance, fixedPort?: number): Promise<number> {
  const port = fixedPort ?? (await findFreePort())
  for (let retriesLeft = EMBEDDED_START_RETRIES; ; retriesLeft--) {
    try {
      await spawnServer(instance, port)
      return port
    } catch (error) {
      // Child processes of a killed server hold its shared memory a little longer.
      if (retriesLeft === 0) throw error
      await instance.timers.sleep(RETRIES.embeddedStart.delaysMs[0])
    }
  }
}

/** Spawns the server directly, because pg_ctl would pass the folder's name to a shell. It outlives this process and its terminal. */
async function spawnServer({ bin, cluster, logFile, account, timers }: ServerInstance, port: number): Promise<void> {
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
      await Promise.race([timers.sleep(READY_POLL_MS), failed])
    }
    server.unref()
  } finally {
    closeSync(log)
  }
}

/** Whether the server with this pid accepts connections, according to its pid file. */
function isReady(cluster: string, pid: number | undefined): boolean {
  const file = join(cluster, 'postmaster.pid')
  const lines = existsSync(file) ? readFileSync(file, 'utf8').split('\n') : []
  return Number(lines[0]) === pid && lines[7]?.trim() === 'ready'
}

/** The end of a log file, or nothing: the folder of a server that has ended may be deleted. */
const tailOf = (file: string): string =>
  tryOrUndefined(() => readFileSync(file, 'utf8'))
    ?.trim()
    .slice(-2_000) ?? ''

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

/** Runs one of PostgreSQL's programs. Throws with the end of its error output if it fails. */
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
    // stdout is not inherited: the server outlives pg_ctl and would keep it open.
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
