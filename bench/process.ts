import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

/** A server under measurement. */
export interface Server {
  readonly name: string
  readonly child: ChildProcess
  readonly port: number
  /** CPU seconds used so far, in user and kernel mode. */
  cpuS(): number
  /** Resident memory, in MiB. */
  rssMiB(): number
  /** From the start of the process until it printed the ready text, in milliseconds. */
  readonly readyAfterMs: number
  stop(): Promise<void>
}

const TICKS_PER_S = 100
const PAGE_BYTES = 4_096

/** CPU seconds of a process (Linux: /proc/PID/stat, fields 14 and 15). */
export function cpuSecondsOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S
}

/** CPU seconds of a PostgreSQL server: the postmaster, its running backends and those that have ended. */
export function postgresCpuSeconds(postmasterPid: number): number {
  const fields = readFileSync(`/proc/${postmasterPid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  const [user, system, endedUser, endedSystem] = fields.slice(11, 15).map(Number) as [number, number, number, number]
  return (user + system + endedUser + endedSystem) / TICKS_PER_S + childCpuSeconds(postmasterPid)
}

/** The parent of a process. */
export const parentPidOf = (pid: number): number =>
  Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')[1])

/** Starts to measure the peak of resident memory (Linux: /proc/PID/clear_refs). Returns a function that reads it, in MiB. */
export function measurePeakRssMiB(pid: number): () => number {
  writeFileSync(`/proc/${pid}/clear_refs`, '5')
  return () => Number(/^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]) / 1_024
}

/** CPU seconds of all running child processes of a parent, such as a PostgreSQL server's backends. */
export function childCpuSeconds(parentPid: number): number {
  let sum = 0
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name)))
    try {
      const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
      if (Number(fields[1]) === parentPid) sum += (Number(fields[11]) + Number(fields[12])) / TICKS_PER_S
    } catch {
      // The process ended in the meantime.
    }
  return sum
}

/** Starts a server and waits until it prints `readyText`. */
export async function startServer(
  name: string,
  port: number,
  args: readonly string[],
  env: Record<string, string> = {},
  readyText = 'ready',
): Promise<Server> {
  const startedAt = performance.now()
  const child = spawn(process.execPath, args, {
    env: { ...process.env, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise<void>((resolve, reject) => {
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => {
      output += chunk.toString()
      if (output.includes(readyText)) resolve()
    })
    child.once('exit', (code) => reject(new Error(`${name} exited with code ${String(code)}`)))
  })
  // If the benchmark ends early, its servers must stop, too: the next run needs their ports.
  process.once('exit', () => child.kill('SIGINT'))
  const readyAfterMs = performance.now() - startedAt
  const pid = child.pid!
  return {
    name,
    child,
    port,
    readyAfterMs,
    cpuS: () => cpuSecondsOf(pid),
    rssMiB: () => (Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1]) * PAGE_BYTES) / 2 ** 20,
    stop: () =>
      new Promise((resolve) => {
        if (child.exitCode !== null || child.signalCode !== null) return void resolve()
        child.once('exit', () => resolve())
        child.kill('SIGINT')
      }),
  }
}
