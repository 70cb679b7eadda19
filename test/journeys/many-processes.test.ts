import { execFile, spawn, type ChildProcess } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer, request as forward, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { eventually } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'
import { startProcess, type GatewayProcess } from '../support/process.ts'

const root = join(import.meta.dirname, '../..')
const run = promisify(execFile)
const dataDir = mkdtempSync(join(tmpdir(), 'guichet-many-'))
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
  const sandboxPort = await freePort(4)
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
    const gateway = turn++ % 2
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

  test("an operator's stop ends each process with 0 while the others continue", async () => {
    expect(await processes[0]!.stop('SIGTERM')).toBe(0)
    expect((await fetch(`${processes[1]!.issuer}/readyz`)).status).toBe(200)
    expect((await fetch(`${processes[2]!.issuer}/readyz`)).status).toBe(200)
  })
})
