import { execFile } from 'node:child_process'
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterEach, describe, expect, test } from 'vitest'
import {
  executeGraphql,
  generateDpopKey,
  createOauthClient,
  type ClientFile,
  type Token,
} from '../../src/entrypoints/cli/oauth-client.ts'
import type { SandboxBankId } from '../../src/sandbox/personas.ts'
import { push, signEvent } from '../support/bank-keys.ts'
import { eventually } from '../support/gateway.ts'
import { freePort } from '../support/ports.ts'
import {
  databaseUrl,
  newPlace,
  processesOf,
  startProcess,
  usedPlace,
  type GatewayPlace,
  type GatewayProcess,
} from '../support/process.ts'

const cli = join(import.meta.dirname, '../../src/entrypoints/cli/main.ts')
const run = promisify(execFile)
const folders: string[] = []
const running: GatewayProcess[] = []

function newFolder(mode = 0o711): string {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-process-'))
  chmodSync(folder, mode)
  folders.push(folder)
  return folder
}

async function start(place: GatewayPlace, env?: Record<string, string>): Promise<GatewayProcess> {
  const gateway = await startProcess(place, env)
  running.push(gateway)
  return gateway
}

afterEach(async () => {
  for (const gateway of running.splice(0))
    if (gateway.child.exitCode === null && gateway.child.signalCode === null) await gateway.stop('SIGINT')
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

/** The command line against the gateway at `place`. */
const guichet = async ({ port, dataDir }: GatewayPlace, ...words: string[]): Promise<unknown> =>
  JSON.parse(
    (
      await run(process.execPath, [cli, ...words, '--json'], {
        env: { ...process.env, PORT: String(port), GUICHET_DATA_DIR: dataDir, ISSUER: '' },
      })
    ).stdout,
  )

const BALANCES =
  '{ customer { accounts { nodes { bank { id } balances { ... on ExactBalance { value { amount } } } } } alerts { nodes { id } } } }'
interface Answer {
  data: {
    customer: {
      accounts: { nodes: { bank: { id: string }; balances: { value?: { amount: string } }[] }[] }
      alerts: { nodes: { id: string }[] }
    }
  }
}

/** Runs a query until it has every balance: a bank that is slow on a machine with other work is read at the next call. */
const queryBalances = (place: GatewayPlace, ...words: string[]): Promise<Answer> =>
  eventually('every balance', async () => {
    const answer = (await guichet(place, ...words)) as Answer
    return answer.data.customer.accounts.nodes.every(({ balances }) => balances[0]!.value) && answer
  })

describe('npm start', () => {
  test('npm start prints three commands that show balances, send an alert and show its delivery', async () => {
    const place = await newPlace(newFolder())
    const gateway = await start(place)
    const printed = [...gateway.output().matchAll(/^ {2}npx guichet (.+)$/gm)].map(([, words]) =>
      words!.match(/'[^']*'|\S+/g)!.map((word) => word.replaceAll("'", '')),
    )
    expect(printed).toHaveLength(3)
    const balances = await queryBalances(place, ...printed[0]!)
    expect([
      ...new Set(balances.data.customer.accounts.nodes.map(({ bank }) => (bank as unknown as { name: string }).name)),
    ]).toEqual(['Northbank', 'Rheinbank'])
    expect(
      balances.data.customer.accounts.nodes.every((account) =>
        /^-?\d+\.\d\d$/.test(account.balances[0]!.value!.amount),
      ),
    ).toBe(true)
    expect(await guichet(place, ...printed[1]!)).toMatchObject({ pushed: [{ status: 202 }] })
    const delivered = await eventually('the delivery', async () => {
      const deliveries = (await guichet(place, ...printed[2]!)) as { status: string; attempts: { outcome: string }[] }[]
      return deliveries[0]?.status === 'DELIVERED' && deliveries
    })
    expect(delivered[0]!.attempts.at(-1)!.outcome).toBe('ACCEPTED')
  })

  test('npm start restarts with its consents, clients and alerts, and Ctrl-C leaves no process', async () => {
    const place = await usedPlace(newFolder())
    const first = await start(place)
    const before = await queryBalances(place, 'query', BALANCES, '--customer', 'ada')
    await guichet(place, 'sandbox', 'alert', '--bank', 'rheinbank', '--customer', 'ada', '--type', 'CARD_SECURITY')
    expect(await first.stop('SIGINT')).toBe(0)
    expect(processesOf(place.dataDir)).toEqual([])

    await start(place)
    const after = await queryBalances(place, 'query', BALANCES, '--customer', 'ada')
    expect(after.data.customer.accounts.nodes).toEqual(before.data.customer.accounts.nodes)
    expect(after.data.customer.alerts.nodes).toHaveLength(1)
    expect((await guichet(place, 'clients', 'list')) as unknown[]).toHaveLength(10)
  })

  test('npm start restarts on another port, and the sign-in of its explorer still works', async () => {
    const place = await usedPlace(newFolder())
    await (await start(place)).stop('SIGINT')
    const { issuer } = await start({ ...place, port: await freePort() })
    const explorer = JSON.parse(readFileSync(join(place.dataDir, 'clients/explorer.json'), 'utf8')) as ClientFile
    const request = {
      scope: 'openid accounts:read',
      details: {
        type: 'urn:guichet:account-information',
        actions: ['accounts:read'],
        purposes: ['ANSWER_CUSTOMER'],
      },
      state: 'a-state-of-its-own',
    }
    expect(explorer.redirectUri).toBe(`${issuer}/explorer`)
    expect(
      (await createOauthClient(issuer, explorer).pushAuthorizationRequest(request, await generateDpopKey())).url,
    ).toContain(issuer)
  })

  test('npm start takes over the database of a killed gateway, and cleans up after both were killed', async () => {
    const place = await usedPlace(newFolder())
    const first = await start(place)
    expect(processesOf(place.dataDir).some((command) => command.includes('postgres'))).toBe(true)
    await first.stop('SIGKILL')
    // The pretend banks notice by themselves; PostgreSQL stays, with every commit.
    await eventually('the sandbox to end', () =>
      Promise.resolve(!processesOf(place.dataDir).some((command) => command.includes('sandbox/main'))),
    )
    const second = await start(place)
    const postmaster = Number(readFileSync(join(place.dataDir, 'postgresql/postmaster.pid'), 'utf8').split('\n')[0])
    await second.stop('SIGKILL')
    process.kill(postmaster, 'SIGKILL')
    // Comes to its sign that it is ready, or throws.
    await start(place)
  })

  test('a second gateway on the same data exits with a message, and the first continues', async () => {
    const place = await usedPlace(newFolder())
    const first = await start(place)
    await expect(startProcess(await newPlace(place.dataDir))).rejects.toThrow(
      `GUICHET_DATA_DIR: another gateway is running on ${place.dataDir}; stop it, or set another folder`,
    )
    expect((await fetch(`${first.issuer}/readyz`)).status).toBe(200)
  })

  test.runIf(userInfo().uid === 0)('npm start as root below a closed folder prints where the database is', async () => {
    const closed = newFolder(0o700)
    const place = await newPlace(join(closed, 'data'))
    const gateway = await start(place)
    const [, home] = /its files are in (\S+)/.exec(gateway.output())!
    folders.push(home!)
    expect(home).toMatch(/^\/var\/lib\/guichet\//)
    expect((await fetch(`${gateway.issuer}/readyz`)).status).toBe(200)
  })

  test.runIf(userInfo().uid === 0)('npm start works as an ordinary user as well', async () => {
    const folder = newFolder(0o777)
    const place = await newPlace(join(folder, 'data'))
    const copy = newFolder(0o755)
    // The ordinary user must be able to read the program; where this checkout is closed to others, a copy is not.
    await run('cp', [
      '-r',
      ...['src', 'prisma', 'schema.graphql', 'package.json', 'tsconfig.json'].map((name) =>
        join(import.meta.dirname, '../..', name),
      ),
      copy,
    ])
    await run('cp', ['-rl', join(import.meta.dirname, '../../node_modules'), copy])
    const node = join(copy, 'node_modules/node/bin/node')
    const env = {
      PATH: '/usr/bin:/bin',
      PORT: String(place.port),
      GUICHET_SANDBOX_PORT: String(place.sandboxPort),
      GUICHET_DATA_DIR: place.dataDir,
    }
    const command = `cd ${copy} && exec ${node} src/main.ts`
    const child = execFile('setpriv', ['--reuid=65534', '--regid=65534', '--clear-groups', '/bin/sh', '-c', command], {
      env,
    })
    try {
      await eventually(
        'readiness',
        async () => (await fetch(`http://127.0.0.1:${place.port}/readyz`).catch(() => undefined))?.status === 200,
        60_000,
      )
    } finally {
      const ended = new Promise((resolve) => child.once('exit', resolve))
      child.kill('SIGINT')
      await ended
    }
    expect(processesOf(place.dataDir)).toEqual([])
  })

  test('a port that is in use is reported with its setting, and no process is left', async () => {
    const place = await newPlace(newFolder())
    const taken = createServer()
    for (const [port, line] of [
      [place.port, `PORT: ${place.port} is in use on 127.0.0.1; stop the other process`],
      [
        place.sandboxPort + 1,
        `GUICHET_SANDBOX_PORT: ports in use: ${place.sandboxPort + 1} (of ${place.sandboxPort} to ${place.sandboxPort + 6}); stop`,
      ],
    ] as const) {
      await new Promise<void>((resolve) => taken.listen(port, '127.0.0.1', resolve))
      const failure = await startProcess(place).catch((error: unknown) => String(error))
      expect(failure).toContain(line)
      expect(failure).not.toMatch(/\n\s+at /)
      expect(processesOf(place.dataDir)).toEqual([])
      await new Promise((resolve) => taken.close(resolve))
    }
  })

  test('invalid settings are listed together, and nothing is started', async () => {
    const place = await newPlace(newFolder())
    await expect(
      startProcess(place, { GUICHET_PROFILE: 'production', ISSUER: 'http://gateway.example' }),
    ).rejects.toThrow(/ISSUER[\s\S]*DATABASE_URL[\s\S]*GUICHET_SEALING_KEY/)
    expect(processesOf(place.dataDir)).toEqual([])
  })
})

describe('kill -9 in the middle of a stream of alerts', () => {
  test('a kill -9 during a stream of alerts loses no acknowledged alert', async () => {
    const place = await usedPlace(newFolder())
    const first = await start(place)
    await guichet(place, 'sandbox', 'token', '--customer', 'ada')
    const sandbox = JSON.parse(readFileSync(join(place.dataDir, 'sandbox.json'), 'utf8')) as {
      banks: Record<SandboxBankId, string>
    }
    const acknowledged: number[] = []
    let sent = 0
    const pushing = Array.from({ length: 8 }, async () => {
      while (sent < 400) {
        const { token, url } = await signEvent({ dataDir: place.dataDir, sandbox }, 'northbank')
        const number = sent++
        const status = await push(url, token).then(
          (answer) => answer.status,
          () => 0,
        )
        if (status === 202) acknowledged.push(number)
        if (status === 0) return
      }
    })
    await eventually('sixty acknowledgements', () => Promise.resolve(acknowledged.length >= 60))
    await first.stop('SIGKILL')
    await Promise.all(pushing)
    expect(acknowledged.length).toBeLessThan(400)

    const second = await start(place)
    const client = JSON.parse(readFileSync(join(place.dataDir, 'clients/chatterbox.json'), 'utf8')) as ClientFile
    const own: Token = await createOauthClient(second.issuer, client).clientCredentials('deliveries:read')
    const database = new pg.Client({ connectionString: databaseUrl(place) })
    await database.connect()
    const count = async (sql: string): Promise<number> =>
      (await database.query<{ n: number }>(`select count(*)::int n from alert ${sql}`)).rows[0]!.n
    const delivered = "exists (select 1 from delivery d where d.alert_id = alert.id and d.status = 'DELIVERED')"
    await eventually('every alert delivered', async () => (await count(`where not ${delivered}`)) === 0, 120_000)
    expect(await count(`where ${delivered}`)).toBeGreaterThanOrEqual(acknowledged.length)
    await database.end()
    const answer = await executeGraphql(
      second.issuer,
      own,
      '{ client { deliveries(first: 100) { nodes { status } } } }',
    )
    const { nodes } = (answer.data!['client'] as { deliveries: { nodes: { status: string }[] } }).deliveries
    expect(nodes.length).toBeGreaterThanOrEqual(Math.min(100, acknowledged.length))
    expect(nodes.every(({ status }) => status === 'DELIVERED')).toBe(true)
  })
})
