import { mkdtempSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { newPlace, startProcess, type GatewayProcess } from '../support/process.ts'

/** How many processes are stopped in each test: `npm test -- graceful-stop --rounds=50` for the figure of docs/PERFORMANCE.md. */
const ROUNDS = Number(process.env['GUICHET_ROUNDS'] ?? 5)
/**
 * Longer than a client pauses, also one that shares the machine with other tests, and so short that the clients together send less
 * than an address may, on a fast machine too.
 */
const DRAIN_SECONDS = 2
/** It costs few points. */
const QUERY = JSON.stringify({ query: '{ __typename }' })

let database: TestDatabase
let dataDir: string
const running: GatewayProcess[] = []
beforeAll(async () => {
  database = await createTestDatabase()
  dataDir = mkdtempSync(join(tmpdir(), 'guichet-graceful-'))
})
afterAll(async () => {
  await database.drop()
  rmSync(dataDir, { recursive: true, force: true })
})
afterEach(async () => {
  for (const { child, stop } of running.splice(0))
    if (child.exitCode === null && child.signalCode === null) await stop('SIGKILL')
})

async function start(drainSeconds: number): Promise<GatewayProcess> {
  const gateway = await startProcess(await newPlace(dataDir), {
    DATABASE_URL: database.url,
    GUICHET_SANDBOX_BANKS: 'off',
    GUICHET_ROLE: 'gateway',
    GUICHET_DRAIN_SECONDS: String(drainSeconds),
  })
  running.push(gateway)
  return gateway
}

/** What the requests of one client, or of all clients, led to. */
interface Outcomes {
  /** Responses by status. */
  readonly statuses: Map<number, number>
  /** Codes of requests that were sent and got no response. A refused connection is none: nothing was sent. */
  readonly lost: string[]
}

interface ClientKind {
  readonly keepAlive: boolean
  readonly pauseMs: () => number
}

/** Sends requests one after the other, `pauseMs` apart, over one connection as long as it lasts, until connections are refused. */
async function sendUntilRefused(
  issuer: string,
  { pauseMs, keepAlive }: ClientKind,
  outcomes: Outcomes,
  { isReady, onResponse }: { isReady: () => boolean; onResponse: () => void },
): Promise<void> {
  const agent = new Agent({ keepAlive, maxSockets: 1 })
  for (let count = 0; isReady(); count++) {
    const outcome = await sendOne(agent, issuer, count % 2 === 0 ? '/graphql' : '/livez')
    if (outcome === 'ECONNREFUSED') break
    if (typeof outcome === 'number') outcomes.statuses.set(outcome, (outcomes.statuses.get(outcome) ?? 0) + 1)
    else outcomes.lost.push(outcome)
    onResponse()
    await new Promise((resolve) => setTimeout(resolve, pauseMs()))
  }
  agent.destroy()
}

/** Sends one request and reads the whole response; returns its status, or the code of the error. */
const sendOne = (agent: Agent, issuer: string, path: '/graphql' | '/livez' | '/readyz'): Promise<number | string> =>
  new Promise((resolve) => {
    const isPost = path === '/graphql'
    const headers = isPost ? { 'content-type': 'application/json' } : {}
    const onError = ({ code, message }: NodeJS.ErrnoException): void => resolve(code ?? message)
    const sent = request(`${issuer}${path}`, { agent, method: isPost ? 'POST' : 'GET', headers }, (response) => {
      response.on('end', () => resolve(response.statusCode ?? 0)).on('error', onError)
      response.resume()
    })
    sent.on('error', onError)
    sent.end(isPost ? QUERY : undefined)
  })

/** Stops `ROUNDS` processes, each while clients send requests; returns what became of all requests. */
async function stopUnderLoad(
  drainSeconds: number,
  kinds: readonly ClientKind[],
  { hasBalancer }: { hasBalancer: boolean },
): Promise<Outcomes> {
  const outcomes: Outcomes = { statuses: new Map(), lost: [] }
  for (let round = 0; round < ROUNDS; round++) {
    const gateway = await start(drainSeconds)
    let isReady = true
    const clients: Promise<void>[] = []
    const connected = kinds.map(
      (kind) =>
        new Promise<void>((onResponse) => {
          clients.push(sendUntilRefused(gateway.issuer, kind, outcomes, { isReady: () => isReady, onResponse }))
        }),
    )
    const balancer = hasBalancer ? untilNotReady(gateway.issuer).then(() => (isReady = false)) : undefined
    await Promise.all(connected)
    await new Promise((resolve) => setTimeout(resolve, 100 * Math.random()))
    expect(await gateway.stop('SIGTERM')).toBe(0)
    await Promise.all([...clients, balancer])
  }
  return outcomes
}

/** How a load balancer checks its servers; resolves once it would send nothing more. */
async function untilNotReady(issuer: string): Promise<void> {
  const agent = new Agent({ keepAlive: false })
  while ((await sendOne(agent, issuer, '/readyz')) === 200) await new Promise((resolve) => setTimeout(resolve, 100))
}

const times = (count: number, kind: ClientKind): ClientKind[] => Array<ClientKind>(count).fill(kind)

describe('a stop by SIGTERM under load', () => {
  test(
    'a stop loses no request of clients that reuse their connections',
    async () => {
      const clients = [
        ...times(1, { keepAlive: true, pauseMs: () => 0 }),
        ...times(7, { keepAlive: true, pauseMs: () => 20 * Math.random() }),
        ...times(16, { keepAlive: true, pauseMs: () => 100 * Math.random() }),
      ]
      const { statuses, lost } = await stopUnderLoad(DRAIN_SECONDS, clients, { hasBalancer: false })
      expect(lost).toEqual([])
      expect([...statuses.keys()]).toEqual([200])
    },
    60_000 + ROUNDS * 15_000,
  )

  test(
    'a stop loses no request of clients that open new connections, if they follow /readyz',
    async () => {
      const clients = times(8, { keepAlive: false, pauseMs: () => 10 * Math.random() })
      const { statuses, lost } = await stopUnderLoad(DRAIN_SECONDS, clients, { hasBalancer: true })
      expect(lost).toEqual([])
      expect([...statuses.keys()]).toEqual([200])
    },
    60_000 + ROUNDS * 15_000,
  )
})
