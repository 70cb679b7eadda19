import { fork, type ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, type Config } from './config.ts'
import type { ShutdownStep } from './kernel/shutdown.ts'
import type { SandboxAddresses } from './seed.ts'
import { tryListen } from './start-problems.ts'

/** The sandbox banks in the order of their ports. */
const BANKS = ['northbank', 'rheinbank', 'eastbank', 'westbank', 'lakebank', 'southbank'] as const
const PLATFORM = 'platform'
const HOST = '127.0.0.1'
/** The default distance of the first bank's port from `PORT`, so that several gateways on one machine do not share ports. */
const PORT_OFFSET = 101
const LAST_PORT = 65_535
/** The default first port of banks that run as a separate process (`GUICHET_SANDBOX_BANKS=remote`). */
const REMOTE_PORT = 4_101

type Ports = Readonly<Record<string, number>>

/** The addresses of the sandbox banks, and the step that stops those that this process started. */
export interface RunningBanks {
  readonly addresses: SandboxAddresses
  readonly stop?: ShutdownStep
}

/** Returns the problems that prevent this gateway's sandbox banks from listening on their ports. */
export async function sandboxProblems(config: Config): Promise<string[]> {
  if (config.sandboxMode !== 'ON') return []
  const savedPorts = readSavedPorts(config.dataDir)
  const { sandboxPort } = config
  if (savedPorts && sandboxPort !== undefined && sandboxPort !== 0 && sandboxPort !== savedPorts[BANKS[0]])
    return [
      `GUICHET_SANDBOX_PORT: the banks of this data folder are registered at port ${savedPorts[BANKS[0]]} and the following ports; remove the setting, or set another GUICHET_DATA_DIR`,
    ]
  const ports = Object.values(portsOf(config)).filter((port) => port !== 0)
  if (ports.includes(config.port))
    return [`GUICHET_SANDBOX_PORT: PORT is one of the seven ports from there on; set another port`]
  const errors = await Promise.all(ports.map((port) => tryListen(HOST, port)))
  const usedPorts = ports.filter((_port, index) => errors[index] !== undefined)
  if (usedPorts.length === 0) return []
  const remedy = savedPorts
    ? 'the banks of this data folder are registered there; stop the other process, or set another GUICHET_DATA_DIR'
    : 'stop the other process, such as another sandbox, or set the first of seven free ports'
  return [
    `GUICHET_SANDBOX_PORT: ports in use: ${usedPorts.join(', ')} (of ${Math.min(...ports)} to ${Math.max(...ports)}); ${remedy}`,
  ]
}

/** Returns the addresses of banks that run separately, or starts the banks in a child process that ends with this process. */
export async function openSandboxBanks(config: Config): Promise<RunningBanks> {
  const ports = portsOf(config)
  if (config.sandboxMode === 'REMOTE') {
    const originOf = (port: number): string => `http://${HOST}:${port}`
    const banks = Object.fromEntries(BANKS.map((bank) => [bank, originOf(ports[bank]!)]))
    return { addresses: { banks, platform: originOf(ports[PLATFORM]!) } }
  }
  const options = {
    host: HOST,
    ports,
    stateDir: join(config.dataDir, 'sandbox'),
    seed: 'guichet',
    canary: config.sandboxCanary,
  }
  const child: ChildProcess = fork(join(import.meta.dirname, 'sandbox/main.ts'), [JSON.stringify(options)], {
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  })
  const stop = (): Promise<void> =>
    new Promise((resolve) => {
      if (child.exitCode !== null) return void resolve()
      child.once('exit', () => resolve())
      child.disconnect()
    })
  const addresses = await new Promise<SandboxAddresses>((resolve, reject) => {
    child.once('message', (message) => resolve(message as SandboxAddresses))
    child.once('exit', (code) =>
      reject(
        new ConfigError([
          `GUICHET_SANDBOX_PORT: the sandbox banks stopped with exit code ${code}; check that their ports are free`,
        ]),
      ),
    )
  })
  return { addresses, stop: { name: 'sandbox banks', timeoutMs: 3_000, run: stop } }
}

/** The port of each bank and of the platform; 0 means any. Saved ports are reused, because the database has their addresses. */
function portsOf({ dataDir, sandboxMode, sandboxPort, port }: Config): Ports {
  const savedPorts = sandboxMode === 'ON' ? readSavedPorts(dataDir) : undefined
  const first = sandboxPort ?? (sandboxMode === 'REMOTE' ? REMOTE_PORT : defaultFirstPort(port))
  return Object.fromEntries(
    [...BANKS, PLATFORM].map((name, index) => [name, savedPorts?.[name] ?? (first === 0 ? 0 : first + index)]),
  )
}

/** The first of the seven ports for a gateway on `port`. */
const defaultFirstPort = (port: number): number =>
  port === 0 ? 0 : port + PORT_OFFSET + BANKS.length > LAST_PORT ? port - PORT_OFFSET : port + PORT_OFFSET

/** The ports of the last start with this data folder; undefined if there was none. */
function readSavedPorts(dataDir: string): Ports | undefined {
  const file = join(dataDir, 'sandbox.json')
  if (!existsSync(file)) return undefined
  const { banks, platform } = JSON.parse(readFileSync(file, 'utf8')) as SandboxAddresses
  return Object.fromEntries(
    Object.entries({ ...banks, [PLATFORM]: platform }).map(([name, url]) => [name, Number(new URL(url).port)]),
  )
}
