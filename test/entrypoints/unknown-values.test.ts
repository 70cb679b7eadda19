import { execFile } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createBrowser } from '../../src/entrypoints/cli/browser.ts'
import { BANK, consentPages, GO, type Fields } from '../support/consent-pages.ts'
import { startGateway, type TestGateway } from '../support/gateway.ts'

const root = join(import.meta.dirname, '../..')
let gateway: TestGateway
beforeAll(async () => {
  gateway = await startGateway()
})
afterAll(() => gateway.close())

interface Ended {
  readonly code: number
  readonly out: string
  readonly err: string
}
/** An entry of the audit log. */
interface Entry {
  readonly action: string
  readonly occurredAt: string
  readonly clientId: string | null
  readonly subjectId: string | null
  readonly changes: readonly object[]
}
const guichet = (...words: string[]): Promise<Ended> =>
  new Promise((resolve) => {
    const env = { ...process.env, ISSUER: gateway.issuer, GUICHET_DATA_DIR: gateway.dataDir }
    execFile(process.execPath, ['src/entrypoints/cli/main.ts', ...words], { cwd: root, env }, (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    )
  })
const json = async (...words: string[]): Promise<unknown> => {
  const { code, out, err } = await guichet(...words, '--json')
  expect([words, err, code]).toEqual([words, '', 0])
  return JSON.parse(out)
}

describe('a value that means nothing is refused and never becomes a default', () => {
  const sharingFor = (days: string | undefined): Fields => [
    ['share', 'exact'],
    ...(days === undefined ? [] : [['days', days] as [string, string]]),
    ['decision', 'go'],
  ]

  test('a sharing duration that was not offered creates no consent, by form or by URL', async () => {
    const pages = consentPages(gateway)
    const consents = () => gateway.database.query('select id from consent')
    const before = await consents()
    for (const days of ['45', '91', '0', '-1', '', '9e1', '90.0', ' 90', '1e9', 'forever', undefined]) {
      const browser = createBrowser()
      const { page } = await pages.begin(browser)
      const chosen = await pages.walk(browser, page, BANK, sharingFor(days))
      expect([days, chosen.status]).toEqual([days, 400])
    }
    // A page that was good, and a form that was changed on it.
    const browser = createBrowser()
    const { page } = await pages.begin(browser)
    const leaving = await pages.walk(browser, page, BANK, sharingFor('30'))
    expect(leaving.status).toBe(200)
    const forged = { ...leaving, text: leaving.text.replace('name="days" value="30"', 'name="days" value="3650"') }
    expect(forged.text).not.toBe(leaving.text)
    await pages.walk(browser, forged, GO)
    expect(await consents()).toEqual(before)
  })

  test.each([
    [['clients', 'list', '--customer', 'ada'], "unknown option '--customer'"],
    [['clients', 'suspend', 'chatterbox', 'admin'], 'too many arguments'],
    [['banks', 'list', 'northbank'], 'too many arguments'],
    [['clients', 'usage', 'chatterbox', '--interval', 'WEEK'], 'Allowed choices are HOUR, DAY'],
    [['clients', 'usage', 'chatterbox', '--since', '2026-01-01'], 'is not a time'],
    [['clients', 'update', 'chatterbox', '--points-per-minute', '1e3'], 'whole number'],
    [['clients', 'update', 'chatterbox', '--operations', 'SOME'], 'Allowed choices are ANY, REGISTERED_ONLY'],
    [['clients', 'update', 'chatterbox'], 'nothing to change'],
    [['ledger', 'list', '--limit', '1000'], 'from 1 to 100'],
    [['ledger', 'list', '--limit', 'ten'], 'whole number'],
  ])('guichet %s exits with 2 and states what is allowed', async (words, message) => {
    const { code, out, err } = await guichet(...words)
    expect([code, out]).toEqual([2, ''])
    expect(err).toContain(message)
  })
})

describe('the commands of an admin', () => {
  test('the commands change a client, show its usage, retire it, and list its changes from the ledger', async () => {
    expect(
      await json('clients', 'update', 'chatterbox-bearer', '--name', 'Chatterbox two', '--points-per-minute', '500000'),
    ).toMatchObject({ id: 'chatterbox-bearer', name: 'Chatterbox two', pointsPerMinute: 500_000 })
    expect(await json('clients', 'usage', 'admin')).toMatchObject({ id: 'admin', usage: [{ errorCount: 0 }] })
    const [{ id }] = (await gateway.database.query<{ id: string }>(
      "insert into client (id, organization_id, name, status, token_binding, jwks) select 'clnt_' || repeat('a', 22), organization_id, 'Idle', status, token_binding, jwks from client where id = 'chatterbox' returning id",
    )) as [{ id: string }]
    expect(await json('clients', 'usage', id)).toEqual({ id, name: 'Idle', lastUsedAt: null, usage: [] })
    expect(await json('clients', 'retire', 'chatterbox-bearer')).toEqual({ id: 'chatterbox-bearer', status: 'RETIRED' })
    const listed = (await json('ledger', 'list', '--subject', 'chatterbox-bearer')) as Entry[]
    expect(listed.map(({ action }) => action)).toEqual(['CLIENT_RETIRED', 'CLIENT_CHANGED', 'CLIENT_REGISTERED'])
    const [retired, changed] = [
      {
        action: 'CLIENT_RETIRED',
        clientId: 'admin',
        subjectId: 'chatterbox-bearer',
        changes: [{ field: 'status', before: ['ACTIVE'], after: ['RETIRED'] }],
      },
      {
        action: 'CLIENT_CHANGED',
        clientId: 'admin',
        subjectId: 'chatterbox-bearer',
        changes: [
          { field: 'name', before: ['Chatterbox with bearer tokens'], after: ['Chatterbox two'] },
          { field: 'pointsPerMinute', before: ['600000'], after: ['500000'] },
        ],
      },
    ]
    expect(listed.slice(0, 2)).toMatchObject([retired, changed])
    const { code, out } = await guichet('ledger', 'export')
    const lines = out
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as Entry)
    expect(code).toBe(0)
    expect(lines.slice(-2)).toMatchObject([changed, retired])
    const times = lines.map(({ occurredAt }) => occurredAt)
    expect(lines.length).toBeGreaterThan(20)
    expect(times[0]! <= times.at(-1)!).toBe(true)
    const [row] = await gateway.database.query<{ count: string }>('select count(*) from ledger_entry')
    expect(lines).toHaveLength(Number(row!.count))
  })

  test('the command clients update changes every named field and can remove all redirect URIs', async () => {
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const key = { ...publicKey.export({ format: 'jwk' }), kid: 'next' }
    const file = join(gateway.dataDir, 'next-keys.json')
    writeFileSync(file, JSON.stringify({ keys: [key] }))
    const redirectUris = ['one', 'two'].map((path) => `${gateway.sandbox.platform}/${path}`)
    const words = ['clients', 'update', 'westbank-partner']
    expect(
      await json(
        ...words,
        ...['--name', 'Every option'],
        ...redirectUris.flatMap((uri) => ['--redirect-uri', uri]),
        ...['--scopes', 'connectors:read ledger:read'],
        ...['--file', file],
        ...['--points-per-minute', '70000'],
        ...['--points-per-customer', '700'],
        ...['--operations', 'REGISTERED_ONLY'],
      ),
    ).toMatchObject({
      id: 'westbank-partner',
      name: 'Every option',
      redirectUris,
      scopes: ['connectors:read', 'ledger:read'],
      pointsPerMinute: 70_000,
      pointsPerCustomerPerMinute: 700,
      operationPolicy: 'REGISTERED_ONLY',
    })
    const stored = async () => {
      const [row] = await gateway.database.query<Record<string, unknown>>(
        "select name, redirect_uris, scopes, jwks, points_per_minute, points_per_customer_per_minute, operation_policy from client where id = 'westbank-partner'",
      )
      return row!
    }
    const changed = {
      name: 'Every option',
      redirect_uris: redirectUris,
      scopes: ['connectors:read', 'ledger:read'],
      jwks: { keys: [key] },
      points_per_minute: 70_000,
      points_per_customer_per_minute: 700,
      operation_policy: 'REGISTERED_ONLY',
    }
    expect(await stored()).toMatchObject(changed)

    const bad = await guichet(...words, '--redirect-uri', redirectUris[0]!, '--redirect-uri', 'https://10.0.0.1/')
    expect([bad.code, bad.out]).toEqual([1, ''])
    expect(bad.err).toMatch(/^INVALID_INPUT at redirectUris\.1: `redirectUris\[1\]` must .*\.\n$/)
    const both = await guichet(...words, '--redirect-uri', redirectUris[0]!, '--no-redirect-uris')
    expect([both.code, both.out]).toEqual([2, ''])
    expect(both.err).toContain('contradict each other')
    expect(await stored()).toMatchObject(changed)

    expect(await json(...words, '--no-redirect-uris')).toMatchObject({ redirectUris: [], name: 'Every option' })
    expect(await stored()).toMatchObject({ ...changed, redirect_uris: [] })
  })

  test('the commands list, register and rename organizations, and report faults', async () => {
    const organizations = (await json('organizations', 'list')) as { id: string; kind: string; name: string }[]
    const { id } = organizations.find(({ name }) => name === 'Chatterbox')!
    const renamed = { id, kind: 'PLATFORM', name: 'Parley' }
    expect(await json('organizations', 'update', id, '--name', 'Parley')).toEqual(renamed)
    const listed = (await json('organizations', 'list')) as { id: string; name: string }[]
    expect(listed).toHaveLength(organizations.length)
    expect(listed).toContainEqual(renamed)
    expect(listed.map(({ name }) => name)).toEqual(listed.map(({ name }) => name).sort())
    const [entry] = (await json('ledger', 'list', '--action', 'ORGANIZATION_CHANGED')) as Entry[]
    expect(entry).toMatchObject({
      clientId: 'admin',
      subjectId: id,
      changes: [{ field: 'name', before: ['Chatterbox'], after: ['Parley'] }],
    })
    const bad = await guichet('organizations', 'update', id, '--name', '<Parley>')
    expect([bad.code, bad.out]).toEqual([1, ''])
    expect(bad.err).toMatch(/^INVALID_INPUT at name: `name` must have 1 to 60 characters.*\n$/)
    expect((await guichet('organizations', 'update', id)).code).toBe(2)
    expect(await json('organizations', 'update', id, '--name', 'Chatterbox')).toMatchObject({ name: 'Chatterbox' })
    const added = await json('organizations', 'create', '--name', 'Delta Bank', '--kind', 'BANK')
    expect(added).toMatchObject({ kind: 'BANK', name: 'Delta Bank' })
    expect((await guichet('organizations', 'create', '--name', 'Delta', '--kind', 'BANKS')).code).toBe(2)
  })

  test('a dry run of a registration prints each fault on its own line, exits with 1, and stores nothing', async () => {
    const file = join(gateway.dataDir, 'registration.json')
    const registration = {
      bank: { id: 'A', name: 'Bank', country: 'DE' },
      authorizationServer: 'http://10.0.0.1',
      apiBase: 'https://api.bank.example/psd2',
      clientId: 'guichet',
      versoin: '1.3.11',
      cardAccounts: true,
      events: { issuer: 'https://bank.example', keys: { keys: [] } },
    }
    writeFileSync(file, JSON.stringify({ standard: 'BERLIN_GROUP', registration }))
    const words = ['connectors', 'register', '--as', 'eastbank-partner', '--file', file, '--dry-run']
    const { code, err } = await guichet(...words)
    expect(code).toBe(1)
    const lines = err.trim().split('\n')
    expect(lines.map((line) => line.split(':')[0]).sort()).toEqual(
      [
        'ADDRESS_NOT_ALLOWED at registration.authorizationServer',
        'INVALID_INPUT at registration.bank.id',
        'INVALID_INPUT at registration.events.keys.keys',
        'INVALID_INPUT at registration.version',
        'INVALID_INPUT at registration.versoin',
      ].sort(),
    )
    expect(await gateway.database.query("select 1 from connector where client_id = 'eastbank-partner'")).toEqual([])
  })
})
