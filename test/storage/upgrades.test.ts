import { createHash, randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { migrate } from '../../src/storage/migrate.ts'

const root = join(import.meta.dirname, '../..')
const migrations = join(root, 'prisma/migrations')
const names = readdirSync(migrations)
  .filter((name) => /^\d/.test(name))
  .sort()
const admin = new pg.Client({ connectionString: inject('serverUrl') })
beforeAll(() => admin.connect())
afterAll(() => admin.end())

/** Runs `work` on a new database and a folder with some of the migrations, and deletes both. */
async function withDatabase(
  included: readonly string[],
  work: (database: { url: string; folder: string; client: pg.Client }) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-migrations-'))
  const name = `guichet_test_${randomBytes(6).toString('hex')}`
  for (const one of included) cpSync(join(migrations, one), join(folder, one), { recursive: true })
  await admin.query(`create database ${name}`)
  const url = new URL(inject('serverUrl'))
  url.pathname = `/${name}`
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  try {
    await work({ url: url.href, folder, client })
  } finally {
    await client.end()
    await admin.query(`drop database ${name} with (force)`)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** Columns and indexes, for comparing two databases; the order of columns does not matter. */
async function shapeOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(`
    select table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || coalesce(column_default, '') as line
    from information_schema.columns where table_schema = 'public' and table_name <> '_prisma_migrations'
    union all select indexdef from pg_indexes where schemaname = 'public' and tablename <> '_prisma_migrations' order by 1`)
  return rows.map(({ line }) => line)
}

/** Rows of an installation, each with the columns that its table must have at that time and nothing else. */
async function fill(client: pg.Client): Promise<number> {
  await client.query("set session_replication_role = 'replica'")
  const { rows: columns } = await client.query<{ table: string; column: string; type: string; udt: string }>(`
    select table_name as table, column_name as column, data_type as type, udt_name as udt from information_schema.columns
    where table_schema = 'public' and table_name <> '_prisma_migrations' and is_nullable = 'NO' and column_default is null`)
  const valueOf = ({ type, udt }: { type: string; udt: string }): string => {
    if (type === 'ARRAY') return `'{}'::${udt}`
    if (/^(int|bool)/.test(udt)) return udt === 'bool' ? 'false' : 'n'
    return udt === 'jsonb' ? `'{}'::jsonb` : /^(timestamptz|date)$/.test(udt) ? 'now()' : `'v' || n`
  }
  const tables = Map.groupBy(columns, ({ table }) => table)
  for (const [table, own] of tables)
    await client.query(
      `insert into "${table}" (${own.map(({ column }) => `"${column}"`).join(', ')})
       select ${own.map(valueOf).join(', ')} from generate_series(1, 3) as n`,
    )
  await client.query("set session_replication_role = 'origin'")
  return tables.size
}

test('a committed migration never changes: each has the checksum of the lock file', () => {
  const locked = readFileSync(join(root, 'prisma/migrations.lock'), 'utf8').trim().split('\n')
  const actual = names.map((name) => {
    const text = readFileSync(join(migrations, name, 'migration.sql'), 'utf8')
    return `${createHash('sha256').update(text).digest('hex')}  ${name}`
  })
  // A new one is added by `npm run migrate:lock`.
  expect(actual).toEqual(locked)
})

describe('a database of an earlier version', () => {
  test.each(names.map((name, index) => [name, names.slice(0, index + 1)] as const))(
    'is upgraded with its rows from %s to the newest',
    async (_name, included) => {
      await withDatabase(included, async ({ url, folder, client }) => {
        await migrate(url, folder)
        expect(await fill(client)).toBeGreaterThan(10)
        await migrate(url, migrations)
        expect(await migrate(url, migrations)).toEqual([])
        const { rows } = await client.query<{ count: number }>('select count(*)::int as count from consent')
        expect(rows[0]!.count).toBe(3)
      })
    },
    60_000,
  )

  test('is upgraded if it has the bank_side migration that was replaced after it was committed', async () => {
    const replaced = '20261122173726_bank_side'
    let fresh: string[] = []
    await withDatabase([], async ({ url, client }) => {
      await migrate(url, migrations)
      fresh = await shapeOf(client)
    })
    await withDatabase(names.slice(0, 2), async ({ url, folder, client }) => {
      mkdirSync(join(folder, replaced))
      cpSync(join(root, `test/support/migrations/${replaced}.sql`), join(folder, replaced, 'migration.sql'))
      await migrate(url, folder)
      await fill(client)
      await migrate(url, migrations)
      expect(await shapeOf(client)).toEqual(fresh)
      const { rows } = await client.query<{ open: number }>(
        'select count(*)::int as open from certification where finished_at is null',
      )
      expect(rows[0]!.open).toBe(0)
    })
  }, 60_000)
})
