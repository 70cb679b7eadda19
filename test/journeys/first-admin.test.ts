import { generateKeyPairSync } from 'node:crypto'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { exportJWK, generateKeyPair, SignJWT } from 'jose'
import { digest } from '../../src/kernel/ids.ts'
import { startProduction, type Ended, type Production } from '../support/production.ts'

const COMMAND = /npx guichet (admin bootstrap .*)/g
let production: Production
beforeEach(async () => {
  production = await startProduction()
})
afterEach(() => production.close())

const secretFile = (dataDir: string): string => join(dataDir, 'admin-enrollment-secret')
const secretIn = (dataDir: string): string => readFileSync(secretFile(dataDir), 'utf8')
const json = ({ code, out, err }: Ended): unknown => {
  expect([code, err]).toEqual([0, ''])
  return JSON.parse(out) as unknown
}
const commandsIn = (output: string): string[] => [...output.matchAll(COMMAND)].map(([, words]) => words!)
/** What a printed command names, as a shell would hand it over. */
const wordsOf = (command: string): string[] =>
  [...command.matchAll(/'([^']*)'|(\S+)/g)].map(([, inQuotes, plain]) => inQuotes ?? plain!)
const refusalOf = async (answer: Promise<{ status: number; text: string }>) => {
  const { status, text } = await answer
  const { error } = JSON.parse(text) as { error: { requestId?: string } }
  delete error.requestId
  return { status, error }
}

/** What `admin bootstrap` sends, with a fresh key; `over` is what the proof is made over instead. */
async function requestFor(secret: string, over = { audience: production.issuer, secret }): Promise<object> {
  const { privateKey, publicKey } = await generateKeyPair('ES256', { extractable: true })
  const jwk = { ...(await exportJWK(publicKey)), kid: 'k1' }
  const proof = await new SignJWT({})
    .setProtectedHeader({ alg: 'ES256', typ: 'admin-enrollment+jwt', jwk })
    .setAudience(over.audience)
    .setSubject(digest(over.secret))
    .sign(privateKey)
  return { secret, proof, name: 'Admin', organization: 'Operator' }
}

describe('the first start of an empty production database', () => {
  test('gateways that start concurrently print one command, which creates a working admin', async () => {
    const [one, two, work] = [production.folder(), production.folder(), production.folder()]
    const [first, second, worker] = await Promise.all([
      production.start(one),
      production.start(two, { GUICHET_ROLE: 'gateway' }),
      production.start(work, { GUICHET_ROLE: 'worker' }),
    ])
    const secret = secretIn(one)
    expect(secretIn(two)).toBe(secret)
    expect(secret).toMatch(/^[\w-]{43}$/)
    expect(statSync(secretFile(one)).mode & 0o777).toBe(0o600)
    expect(existsSync(secretFile(work))).toBe(false)
    const commands = [first, second].map(({ output }) => commandsIn(output()))
    expect(commands).toEqual(
      [one, two].map((dir) => [expect.stringContaining(`--secret-file ${secretFile(dir)}`) as string]),
    )
    const said = [first, second, worker].map(({ output }) => output()).join('\n')
    expect(said).not.toContain(secret)
    const [row] = await production.database.query<{ row: string }>(
      'select to_jsonb(e)::text as row from admin_enrollment e',
    )
    expect(row!.row).not.toContain(secret)
    expect(row!.row).toContain(digest(secret))

    const person = production.folder()
    const made = json(await production.guichet(person, [...wordsOf(commands[0]![0]!), '--name', 'Ann', '--json'])) as {
      clientId: string
      keyFile: string
    }
    expect(made.keyFile).toBe(join(person, 'clients/admin.json'))
    expect(statSync(made.keyFile).mode & 0o777).toBe(0o600)
    expect(existsSync(secretFile(one))).toBe(false)

    const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const file = join(person, 'parley.json')
    writeFileSync(file, JSON.stringify({ keys: [{ ...pair.publicKey.export({ format: 'jwk' }), kid: 'p1' }] }))
    const words = [
      '--organization',
      'Parley',
      '--name',
      'Parley',
      '--file',
      file,
      '--scopes',
      'accounts:read',
      '--json',
    ]
    const redirectUri = 'https://platform.example/callback'
    const client = json(
      await production.guichet(person, ['clients', 'create', ...words, '--redirect-uri', redirectUri]),
    ) as { id: string }
    expect(json(await production.guichet(person, ['clients', 'suspend', client.id, '--json']))).toMatchObject({
      status: 'SUSPENDED',
    })
    const listed = json(await production.guichet(person, ['clients', 'list', '--json', '--as', made.keyFile]))
    expect(listed).toMatchObject([{ id: client.id }, { id: made.clientId, name: 'Ann', status: 'ACTIVE' }])
    expect(await production.guichet(person, ['clients', 'suspend', made.clientId])).toMatchObject({
      code: 1,
      err: expect.stringMatching(/^LAST_ADMIN at clientId: .*clients:manage.*\n$/) as string,
    })
    const ledger = await production.database.query(
      'select action, client_id, detail from ledger_entry order by sequence',
    )
    expect(ledger.slice(0, 3)).toEqual([
      { action: 'ADMIN_ENROLLMENT_OPENED', client_id: null, detail: 'FIRST_START' },
      { action: 'ORGANIZATION_REGISTERED', client_id: made.clientId, detail: null },
      { action: 'CLIENT_REGISTERED', client_id: made.clientId, detail: 'FIRST_START' },
    ])

    const used = await production.guichet(production.folder(), [
      'admin',
      'bootstrap',
      '--gateway',
      production.issuer,
      '--secret-file',
      secretFile(two),
    ])
    expect(used).toMatchObject({ code: 1, err: expect.stringContaining('npx guichet admin recover') as string })
    const nothing = await refusalOf(production.send('POST', '/admin/nothing', {}))
    for (const method of ['POST', 'GET', 'PUT', 'DELETE'])
      expect(
        await refusalOf(
          production.send(method, '/admin/bootstrap', method.startsWith('P') ? await requestFor(secret) : undefined),
        ),
      ).toEqual(nothing)
    await Promise.all([first, second, worker].map((process) => process.stop('SIGTERM')))
    await production.stop()
    expect((await production.start(one)).output()).not.toMatch(/guichet admin/)
  }, 240_000)

  test('if many callers use one secret at two gateways at the same time, exactly one becomes an admin', async () => {
    const dataDir = production.folder()
    await Promise.all([production.start(dataDir), production.start(production.folder())])
    const secret = secretIn(dataDir)
    const statusesOf = async (secretOfAll: string, count: number): Promise<number[]> => {
      const requests = await Promise.all(Array.from({ length: count }, () => requestFor(secretOfAll)))
      const answers = requests.map((request) => production.send('POST', '/admin/bootstrap', request))
      return (await Promise.all(answers)).map(({ status }) => status).sort()
    }
    expect(await statusesOf(secret, 12)).toEqual([201, ...Array.from({ length: 11 }, () => 404)])
    expect(await production.database.query('select id from client')).toHaveLength(1)
    expect(
      await production.database.query("select 1 from ledger_entry where action = 'CLIENT_REGISTERED'"),
    ).toHaveLength(1)
    // The same after a recovery, when there are admins already.
    const env = { DATABASE_URL: production.database.url }
    expect(await production.guichet(dataDir, ['admin', 'recover'], env)).toMatchObject({ code: 0 })
    expect(await statusesOf(secretIn(dataDir), 6)).toEqual([201, ...Array.from({ length: 5 }, () => 404)])
    expect(await production.database.query('select id from client')).toHaveLength(2)
  }, 240_000)

  test('a wrong secret, a foreign proof and an invalid request change nothing, and guesses are rate limited', async () => {
    const dataDir = production.folder()
    const gateway = await production.start(dataDir)
    const secret = secretIn(dataDir)
    const wrong = secret.replace(/^./, (first) => (first === 'A' ? 'B' : 'A'))
    const post = (body: object) => refusalOf(production.send('POST', '/admin/bootstrap', body))
    expect(await refusalOf(production.send('GET', '/admin/bootstrap'))).toMatchObject({ status: 404 })
    expect(await post(await requestFor(wrong))).toMatchObject({ status: 404, error: { code: 'NOT_FOUND' } })
    for (const over of [
      { audience: 'https://elsewhere.example', secret },
      { audience: production.issuer, secret: wrong },
    ])
      expect(await post(await requestFor(secret, over))).toMatchObject({
        status: 400,
        error: { code: 'INVALID_INPUT', path: ['proof'] },
      })
    expect(await post({ ...(await requestFor(secret)), name: '<b>' })).toMatchObject({
      status: 400,
      error: { code: 'INVALID_INPUT', path: ['name'] },
    })
    expect(await production.database.query('select id from client')).toEqual([])
    const guesses = []
    for (let guess = 0; guess < 12; guess++) guesses.push((await post(await requestFor(wrong))).status)
    expect(guesses).toContain(429)
    expect(guesses.filter((status) => status === 404).length).toBeLessThanOrEqual(20)
    expect(gateway.output()).not.toContain(secret)
    expect(gateway.output()).not.toContain(wrong)
  }, 240_000)

  test('an expired secret is refused, and a restart prints a command with a new one', async () => {
    const dataDir = production.folder()
    await production.start(dataDir)
    const expired = secretIn(dataDir)
    await production.database.query("update admin_enrollment set expires_at = opened_at - interval '1 day'")
    expect((await production.send('POST', '/admin/bootstrap', await requestFor(expired))).status).toBe(404)
    await production.stop()
    const again = await production.start(dataDir)
    expect(commandsIn(again.output())).toHaveLength(1)
    expect(secretIn(dataDir)).not.toBe(expired)
    await production.stop()
    // The same while it is open: a restart does not make another one.
    const secret = secretIn(dataDir)
    await production.start(dataDir)
    expect(secretIn(dataDir)).toBe(secret)
    expect((await production.send('POST', '/admin/bootstrap', await requestFor(secret))).status).toBe(201)
  }, 240_000)

  test('a secret from the settings creates the first admin without a readable folder, and is stored nowhere', async () => {
    const secret = 'rTq0bCk3fW9xYvZ1nUoPa7sDgHjKlMeNiQwErTyUi4E'
    const dataDir = production.folder()
    const gateway = await production.start(dataDir, { GUICHET_BOOTSTRAP_SECRET: secret })
    expect(existsSync(secretFile(dataDir))).toBe(false)
    expect(gateway.output()).toContain('GUICHET_BOOTSTRAP_SECRET')
    expect(gateway.output()).not.toContain(secret)
    const person = production.folder()
    const [words] = commandsIn(gateway.output())
    expect(await production.guichet(person, wordsOf(words!))).toMatchObject({ code: 1, out: '' })
    json(await production.guichet(person, [...wordsOf(words!), '--json'], { GUICHET_BOOTSTRAP_SECRET: secret }))
    expect(json(await production.guichet(person, ['clients', 'list', '--json']))).toHaveLength(1)
    await expect(production.start(dataDir, { GUICHET_BOOTSTRAP_SECRET: 'A'.repeat(43) })).rejects.toThrow(
      /GUICHET_BOOTSTRAP_SECRET: is not random/,
    )
  }, 240_000)

  test('a key file that exists is not overwritten, and the secret is not sent in plain text over a network', async () => {
    const dataDir = production.folder()
    await production.start(dataDir)
    const person = production.folder()
    const keyFile = join(person, 'ann.json')
    writeFileSync(keyFile, 'mine')
    const words = ['admin', 'bootstrap', '--secret-file', secretFile(dataDir), '--key-file', keyFile]
    const kept = await production.guichet(person, [...words, '--gateway', production.issuer])
    expect(kept).toMatchObject({ code: 1, err: expect.stringContaining(`${keyFile} exists`) as string })
    expect(readFileSync(keyFile, 'utf8')).toBe('mine')
    const plain = await production.guichet(person, [...words.slice(0, 4), '--gateway', 'http://gateway.example'])
    expect(plain).toMatchObject({ code: 1, err: expect.stringContaining('https') as string })
    const untrusted = await production.guichet(person, [...words.slice(0, 4), '--gateway', production.issuer], {
      NODE_EXTRA_CA_CERTS: '',
    })
    expect(untrusted).toMatchObject({ code: 1, err: expect.stringContaining('NODE_EXTRA_CA_CERTS') as string })
    expect(existsSync(join(person, 'clients/admin.json'))).toBe(false)
    expect((await production.guichet(production.folder(), ['admin', 'bootstrap'])).err).toContain('--secret-file')
  }, 240_000)
})
