import { randomBytes } from 'node:crypto'
import { chmodSync, chownSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:net'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import { readConfig } from '../../src/config.ts'
import { startProblems } from '../../src/start-problems.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { freePort } from '../support/ports.ts'
import { newPlace, processesOf, startProcess } from '../support/process.ts'
import { startSilentLine } from '../support/silent-line.ts'

const folder = mkdtempSync(join(tmpdir(), 'guichet-start-'))
chmodSync(folder, 0o711)
/** The first port that needs no privilege; containers often lower it. */
const unprivilegedPort = Number(readFileSync('/proc/sys/net/ipv4/ip_unprivileged_port_start', 'utf8'))
const servers: Server[] = []
let database: TestDatabase
beforeAll(async () => {
  database = await createTestDatabase()
})
afterEach(async () => {
  for (const server of servers.splice(0)) await new Promise((resolve) => server.close(resolve))
})
afterAll(async () => {
  await database.drop()
  rmSync(folder, { recursive: true, force: true })
})

/** Something that is no PostgreSQL and closes each connection. */
async function occupy(port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined)
    socket.end('HTTP/1.1 400 Bad Request\r\n\r\n', () => socket.destroy())
  })
  servers.push(server)
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
}

const linesOf = (error: unknown): string[] =>
  String(error)
    .split('\n')
    .flatMap((line) => /^ {2}- (.*)/.exec(line)?.[1] ?? [])

async function problemsOf(env: Record<string, string>): Promise<string[]> {
  try {
    return await startProblems(
      readConfig({ GUICHET_DATA_DIR: folder, GUICHET_SANDBOX_BANKS: 'off', PORT: '0', ...env }),
    )
  } catch (error) {
    return linesOf(error)
  }
}

describe('a data folder that cannot be used', () => {
  test.each([
    ['/proc/guichet/data', 'is below a path'],
    ['/dev/null/data', 'is below a path'],
    ['/dev/null', 'is a file'],
    [`/tmp/${'long'.repeat(70)}`, 'is too long'],
  ])('%s ends the start with a line that names the setting, the fault and the remedy', async (dataDir, fault) => {
    const failure = linesOf(await startProcess(await newPlace(dataDir)).catch((error: unknown) => error))
    expect(failure).toEqual([expect.stringMatching(`^GUICHET_DATA_DIR: ${fault}.*; set it to a folder`)])
    expect(processesOf(dataDir)).toEqual([])
  })

  test.runIf(userInfo().uid === 0)('a data folder of another account is refused with that reason', async () => {
    const closed = join(folder, 'closed')
    readConfig({ GUICHET_DATA_DIR: closed })
    chmodSync(closed, 0o700)
    process.seteuid!(65_534)
    try {
      expect(await problemsOf({ GUICHET_DATA_DIR: join(closed, 'data') })).toEqual([
        expect.stringMatching(/^GUICHET_DATA_DIR: belongs to another account.*; set it to a folder/),
      ])
    } finally {
      process.seteuid!(0)
    }
  })

  test('a data folder with a damaged sealing key is refused, and the key is not replaced', async () => {
    const damaged = join(folder, 'damaged')
    readConfig({ GUICHET_DATA_DIR: damaged })
    writeFileSync(join(damaged, 'sealing-key'), '')
    expect(await problemsOf({ GUICHET_DATA_DIR: damaged })).toEqual([
      expect.stringMatching(/^GUICHET_DATA_DIR: .*damaged/),
    ])
  })
})

describe('a start that cannot succeed', () => {
  test('a start that cannot succeed reports all faults together, each with its setting, and starts nothing', async () => {
    const place = await newPlace(join(folder, 'everything'))
    await occupy(place.port)
    await occupy(place.sandboxPort + 3)
    const missing = new URL(database.url)
    missing.pathname = '/no_such_database'
    const env = {
      DATABASE_URL: `postgresql://guichet:x@127.0.0.1:${await freePort()}/guichet`,
      DATABASE_DIRECT_URL: missing.href,
    }
    const failure = String(await startProcess(place, env).catch((error: unknown) => error))
    expect(linesOf(failure)).toEqual([
      expect.stringMatching(`^PORT: ${place.port} is in use on 127.0.0.1; stop the other process`),
      'DATABASE_URL: the connection is refused; start PostgreSQL, or correct host and port',
      'DATABASE_DIRECT_URL: the database does not exist; create it, or correct the name',
      expect.stringMatching(`^GUICHET_SANDBOX_PORT: ports in use: ${place.sandboxPort + 3} `),
    ])
    expect(failure).not.toMatch(/\n\s+at /)
    expect(processesOf(place.dataDir)).toEqual([])
  })

  test('a refused start names every invalid value, and the faults that depend on other values', async () => {
    const env = {
      PORT: 'http',
      ISSUER: 'gateway',
      DATABASE_URL: 'mysql://db',
      GUICHET_PROFILE: 'production',
      GUICHET_SANDBOX_BANKS: 'on',
      GUICHET_MAX_CONCURRENT_REQUESTS: '0',
      GUICHET_DATA_DIR: '/dev/null/x',
    }
    const problems = await problemsOf(env)
    expect(problems.map((line) => line.split(':')[0]).sort()).toEqual([
      'DATABASE_URL',
      'GUICHET_DATA_DIR',
      'GUICHET_MAX_CONCURRENT_REQUESTS',
      'GUICHET_SANDBOX_BANKS',
      'GUICHET_SEALING_KEY',
      'ISSUER',
      'PORT',
    ])
    for (const value of ['mysql', '/dev/null']) expect(problems.join()).not.toContain(value)
  })

  test('a refused start states the fault of the database and the remedy', async () => {
    const at = (change: (url: URL) => void): string => {
      const url = new URL(database.url)
      change(url)
      return url.href
    }
    const silent = await startSilentLine(new URL(database.url).hostname, Number(new URL(database.url).port))
    silent.silence()
    const stranger = await freePort()
    await occupy(stranger)
    const admin = new pg.Client({ connectionString: inject('serverUrl') })
    await admin.connect()
    const ascii = `guichet_test_${randomBytes(6).toString('hex')}`
    await admin.query(`create database ${ascii} template template0 encoding 'SQL_ASCII' locale 'C'`)
    const cases: [url: string, line: string][] = [
      [database.url, ''],
      [at((url) => (url.pathname = '/no_such_database')), 'DATABASE_URL: the database does not exist; create it'],
      [at((url) => (url.username = 'no_such_role')), 'DATABASE_URL: PostgreSQL '],
      [at((url) => (url.host = `127.0.0.1:${stranger}`)), 'DATABASE_URL: the server at this address is not PostgreSQL'],
      [at((url) => (url.host = `127.0.0.1:${silent.port}`)), 'DATABASE_URL: the server does not respond'],
      [at((url) => (url.pathname = `/${ascii}`)), 'DATABASE_URL: the database has the encoding SQL_ASCII; create it'],
    ]
    const found = await Promise.all(cases.map(([url]) => problemsOf({ DATABASE_URL: url })))
    await admin.query(`drop database ${ascii}`)
    await admin.end()
    await silent.close()
    expect(found.map(([line = ''], index) => line.startsWith(cases[index]![1]) || line)).toEqual(cases.map(() => true))
  })

  test('a refused start states that the host is no address of the machine', async () => {
    expect(await problemsOf({ HOST: '192.0.2.1', PORT: '4000' })).toEqual([
      expect.stringMatching(/^HOST: is not an address of this machine; set one/),
    ])
  })

  test.runIf(unprivilegedPort > 80)('a refused start states that a port below 1024 needs a privilege', async () => {
    const own = mkdtempSync(join(folder, 'unprivileged-'))
    const isRoot = userInfo().uid === 0
    if (isRoot) {
      chownSync(own, 65_534, 65_534)
      process.seteuid!(65_534)
    }
    try {
      expect(await problemsOf({ PORT: '80', GUICHET_DATA_DIR: own })).toEqual([
        'PORT: 80 requires a privilege that this account lacks; set a port of 1024 or higher',
      ])
    } finally {
      if (isRoot) process.seteuid!(0)
    }
  })

  test('a refused start states that the database was sealed with another key', async () => {
    const own = await createTestDatabase()
    const env = (): Record<string, string> => ({
      DATABASE_URL: own.url,
      GUICHET_SANDBOX_BANKS: 'off',
      GUICHET_SEALING_KEY: randomBytes(32).toString('base64url'),
    })
    const place = await newPlace(join(folder, 'sealed'))
    const first = await startProcess(place, env())
    await first.stop('SIGTERM')
    const failure = await startProcess(place, env()).catch((error: unknown) => error)
    await own.drop()
    expect(linesOf(failure)).toEqual([
      expect.stringMatching(/^GUICHET_SEALING_KEY: cannot decrypt the data in this database/),
    ])
  })
})
