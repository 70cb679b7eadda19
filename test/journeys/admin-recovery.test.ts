import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { eventually } from '../support/gateway.ts'
import { startProcess, usedPlace, type GatewayProcess } from '../support/process.ts'
import { startProduction, type Ended, type Production } from '../support/production.ts'

let production: Production
let gateway: GatewayProcess
let dataDir = ''
let ann = ''
beforeAll(async () => {
  production = await startProduction()
  dataDir = production.folder()
  ann = production.folder()
  gateway = await production.start(dataDir)
  const words = [
    'admin',
    'bootstrap',
    '--gateway',
    production.issuer,
    '--secret-file',
    `${dataDir}/admin-enrollment-secret`,
  ]
  expect(await production.guichet(ann, words)).toMatchObject({ code: 0, err: '' })
}, 240_000)
afterAll(() => production.close())

const json = ({ code, out, err }: Ended): unknown => {
  expect([code, err]).toEqual([0, ''])
  return JSON.parse(out) as unknown
}
const recover = (folder: string, env: Record<string, string> = {}) =>
  production.guichet(folder, ['admin', 'recover', '--gateway', production.issuer, '--json'], {
    DATABASE_URL: production.database.url,
    ...env,
  })
const bootstrap = (folder: string, keyFile: string, gatewayUrl = production.issuer) =>
  production.guichet(folder, ['admin', 'bootstrap', '--gateway', gatewayUrl, '--key-file', keyFile, '--json'])
const kinds = async () =>
  production.database.query(
    "select action, detail from ledger_entry where action like '%ENROL%' or detail = 'RECOVERY' order by sequence",
  )

describe('a gateway without a usable admin', () => {
  test('a start without a usable admin names the recovery command, which creates an admin', async () => {
    // As an older version allowed.
    await production.database.query("update client set status = 'SUSPENDED'")
    await gateway.stop('SIGTERM')
    await production.stop()
    gateway = await production.start(dataDir)
    expect(gateway.output()).toContain('Nobody can administer this gateway')
    expect(gateway.output()).toContain('npx guichet admin recover')
    expect(gateway.output()).toContain('"event":"admin.missing"')
    expect(gateway.output()).not.toContain('admin bootstrap')
    expect((await production.send('POST', '/admin/bootstrap', {})).status).toBe(404)

    const operator = production.folder()
    const opened = json(await recover(operator)) as { secretFile: string; next: string }
    expect(opened.secretFile).toBe(join(operator, 'admin-enrollment-secret'))
    expect(statSync(opened.secretFile).mode & 0o777).toBe(0o600)
    expect(opened.next).toContain(`--secret-file '${opened.secretFile}'`)
    const secret = readFileSync(opened.secretFile, 'utf8')
    await eventually('a warning of the running gateway', () =>
      Promise.resolve(/"level":"warn","event":"admin.enrollment_opened"/.test(gateway.output())),
    )
    const made = json(await bootstrap(operator, join(operator, 'bob.json'))) as { clientId: string }
    expect(gateway.output()).toMatch(new RegExp(`"event":"admin.enrolled",.*"clientId":"${made.clientId}"`))
    expect(gateway.output()).not.toContain(secret)
    expect(await kinds()).toEqual([
      { action: 'ADMIN_ENROLLMENT_OPENED', detail: 'FIRST_START' },
      { action: 'ADMIN_ENROLLMENT_OPENED', detail: 'RECOVERY' },
      { action: 'CLIENT_REGISTERED', detail: 'RECOVERY' },
    ])
    const { clientId } = JSON.parse(readFileSync(join(ann, 'clients/admin.json'), 'utf8')) as { clientId: string }
    const words = ['clients', 'resume', clientId, '--as', join(operator, 'bob.json'), '--json']
    expect(json(await production.guichet(operator, words))).toMatchObject({ status: 'ACTIVE' })
    expect(json(await production.guichet(ann, ['clients', 'list', '--json']))).toHaveLength(2)
  }, 240_000)

  test('a recovery while there are admins replaces an earlier enrollment, and a restart states it', async () => {
    const [early, late] = [production.folder(), production.folder()]
    json(await recover(early))
    json(await recover(late))
    await gateway.stop('SIGTERM')
    await production.stop()
    gateway = await production.start(dataDir)
    expect(gateway.output()).toContain('An enrollment of an admin is open until')
    expect(existsSync(join(dataDir, 'admin-enrollment-secret'))).toBe(false)
    expect(await bootstrap(early, join(early, 'eve.json'))).toMatchObject({ code: 1, out: '' })
    expect(existsSync(join(early, 'eve.json'))).toBe(false)
    json(await bootstrap(late, join(late, 'cleo.json')))
    expect(await bootstrap(late, join(late, 'dan.json'))).toMatchObject({ code: 1 })
    expect(json(await production.guichet(ann, ['clients', 'list', '--json']))).toHaveLength(3)
  }, 240_000)

  test('a recovery without a database exits with 1 and names the missing setting', async () => {
    const folder = production.folder()
    expect(await recover(folder, { DATABASE_URL: '' })).toMatchObject({
      code: 1,
      out: '',
      err: expect.stringMatching(/^DATABASE_URL: is not set, .*\n$/) as string,
    })
    expect(await recover(folder, { DATABASE_URL: 'postgresql://nobody:secret@127.0.0.1:9/none' })).toMatchObject({
      code: 1,
      err: expect.not.stringContaining('secret') as string,
    })
  })
})

describe('a sandbox on its embedded database', () => {
  test('a sandbox with an embedded database can be recovered by a reader of its data folder, without settings', async () => {
    const place = await usedPlace(mkdtempSync(join(tmpdir(), 'guichet-recovery-')))
    const sandbox = await startProcess(place)
    try {
      const words = ['admin', 'recover', '--gateway', sandbox.issuer, '--json']
      const opened = json(await production.guichet(place.dataDir, words)) as { secretFile: string }
      expect(opened.secretFile).toBe(join(place.dataDir, 'admin-enrollment-secret'))
      const keyFile = join(place.dataDir, 'bob.json')
      json(await bootstrap(place.dataDir, keyFile, sandbox.issuer))
      const list = ['clients', 'list', '--as', keyFile, '--json']
      expect(json(await production.guichet(place.dataDir, list))).toHaveLength(11)
      // The admin key of another gateway is not overwritten by the sandbox's own.
      await sandbox.stop('SIGTERM')
      const elsewhere = JSON.stringify({ clientId: 'clnt_1', issuer: production.issuer, key: {} })
      writeFileSync(join(place.dataDir, 'clients/admin.json'), elsewhere)
      await expect(startProcess(place)).rejects.toThrow(/clients\/admin\.json is an admin key of another gateway/)
      expect(readFileSync(join(place.dataDir, 'clients/admin.json'), 'utf8')).toBe(elsewhere)
    } finally {
      await sandbox.stop('SIGTERM')
      rmSync(place.dataDir, { recursive: true, force: true })
    }
  }, 240_000)
})
