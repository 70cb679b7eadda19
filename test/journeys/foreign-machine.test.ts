import { execFile } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { networkInterfaces, tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { afterEach, describe, expect, inject, test } from 'vitest'
import { eventually } from '../support/gateway.ts'
import { databaseUrl, newPlace, startProcess, type GatewayPlace, type GatewayProcess } from '../support/process.ts'

const cli = join(import.meta.dirname, '../../src/entrypoints/cli/main.ts')
const run = promisify(execFile)
const HAS_IPV6 = Object.values(networkInterfaces()).some((addresses) =>
  addresses?.some(({ address }) => address === '::1'),
)
/** The README's first query. */
const QUERY =
  '{ customer { accounts { nodes { displayName maskedNumber bank { name } balances { ... on ExactBalance { value { amount currency } } ... on BalanceBand { lowerBound { amount } upperBound { amount currency } } ... on BalanceUnavailable { reason { code } } } } } } }'
/** What the driver, PostgreSQL's programs and Node read of a machine by themselves. */
const MACHINE = {
  TZ: 'America/New_York',
  LANG: 'C',
  LC_ALL: 'C',
  NODE_ENV: 'production',
  HOME: '/nonexistent',
  PGTZ: 'America/New_York',
  PGOPTIONS: '-c default_transaction_read_only=on -c timezone=America/New_York',
  PGHOST: 'database.invalid',
  PGPORT: '1',
  PGUSER: 'nobody',
  PGDATABASE: 'elsewhere',
  PGSSLMODE: 'require',
  PGDATESTYLE: 'German',
  PGCLIENTENCODING: 'LATIN1',
}

const folders: string[] = []
const running: GatewayProcess[] = []
afterEach(async () => {
  for (const gateway of running.splice(0)) if (gateway.child.exitCode === null) await gateway.stop('SIGINT')
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true })
})

function newFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-foreign-'))
  chmodSync(folder, 0o711)
  folders.push(folder)
  return folder
}

async function start(place: GatewayPlace, env: Record<string, string>, umask?: string): Promise<GatewayProcess> {
  const gateway = await startProcess(place, env, umask)
  running.push(gateway)
  return gateway
}

/** The first query of the README, at this place: every balance is there, if need be when its bank was not slow. */
async function expectBalances({ port, dataDir }: GatewayPlace, env: Record<string, string>): Promise<void> {
  const answer = await eventually('every balance', async () => {
    const { stdout } = await run(process.execPath, [cli, 'query', QUERY, '--customer', 'ada', '--json'], {
      env: { ...process.env, ISSUER: '', ...env, PORT: String(port), GUICHET_DATA_DIR: dataDir },
    })
    const read = JSON.parse(stdout) as {
      data: { customer: { accounts: { nodes: { balances: { value?: object }[] }[] } } }
    }
    return read.data.customer.accounts.nodes.every(({ balances }) => balances[0]?.value) && read
  })
  expect(answer.data.customer.accounts.nodes.map(({ balances }) => balances)).toEqual(
    [1, 2, 3, 4].map(() => [
      {
        value: {
          amount: expect.stringMatching(/^-?\d+\.\d\d$/) as string,
          currency: expect.any(String) as string,
        },
      },
    ]),
  )
}

/** Every time that a first query stores is now, and tokens of banks are due within the two hours that they last at most. */
async function expectInstants(database: pg.Client, sinceMs: number): Promise<void> {
  const ms = (column: string) => `(extract(epoch from ${column}) * 1000)::float8`
  const stored = await eventually('all that a first query stores', async () => {
    const { rows } = await database.query<{ what: string; at: number }>(`
      select 'consent' as what, ${ms('created_at')} as at from public.consent
      union all select 'ledger', ${ms('occurred_at')} from public.ledger_entry
      union all select 'snapshot', ${ms('fetched_at')} from public.snapshot where fetched_at is not null`)
    return new Set(rows.map(({ what }) => what)).size === 3 && rows
  })
  for (const { what, at } of stored) {
    expect([what, at > sinceMs - 1_000]).toEqual([what, true])
    expect([what, at < Date.now() + 1_000]).toEqual([what, true])
  }
  const { rows: due } = await database.query<{ at: number }>(
    `select ${ms('token_expires_at')} as at from public.connection where token_expires_at is not null`,
  )
  expect(due.length).toBeGreaterThan(0)
  for (const { at } of due) {
    expect(at).toBeGreaterThan(sinceMs)
    expect(at).toBeLessThan(Date.now() + 7_200_000)
  }
}

/** A bank token is renewed once its time is up, and not before. */
async function expectRenewal(database: pg.Client, query: () => Promise<void>): Promise<void> {
  const sealed = async () =>
    (await database.query<{ sealed_access: string }>('select sealed_access from public.connection order by id')).rows
  const move = (by: string) =>
    database.query(
      `update public.connection set token_expires_at = now() + interval '${by}' where token_expires_at is not null`,
    )
  // A process whose LISTEN is cut off caches nothing.
  const forget = async () => {
    await database.query('delete from public.snapshot')
    await database.query(
      "select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and application_name = 'guichet' and query = 'select 1'",
    )
  }
  const before = await sealed()
  await move('20 minutes')
  await forget()
  await query()
  expect(await sealed()).toEqual(before)
  await move('-5 minutes')
  await forget()
  await query()
  for (const [index, { sealed_access }] of (await sealed()).entries())
    expect(sealed_access).not.toBe(before[index]!.sealed_access)
}

async function client(url: string): Promise<pg.Client> {
  const database = new pg.Client({ connectionString: url })
  database.on('error', () => undefined)
  await database.connect()
  return database
}

describe('a machine with settings of its own', () => {
  const HOST: Record<string, string> = HAS_IPV6 ? { HOST: '::1' } : {}

  test("on a machine with another time zone and locale, the README's first query works and each instant is right", async () => {
    const place = await newPlace(join(newFolder(), 'a $b "c" ü'))
    const env = { ...MACHINE, ...HOST }
    const sinceMs = Date.now()
    const gateway = await start(place, env, '077')
    if (HAS_IPV6) expect(gateway.output()).toContain(`ready  http://[::1]:${place.port}`)
    expect((await fetch(`${gateway.issuer}/readyz`)).status).toBe(200)
    // Inside its folder, and not in one that was chosen because the umask had closed it.
    expect(gateway.output()).not.toContain('its files are in')
    await expectBalances(place, env)
    const database = await client(databaseUrl(place))
    await expectInstants(database, sinceMs)
    await database.end()
    expect(await gateway.stop('SIGINT')).toBe(0)
  })

  test.runIf(userInfo().uid === 0)(
    'PostgreSQL starts repeatedly below a closed folder with a restrictive umask',
    async () => {
      const closed = newFolder()
      chmodSync(closed, 0o700)
      const place = await newPlace(join(closed, 'data'))
      for (const _each of ['the first start', 'the next']) {
        const gateway = await start(place, { GUICHET_SANDBOX_BANKS: 'off' }, '077')
        const [, home] = /its files are in (\S+)/.exec(gateway.output())!
        folders.push(home!)
        expect(await gateway.stop('SIGINT')).toBe(0)
      }
    },
    180_000,
  )

  test('a data folder of an earlier release with another time zone has no effect on times', async () => {
    const place = await newPlace(newFolder())
    const sinceMs = Date.now()
    const first = await start(place, { GUICHET_SANDBOX_BANKS: 'off' })
    await first.stop('SIGINT')
    const file = join(place.dataDir, 'postgresql/postgresql.conf')
    writeFileSync(
      file,
      `${readFileSync(file, 'utf8')}\ntimezone = 'Europe/Berlin'\nlog_timezone = 'Europe/Berlin'\ndatestyle = 'sql, dmy'\n`,
    )
    await start(place, {})
    await expectBalances(place, {})
    const database = await client(databaseUrl(place))
    await expectInstants(database, sinceMs)
    await expectRenewal(database, () => expectBalances(place, {}))
    await database.end()
  })
})

describe('a database of an administrator with settings of its own', () => {
  test.each(['America/New_York', 'Europe/Berlin'])(
    'a database with other settings (%s) does not affect the first query or the renewal of bank tokens',
    async (zone) => {
      const admin = await client(inject('serverUrl'))
      const name = `guichet_test_${randomBytes(6).toString('hex')}`
      await admin.query(`create role ${name} login password 'secret'`)
      await admin.query(`create database ${name} owner ${name} template template0 encoding 'UTF8'`)
      const foreign = { TimeZone: `'${zone}'`, DateStyle: `'German, DMY'`, default_transaction_read_only: 'on' }
      for (const [setting, value] of Object.entries(foreign)) {
        await admin.query(`alter database ${name} set ${setting} to ${value}`)
        await admin.query(`alter role ${name} set ${setting} to ${value}`)
      }
      const url = new URL(inject('serverUrl'))
      url.pathname = `/${name}`
      const database = await client(url.href)
      await database.query('set default_transaction_read_only to off')
      url.username = name
      url.password = 'secret'
      const place = await newPlace(newFolder())
      const sinceMs = Date.now()
      const gateway = await start(place, { DATABASE_URL: url.href })
      await expectBalances(place, {})
      await expectInstants(database, sinceMs)
      await expectRenewal(database, () => expectBalances(place, {}))
      expect(await gateway.stop('SIGINT')).toBe(0)
      await database.end()
      await admin.query(`drop database ${name} with (force)`)
      await admin.query(`drop role ${name}`)
      await admin.end()
    },
    180_000,
  )
})
