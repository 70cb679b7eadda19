import { chmodSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import { eventually } from '../support/gateway.ts'
import { processesOf, startProcess, usedPlace, type GatewayPlace, type GatewayProcess } from '../support/process.ts'

const folders: string[] = []
const running: GatewayProcess[] = []
afterEach(async () => {
  for (const gateway of running.splice(0))
    if (gateway.child.exitCode === null && gateway.child.signalCode === null) await gateway.stop('SIGINT')
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

async function place(): Promise<GatewayPlace> {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-machine-'))
  chmodSync(folder, 0o711)
  folders.push(folder)
  return usedPlace(folder)
}

async function start(at: GatewayPlace, env: Record<string, string> = {}): Promise<GatewayProcess> {
  const gateway = await startProcess(at, { GUICHET_SANDBOX_BANKS: 'off', GUICHET_LOG_LEVEL: 'debug', ...env })
  running.push(gateway)
  return gateway
}

const statusOf = async (url: string): Promise<number> =>
  (await fetch(url, { headers: { connection: 'close' } }).catch(() => undefined))?.status ?? 0

/** Each of these is a line in the log. */
async function expectRequestsServed({ issuer }: GatewayProcess): Promise<void> {
  for (let request = 0; request < 5; request++) expect(await statusOf(`${issuer}/livez`)).toBe(200)
  expect(await statusOf(`${issuer}/readyz`)).toBe(200)
}

const postmasterOf = ({ dataDir }: GatewayPlace): number =>
  Number(readFileSync(join(dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0])

describe('a log reader that goes away', () => {
  test('if the log reader exits, the gateway and its sandbox banks continue, and a stop leaves no process', async () => {
    const at = await place()
    const gateway = await start(at, { GUICHET_SANDBOX_BANKS: 'on' })
    gateway.child.stdout!.destroy()
    gateway.child.stderr!.destroy()
    await expectRequestsServed(gateway)
    expect(await gateway.stop('SIGTERM')).toBe(0)
    expect(processesOf(at.dataDir)).toEqual([])
  })

  test('a missing log reader or a full disk loses only log lines', async () => {
    for (const stdio of [
      ['ignore', openSync('/dev/full', 'w'), openSync('/dev/full', 'w')],
      ['ignore', 'ignore', 'ignore'],
    ] as const) {
      const at = await place()
      const gateway = await startProcess(at, { GUICHET_SANDBOX_BANKS: 'off', GUICHET_LOG_LEVEL: 'debug' }, '022', [
        ...stdio,
      ])
      running.push(gateway)
      await expectRequestsServed(gateway)
      expect(await gateway.stop('SIGTERM')).toBe(0)
      expect(processesOf(at.dataDir)).toEqual([])
    }
  })
})

describe('an exception that nobody caught', () => {
  test('an uncaught exception ends the gateway and its database with code 1 and a log line', async () => {
    const at = await place()
    const throwing = `process.on('SIGUSR2', () => { setImmediate(() => { throw new Error('secret of a driver') }) })`
    const gateway = await start(at, { NODE_OPTIONS: `--import "data:text/javascript,${encodeURIComponent(throwing)}"` })
    expect(await gateway.stop('SIGUSR2')).toBe(1)
    expect(gateway.output()).toMatch(/"level":"error","event":"process.uncaught_exception","trace":"Error/)
    expect(gateway.output()).not.toContain('secret of a driver')
    expect(processesOf(at.dataDir)).toEqual([])
  })
})

describe('an embedded database that is killed under a running gateway', () => {
  test('if the embedded database is killed, it is restarted on its port, and requests are served again', async () => {
    const at = await place()
    const gateway = await start(at)
    const killed = postmasterOf(at)
    process.kill(killed, 'SIGKILL')
    await eventually('a new server', async () => {
      const pid = await Promise.resolve()
        .then(() => postmasterOf(at))
        .catch(() => killed)
      return pid !== killed && (await statusOf(`${gateway.issuer}/readyz`)) === 200
    })
    expect(gateway.output()).toMatch(/"level":"error","event":"database.exited"/)
    await eventually('the line', () => Promise.resolve(gateway.output().includes('"event":"database.restarted"')))
    expect(await gateway.stop('SIGTERM')).toBe(0)
    expect(processesOf(at.dataDir)).toEqual([])
  })
})

describe('a terminal that is closed', () => {
  test('closing the terminal stops the gateway and its database, as Ctrl-C does', async () => {
    const at = await place()
    const gateway = await start(at)
    expect(await gateway.stop('SIGHUP')).toBe(0)
    expect(processesOf(at.dataDir)).toEqual([])
  })
})
