import { fork, type ChildProcess } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError, type Config } from './config.ts'
import type { ShutdownStep } from './kernel/shutdown.ts'
import type { SandboxAddresses } from './seed.ts'
import { listenFault } from './start-problems.ts'

/** The sandbox banks in the order of their ports. */
const BANKS = ['northbank', 'rheinbank', 'eastbank', 'westbank', 'lakebank', 'southbank'] as const
const PLATFORM = 'platform'
const HOST = '127.0.0.1'
/** Where the banks' ports begin if `GUICHET_SANDBOX_PORT` is not set: so far from `PORT`, so that no two gateways share them. */
const FROM_PORT = 101
const LAST_PORT = 65_535
/** Where banks listen that somebody else runs. */
const REMOTE_PORT = 4_101

type Ports = Readonly<Record<string, number>>

/** Where the sandbox banks are, and the step that ends those that are ours. */
export interface RunningBanks {
  readonly addresses: SandboxAddresses
  readonly stop?: ShutdownStep
}

/** What keeps the sandbox banks of this gateway from listening: each port that is taken, or that is not theirs. */
export async function sandboxProblems(config: Config): Promise<string[]> {
  if (config.sandboxMode !== 'ON') return []
  const before = portsOfBefore(config.dataDir)
  const { sandboxPort } = config
  if (before && sandboxPort !== undefined && sandboxPort !== 0 && sandboxPort !== before[BANKS[0]])
    return [
      `GUICHET_SANDBOX_PORT: the banks of this data folder are registered at ${before[BANKS[0]]} and on; take the setting away, or set another GUICHET_DATA_DIR`,
    ]
  const ports = Object.values(portsOf(config)).filter((port) => port !== 0)
  if (ports.includes(config.port)) return [`GUICHET_SANDBOX_PORT: PORT is one of its seven ports; set another`]
  const faults = await Promise.all(ports.map((port) => listenFault(HOST, port)))
  const taken = ports.filter((_port, index) => faults[index] !== undefined)
  if (taken.length === 0) return []
  const wayOut = before
    ? 'the banks of this data folder are registered there; stop what listens there, or set another GUICHET_DATA_DIR'
    : 'stop what listens there, such as another sandbox, or set the first of seven free ports'
  return [
    `GUICHET_SANDBOX_PORT: ${taken.join(', ')} of ${Math.min(...ports)} to ${Math.max(...ports)} in use; ${wayOut}`,
  ]
}

/** Finds the banks that somebody else runs, or starts our own as a process that ends with this one, however this one ends. */
export async function openSandboxBanks(config: Config): Promise<RunningBanks> {
  const ports = portsOf(config)
  if (config.sandboxMode === 'REMOTE') {
    const at = (port: number): string => `http://${HOST}:${port}`
    const banks = Object.fromEntries(BANKS.map((bank) => [bank, at(ports[bank]!)]))
    return { addresses: { banks, platform: at(ports[PLATFORM]!) } }
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
        new ConfigError([`GUICHET_SANDBOX_PORT: the sandbox banks ended with ${code}; are their ports still free?`]),
      ),
    )
  })
  return { addresses, stop: { name: 'sandbox banks', timeoutMs: 3_000, run: stop } }
}

/** The port of each bank and of the platform, 0 for any. Those of before stay: that is where the database knows them. */
function portsOf({ dataDir, sandboxMode, sandboxPort, port }: Config): Ports {
  const before = sandboxMode === 'ON' ? portsOfBefore(dataDir) : undefined
  const first = sandboxPort ?? (sandboxMode === 'REMOTE' ? REMOTE_PORT : besides(port))
  return Object.fromEntries(
    [...BANKS, PLATFORM].map((name, index) => [name, before?.[name] ?? (first === 0 ? 0 : first + index)]),
  )
}

/** The first of seven ports that belong to a gateway on `port`. */
const besides = (port: number): number =>
  port === 0 ? 0 : port + FROM_PORT + BANKS.length > LAST_PORT ? port - FROM_PORT : port + FROM_PORT

function portsOfBefore(dataDir: string): Ports | undefined {
  const file = join(dataDir, 'sandbox.json')
  if (!existsSync(file)) return undefined
  const { banks, platform } = JSON.parse(readFileSync(file, 'utf8')) as SandboxAddresses
  return Object.fromEntries(
    Object.entries({ ...banks, [PLATFORM]: platform }).map(([name, url]) => [name, Number(new URL(url).port)]),
  )
}
