import { execFileSync, spawn, type ChildProcess, type StdioOptions } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import pg from 'pg'
import { inject } from 'vitest'
import { freePort, isFree } from './ports.ts'

const root = join(import.meta.dirname, '../..')

export interface GatewayProcess {
  readonly issuer: string
  readonly output: () => string
  readonly child: ChildProcess
  /** Sends the signal and waits for the end; returns the exit code, `null` where a signal ended it. */
  stop(signal: NodeJS.Signals): Promise<number | null>
}

export interface GatewayPlace {
  readonly dataDir: string
  readonly port: number
  readonly sandboxPort: number
}

/** A place for a gateway process: a data folder and ports that are free now and stay its own over a restart. */
export const newPlace = async (dataDir: string): Promise<GatewayPlace> => ({
  dataDir,
  port: await freePort(),
  sandboxPort: await freePort(7),
})

/**
 * A place where a gateway has been started and stopped before, with its database and sandbox: the next start takes a third of
 * the processor time of a first one. Its ports are the same at each call, and its database does not survive a power failure.
 */
export async function usedPlace(dataDir: string): Promise<GatewayPlace> {
  const folder = join(inject('seededDir'), `place-${process.env['VITEST_POOL_ID'] ?? 0}`)
  const portsFile = `${folder}.json`
  if (!existsSync(portsFile)) {
    mkdirSync(folder, { recursive: true })
    const first = await newPlace(folder)
    const gateway = await startProcess(first)
    const database = new pg.Client({ connectionString: databaseUrl(first) })
    await database.connect()
    for (const setting of ['full_page_writes', 'synchronous_commit'])
      await database.query(`alter system set ${setting} = off`)
    await database.end()
    await gateway.stop('SIGTERM')
    writeFileSync(portsFile, JSON.stringify({ port: first.port, sandboxPort: first.sandboxPort }))
  }
  const ports = JSON.parse(readFileSync(portsFile, 'utf8')) as Omit<GatewayPlace, 'dataDir'>
  const all = [ports.port, ...Array.from({ length: 7 }, (_, index) => ports.sandboxPort + index)]
  if (!(await Promise.all(all.map(isFree))).every(Boolean)) return newPlace(dataDir)
  // PostgreSQL's own account owns its files and must be able to reach them.
  execFileSync('cp', ['-a', `${folder}/.`, dataDir])
  chmodSync(dataDir, 0o711)
  return { dataDir, ...ports }
}

/**
 * Starts `npm start`'s command, or another script, as its own process and waits for `ready`, or for `/readyz` where `stdio` leads elsewhere;
 * rejects with its output where it ends first.
 */
export function startProcess(
  { dataDir, port, sandboxPort }: GatewayPlace,
  env: Record<string, string> = {},
  umask = '022',
  stdio: StdioOptions = ['ignore', 'pipe', 'pipe'],
  script: readonly string[] = ['src/main.ts'],
): Promise<GatewayProcess> {
  const { DATABASE_URL: _database, ...inherited } = process.env
  const command = ['-c', `umask ${umask}; exec "$0" "$@"`, process.execPath, ...script]
  const child = spawn('/bin/sh', command, {
    cwd: root,
    env: {
      ...inherited,
      PORT: String(port),
      GUICHET_SANDBOX_PORT: String(sandboxPort),
      GUICHET_DATA_DIR: dataDir,
      GUICHET_DRAIN_SECONDS: '0',
      // The usual port is only for tests that are about it.
      METRICS_PORT: '0',
      ...env,
    },
    stdio,
  })
  let output = ''
  const ended = new Promise<number | null>((resolve) =>
    child.once('exit', (code) => void readRest().then(() => resolve(code))),
  )
  const gateway: GatewayProcess = {
    // Its own address, also where everybody else reaches it through a proxy.
    issuer: `http://${env['HOST'] === '::1' ? '[::1]' : '127.0.0.1'}:${port}`,
    output: () => output,
    child,
    stop(signal) {
      child.kill(signal)
      return ended
    },
  }
  return new Promise((resolve, reject) => {
    const onText = (chunk: string) => {
      output += chunk
      if (output.includes('ready  http')) resolve(gateway)
    }
    child.stdout?.setEncoding('utf8').on('data', onText)
    child.stderr?.setEncoding('utf8').on('data', onText)
    if (!child.stdout) void untilReady(gateway).then(() => resolve(gateway))
    void ended.then((code) => reject(new Error(`ended with ${code}: ${output}`)))
  })
}

/** What a process wrote last is read some turns of the event loop after its end. Its pipes may stay open in other processes. */
async function readRest(): Promise<void> {
  for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
}

/** Of a process whose output nobody sees. */
async function untilReady({ issuer, child }: GatewayProcess): Promise<void> {
  while (child.exitCode === null) {
    if ((await fetch(`${issuer}/readyz`).catch(() => undefined))?.ok) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

/** The command lines of every process whose environment names the data folder, or whose command line names a path in it. */
export function processesOf(dataDir: string): string[] {
  const found: string[] = []
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (Number(pid) === process.pid) continue
    try {
      const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
      const environment = readFileSync(`/proc/${pid}/environ`, 'utf8')
      if (command.includes(`${dataDir}/`) || environment.includes(`GUICHET_DATA_DIR=${dataDir}\0`))
        found.push(command.trim())
    } catch {
      // Ended while we looked, or belongs to somebody else.
    }
  }
  return found
}

/** The embedded database of a gateway that runs at this place, for looking behind its back. */
export function databaseUrl({ dataDir }: GatewayPlace): string {
  const password = readFileSync(join(dataDir, 'postgresql-password'), 'utf8')
  const port = readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[3]
  return `postgresql://guichet:${password}@127.0.0.1:${port}/guichet`
}
