import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, request as forward, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import { listen, type OpenStream } from '../support/event-stream.ts'
import { eventually } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, type GatewayProcess } from '../support/process.ts'

const root = join(import.meta.dirname, '../..')
const run = promisify(execFile)
const dataDir = mkdtempSync(join(tmpdir(), 'guichet-many-'))
/** A header by which a request names the gateway that the proxy sends it to. */
const PROCESS = 'x-process'
const processes: GatewayProcess[] = []
let database: TestDatabase
let banks: ChildProcess
let proxy: Server
let issuer = ''
let served: number[] = []

/** The processes of docker-compose.yml, by hand: pretend banks, two gateways and a worker on one PostgreSQL, and a proxy. */
beforeAll(async () => {
  chmodSync(dataDir, 0o711)
  database = await createTestDatabase()
  const sandboxPort = await freePort(7)
  banks = spawn(process.execPath, ['src/sandbox/main.ts'], {
    cwd: root,
    env: {
      ...process.env,
      HOST: '127.0.0.1',
      GUICHET_SANDBOX_PORT: String(sandboxPort),
      GUICHET_DATA_DIR: join(dataDir, 'sandbox'),
    },
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  await new Promise((resolve) => banks.stdout!.once('data', resolve))
  const ports = [await freePort(), await freePort(), await freePort()]
  const proxyPort = await freePort()
  issuer = `http://127.0.0.1:${proxyPort}`
  let turn = 0
  proxy = createServer((incoming, outgoing) => {
    const named = incoming.headers[PROCESS]
    const gateway = named === undefined ? turn++ % 2 : Number(named)
    served.push(gateway)
    const onward = forward(
      { port: ports[gateway], method: incoming.method, path: incoming.url, headers: incoming.headers },
      (answer) => {
        outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
        answer.pipe(outgoing)
      },
    )
    onward.on('error', () => outgoing.destroy())
    incoming.pipe(onward)
  })
  await new Promise<void>((resolve) => proxy.listen(proxyPort, '127.0.0.1', resolve))
  const env = { ISSUER: issuer, DATABASE_URL: database.url, GUICHET_SANDBOX_BANKS: 'remote' }
  const roles = ['gateway', 'gateway', 'worker']
  // All at once: of two that find an empty database, one fills it.
  processes.push(
    ...(await Promise.all(
      roles.map((role, index) =>
        startProcess({ dataDir, port: ports[index]!, sandboxPort }, { ...env, GUICHET_ROLE: role }),
      ),
    )),
  )
})
afterAll(async () => {
  await Promise.all(processes.filter(({ child }) => child.exitCode === null).map((gateway) => gateway.stop('SIGTERM')))
  proxy.closeAllConnections()
  proxy.close()
  banks.kill('SIGTERM')
  await database.drop()
  rmSync(dataDir, { recursive: true, force: true })
})

const guichet = async (...words: string[]): Promise<unknown> =>
  JSON.parse(
    (
      await run(process.execPath, [join(root, 'src/entrypoints/cli/main.ts'), ...words, '--json'], {
        env: { ...process.env, ISSUER: issuer, GUICHET_DATA_DIR: dataDir },
      })
    ).stdout,
  )

describe('two gateways and a worker on one database', () => {
  test('two gateways on one database both serve an opt-in, its token and its balances, and a worker its alert', async () => {
    served = []
    const answer = (await guichet(
      'query',
      '{ customer { accounts { nodes { balances { ... on ExactBalance { value { amount } } } } } } }',
      '--customer',
      'ada',
    )) as { data: { customer: { accounts: { nodes: { balances: { value?: object }[] }[] } } } }
    expect(answer.data.customer.accounts.nodes).toHaveLength(4)
    expect(answer.data.customer.accounts.nodes.every(({ balances }) => balances[0]!.value !== undefined)).toBe(true)
    expect(new Set(served)).toEqual(new Set([0, 1]))
    expect(
      await guichet('sandbox', 'alert', '--bank', 'northbank', '--customer', 'ada', '--type', 'CARD_SECURITY'),
    ).toMatchObject({ pushed: [{ status: 202 }] })
    await eventually(
      'the delivery',
      async () => ((await guichet('alerts', 'deliveries')) as { status: string }[])[0]?.status === 'DELIVERED',
    )
  })

  test('a consent that is withdrawn at one gateway is refused at both', async () => {
    await guichet('sandbox', 'token', '--customer', 'bo')
    await guichet('consents', 'withdraw', '--customer', 'bo')
    for (const _each of [0, 1])
      await expect(guichet('query', '{ customer { id } }', '--customer', 'bo')).rejects.toThrow(
        /the token of bo is no longer valid/,
      )
  })

  test('a subscription resumes at another process without a gap, and without an alert that was sent before', async () => {
    const { accessToken } = (await guichet('sandbox', 'token', '--customer', 'bo', '--bearer')) as {
      accessToken: string
    }
    const open = (process: number, lastEventId?: string): Promise<OpenStream> =>
      listen(issuer, { accessToken, tokenType: 'Bearer' } as Token, 'subscription { alertReceived { id type } }', {
        [PROCESS]: String(process),
        ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
      })
    const report = (type: string) =>
      guichet('sandbox', 'alert', '--bank', 'northbank', '--customer', 'bo', '--type', type)
    const eventsOf = ({ text }: OpenStream): { id: string; type: string }[] =>
      [...text().matchAll(/^id: (.+)\ndata: .*"type":"(\w+)"/gm)].map(([, id, type]) => ({ id: id!, type: type! }))
    const typesOf = async (stream: OpenStream, count: number): Promise<string[]> => {
      await eventually(`${count} events`, () => Promise.resolve(eventsOf(stream).length >= count))
      return eventsOf(stream).map(({ type }) => type)
    }

    const first = await open(0)
    expect(first.status).toBe(200)
    await report('CARD_SECURITY')
    expect(await typesOf(first, 1)).toEqual(['CARD_SECURITY'])
    first.close()
    await report('ACCOUNT_TAKEOVER_SUSPECTED')
    await report('POSSIBLE_SCAM_PRESSURE')

    const second = await open(1, eventsOf(first).at(-1)!.id)
    expect(await typesOf(second, 2)).toEqual(['ACCOUNT_TAKEOVER_SUSPECTED', 'POSSIBLE_SCAM_PRESSURE'])
    const third = await open(0, eventsOf(second).at(-1)!.id)
    await report('CARD_SECURITY')
    expect(await typesOf(second, 3)).toEqual(['ACCOUNT_TAKEOVER_SUSPECTED', 'POSSIBLE_SCAM_PRESSURE', 'CARD_SECURITY'])
    expect(await typesOf(third, 1)).toEqual(['CARD_SECURITY'])
    expect(eventsOf(third)).toEqual(eventsOf(second).slice(-1))
    second.close()
    third.close()
  })

  test("an operator's stop ends each process with 0 while the others continue", async () => {
    expect(await processes[0]!.stop('SIGTERM')).toBe(0)
    expect((await fetch(`${processes[1]!.issuer}/readyz`)).status).toBe(200)
    expect((await fetch(`${processes[2]!.issuer}/readyz`)).status).toBe(200)
  })
})
