import { readFileSync, mkdtempSync, chmodSync, rmSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, describe, expect, test } from 'vitest'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually, startGateway } from '../support/gateway.ts'
import { listen } from '../support/event-stream.ts'
import { newPlace, processesOf, startProcess, type GatewayProcess } from '../support/process.ts'
import { startSilentLine, type SilentLine } from '../support/silent-line.ts'
import { patientTimers } from '../support/patient-time.ts'

/** What docs/OPERATE.md promises, and some time for a busy machine to start the processes of the stop. */
const STOP_MS = 30_000 + 15_000

interface Running {
  readonly gateway: GatewayProcess
  readonly line: SilentLine
  readonly dataDir: string
  readonly database: TestDatabase
}
const running: Running[] = []

/** A whole gateway as its own process, whose database is behind a line that can fall silent. */
async function start(): Promise<Running> {
  const dataDir = mkdtempSync(join(tmpdir(), 'guichet-stop-'))
  chmodSync(dataDir, 0o711)
  const database = await createTestDatabase()
  const url = new URL(database.url)
  const line = await startSilentLine(url.hostname, Number(url.port))
  url.hostname = '127.0.0.1'
  url.port = String(line.port)
  const gateway = await startProcess(await newPlace(dataDir), { DATABASE_URL: url.href })
  const one = { gateway, line, dataDir, database }
  running.push(one)
  return one
}

afterEach(async () => {
  for (const { gateway, line, dataDir, database } of running.splice(0)) {
    if (gateway.child.exitCode === null && gateway.child.signalCode === null) await gateway.stop('SIGKILL')
    await line.close()
    await database.drop()
    rmSync(dataDir, { recursive: true, force: true })
  }
})

const within = <T>(ms: number, work: Promise<T>): Promise<T | 'NOT ENDED'> =>
  Promise.race([work, new Promise<'NOT ENDED'>((resolve) => setTimeout(() => resolve('NOT ENDED'), ms))])

/** Connections that would go on for ever: one that is never used, one in the middle of a request, one that pipelines. */
function endlessClients(issuer: string): Socket[] {
  const { port, host } = new URL(issuer)
  const open = (): Socket => connect(Number(port), '127.0.0.1').on('error', () => undefined)
  const halfway = open()
  halfway.write(`POST /graphql HTTP/1.1\r\nhost: ${host}\r\ncontent-length: 100\r\n\r\n{`)
  const pipelining = open()
  pipelining.resume()
  const requests = `GET /livez HTTP/1.1\r\nhost: ${host}\r\n\r\n`.repeat(20)
  const timer = setInterval(() => (pipelining.destroyed ? clearInterval(timer) : pipelining.write(requests)), 20)
  pipelining.on('close', () => clearInterval(timer))
  return [open(), halfway, pipelining]
}

describe('SIGTERM ends the process within 30 seconds', () => {
  test('SIGTERM ends the process within 30 s while the database is silent, with code 0, or 1 and a logged reason', async () => {
    const { gateway, line, dataDir } = await start()
    const clients = endlessClients(gateway.issuer)
    line.silence()
    const { token, url } = await signEventAt(dataDir)
    const under = Array.from({ length: 20 }, () => push(url, token).catch(() => undefined))
    await new Promise((resolve) => setTimeout(resolve, 1_000))
    const code = await within(STOP_MS, gateway.stop('SIGTERM'))
    expect(code).toBe(/shutdown\.(step_timed_out|step_failed)/.test(gateway.output()) ? 1 : 0)
    for (const client of clients) client.destroy()
    await Promise.all(under)
    await eventually('that no process is left', () => Promise.resolve(processesOf(dataDir).length === 0))
  })

  test('a second SIGTERM ends the process immediately', async () => {
    const { gateway, line } = await start()
    line.silence()
    void fetch(`${gateway.issuer}/readyz`).catch(() => undefined)
    await new Promise((resolve) => setTimeout(resolve, 500))
    const ended = gateway.stop('SIGTERM')
    await eventually('the stop', () =>
      fetch(`${gateway.issuer}/livez`).then(
        () => false,
        () => true,
      ),
    )
    gateway.child.kill('SIGTERM')
    expect(await within(15_000, ended)).toBe(130)
  })

  test('SIGTERM ends the process within 30 s with code 0 while clients pipeline, stall or hold idle connections', async () => {
    const { gateway } = await start()
    const clients = endlessClients(gateway.issuer)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await within(STOP_MS, gateway.stop('SIGTERM'))).toBe(0)
    for (const client of clients) client.destroy()
  })

  test('SIGTERM ends the process within 30 s while a bank and a webhook hang and a stream is open', async () => {
    const gateway = await startGateway()
    const token = await gateway.customer('bo', ['northbank'])
    const stream = await listen(gateway.issuer, token, 'subscription { alertReceived { type } }')
    let hanging = 0
    gateway.intercept = () => {
      hanging++
      return new Promise(() => undefined)
    }
    await gateway.alert('northbank', { account: 'nb-10003', type: 'CARD_SECURITY' })
    void gateway.ask(token, '{ customer { accounts { nodes { balances { __typename } } } } }').catch(() => undefined)
    await eventually('a webhook and a bank that hang', () => Promise.resolve(hanging >= 2))
    const began = patientTimers.monotonicMs()
    expect(await within(STOP_MS, gateway.app.stop())).not.toBe('NOT ENDED')
    expect(patientTimers.monotonicMs() - began).toBeLessThan(25_000)
    await eventually('the end of the stream', () => Promise.resolve(stream.ended()))
    await gateway.close()
  })
})

/** An event of the sandbox's Northbank for a gateway in its own process. */
function signEventAt(dataDir: string): Promise<{ token: string; url: string }> {
  const sandbox = JSON.parse(readFileSync(join(dataDir, 'sandbox.json'), 'utf8')) as {
    banks: Record<SandboxBankId, string>
  }
  return signEvent({ dataDir, sandbox }, 'northbank')
}

describe('a database that falls silent and comes back', () => {
  test('an event gets 503 with Retry-After while the database is silent, and is accepted later without a restart', async () => {
    const { gateway, line, dataDir } = await start()
    const { token, url } = await signEventAt(dataDir)
    line.silence()
    const refused = await within(60_000, push(url, token))
    if (refused === 'NOT ENDED') throw new Error('no answer')
    expect(refused.status).toBe(503)
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    line.restore()
    await eventually('that it is accepted', async () => (await push(url, token)).status === 202)
    expect(await gateway.stop('SIGTERM')).toBe(0)
  })
})
