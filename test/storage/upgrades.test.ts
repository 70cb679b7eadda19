import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import pg from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { migrate } from '../../src/storage/migrate.ts'

const root = join(import.meta.dirname, '../..')
const migrations = join(root, 'prisma/migrations')
/** Texts that were committed and then replaced, as `NAME.CHECKSUM.sql` with the first 8 characters of the checksum. */
const replacedTexts = join(root, 'test/support/migrations')
const names = readdirSync(migrations)
  .filter((name) => /^\d/.test(name))
  .sort()

interface Migration {
  readonly name: string
  readonly checksum: string
}
const checksumOf = (text: string): string => createHash('sha256').update(text).digest('hex')
const textOf = (name: string): string => readFileSync(join(migrations, name, 'migration.sql'), 'utf8')
const current: readonly Migration[] = names.map((name) => ({ name, checksum: checksumOf(textOf(name)) }))

/** Every set of migrations that a commit has had, oldest first. `npm run migrate:lock` adds the newest. */
const states: readonly (readonly Migration[])[] = readFileSync(join(replacedTexts, 'states.txt'), 'utf8')
  .trim()
  .split('\n\n')
  .map((state) =>
    state.split('\n').map((line) => {
      const [checksum, name] = line.split('  ') as [string, string]
      return { name, checksum }
    }),
  )
/** The state of an empty database whose upgrade stopped between two migrations. */
const stopped = names.map((_name, index) => current.slice(0, index + 1))
const isSame = (one: readonly Migration[], other: readonly Migration[]): boolean =>
  JSON.stringify(one) === JSON.stringify(other)
const starts = [...states, ...stopped.filter((one) => !states.some((state) => isSame(state, one)))]
const titleOf = (state: readonly Migration[]): string => {
  const { name, checksum } = state.at(-1)!
  return `${state.length} migration(s) to ${name} (${checksum.slice(0, 8)})`
}

const admin = new pg.Client({ connectionString: inject('serverUrl') })
beforeAll(() => admin.connect())
afterAll(() => admin.end())

/** The migration text with this checksum: the current one or a replaced one. */
function committedText({ name, checksum }: Migration): string {
  const today = existsSync(join(migrations, name)) ? textOf(name) : undefined
  if (today !== undefined && checksumOf(today) === checksum) return today
  const text = readFileSync(join(replacedTexts, `${name}.${checksum.slice(0, 8)}.sql`), 'utf8')
  if (checksumOf(text) !== checksum) throw new Error(`the replaced text of ${name} does not have its checksum`)
  return text
}

/** Runs `work` on a new database with the migrations applied, then deletes the database. */
async function withDatabase(
  included: readonly Migration[],
  work: (database: { url: string; client: pg.Client }) => Promise<void>,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'guichet-migrations-'))
  const name = `guichet_test_${randomBytes(6).toString('hex')}`
  for (const one of included) {
    mkdirSync(join(folder, one.name))
    writeFileSync(join(folder, one.name, 'migration.sql'), committedText(one))
  }
  await admin.query(`create database ${name}`)
  const url = new URL(inject('serverUrl'))
  url.pathname = `/${name}`
  const client = new pg.Client({ connectionString: url.href })
  await client.connect()
  try {
    await migrate(url.href, folder)
    await work({ url: url.href, client })
  } finally {
    await client.end()
    await admin.query(`drop database ${name} with (force)`)
    rmSync(folder, { recursive: true, force: true })
  }
}

/** The whole schema, one line per object, for comparing two databases; the order of columns does not matter. */
async function schemaOf(client: pg.Client): Promise<string[]> {
  const { rows } = await client.query<{ line: string }>(`
    with relation as (
      select c.oid, c.relname, c.relkind, c.relpersistence, c.reloptions, c.relrowsecurity from pg_class c
      where c.relnamespace = 'public'::regnamespace and c.relname !~ '^_prisma_migrations')
    select concat_ws(' ', 'relation', relname, relkind, relpersistence, reloptions, relrowsecurity) as line from relation
    union all
    select concat_ws(' ', 'column', relname || '.' || attname, format_type(atttypid, atttypmod), attcollation::regcollation,
        case when attnotnull then 'not null' end, 'default ' || pg_get_expr(adbin, adrelid), attidentity, attgenerated)
      from relation join pg_attribute on attrelid = relation.oid and attnum > 0 and not attisdropped
      left join pg_attrdef on adrelid = attrelid and adnum = attnum
      where relkind <> 'i'
    union all select 'index ' || pg_get_indexdef(oid) || ' valid ' || indisvalid
      from relation join pg_index on indexrelid = relation.oid
    union all
    select concat_ws(' ', 'constraint', relname, conname, pg_get_constraintdef(pg_constraint.oid), 'validated', convalidated)
      from relation join pg_constraint on conrelid = relation.oid
    union all select concat_ws(' ', 'trigger', pg_get_triggerdef(pg_trigger.oid), tgenabled)
      from relation join pg_trigger on tgrelid = relation.oid and not tgisinternal
    union all select 'function ' || pg_get_functiondef(oid) from pg_proc where pronamespace = 'public'::regnamespace
    union all
    select concat_ws(' ', 'sequence', relname, seqtypid::regtype, seqstart, seqincrement, seqmax, seqmin, seqcache, seqcycle,
        'owned by', refobjid::regclass, attname)
      from relation join pg_sequence on seqrelid = relation.oid
      left join pg_depend on objid = relation.oid and classid = 'pg_class'::regclass and deptype = 'a'
      left join pg_attribute on attrelid = refobjid and attnum = refobjsubid
    union all select concat_ws(' ', 'type', typname, typtype) from pg_type
      where typnamespace = 'public'::regnamespace and typtype not in ('b', 'c')
    union all select concat_ws(' ', 'extension', extname, extversion) from pg_extension
    order by 1`)
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

const lines = (of: readonly Migration[]): string[] => of.map(({ name, checksum }) => `${checksum}  ${name}`)

test('each committed migration has the checksum in the lock file', () => {
  const locked = readFileSync(join(root, 'prisma/migrations.lock'), 'utf8').trim().split('\n')
  // A new one is added by `npm run migrate:lock`.
  expect(lines(current)).toEqual(locked)
})

test('the committed states of the migrations include the present one', () => {
  // It is added by `npm run migrate:lock`, also after a merge.
  expect(states.map(lines)).toContainEqual(lines(current))
})

describe('upgrades of earlier versions', () => {
  let fresh: string[] = []
  beforeAll(() =>
    withDatabase(current, async ({ client }) => {
      fresh = await schemaOf(client)
    }),
  )

  test.each(starts.map((state) => [titleOf(state), state] as const))(
    'a database with %s is upgraded with its rows to the newest schema',
    async (_title, state) => {
      await withDatabase(state, async ({ url, client }) => {
        expect(await fill(client)).toBeGreaterThan(10)
        await migrate(url, migrations)
        expect(await migrate(url, migrations)).toEqual([])
        expect(await schemaOf(client)).toEqual(fresh)
        const { rows } = await client.query<{ table: string; count: number }>(`
          select 'account' as table, count(*)::int as count from account
          union all select 'bank', count(*)::int from bank
          union all select 'consent', count(*)::int from consent
          union all select 'ledger_entry', count(*)::int from ledger_entry`)
        expect(rows.map(({ count }) => count)).toEqual([3, 3, 3, 3])
        const { rows: applied } = await client.query<Migration>(
          `select migration_name as name, checksum from "_prisma_migrations" where rolled_back_at is null`,
        )
        expect(lines(applied)).toEqual(expect.arrayContaining(lines(current)))
      })
    },
  )

  /** Upgrades a database whose last committed text had the checksum, with the rows that `prepare` inserts. */
  const upgraded = async (
    checksum: string,
    prepare: (client: pg.Client) => Promise<unknown>,
    check: (client: pg.Client) => Promise<void>,
  ): Promise<void> => {
    const state = states.find((one) => one.at(-1)!.checksum.startsWith(checksum))!
    await withDatabase(state, async ({ url, client }) => {
      await fill(client)
      await client.query("set session_replication_role = 'replica'")
      await prepare(client)
      await client.query("set session_replication_role = 'origin'")
      await migrate(url, migrations)
      await check(client)
    })
  }
  const rowsOf = async (client: pg.Client, sql: string): Promise<unknown[][]> =>
    (await client.query<unknown[]>({ text: sql, rowMode: 'array' })).rows

  test('a bank without an owner gets the client that registered its connector', async () => {
    await upgraded(
      '594ccd30',
      (client) => client.query("update connector set client_id = 'v1' where bank_id = 'v3'"),
      async (client) => {
        expect(await rowsOf(client, 'select id, client_id from bank order by id')).toEqual([
          ['v1', 'v1'],
          ['v2', 'v2'],
          ['v3', 'v1'],
        ])
      },
    )
  })

  test.each(['594ccd30', '796c3d09'])(
    'accounts of %s without a sequence get one in order of their creation',
    async (checksum) => {
      await upgraded(
        checksum,
        (client) => client.query("update account set created_at = now() - interval '1 day' where id = 'v2'"),
        async (client) => {
          expect(await rowsOf(client, 'select id, sequence from account order by sequence')).toEqual([
            ['v2', 1],
            ['v1', 2],
            ['v3', 3],
          ])
          expect(await rowsOf(client, "select nextval('account_sequence_seq')::int")).toEqual([[4]])
        },
      )
    },
  )

  test('disclosures of one account to several customers are counted together', async () => {
    await upgraded(
      '5536be37',
      async (client) => {
        await client.query(
          "update account set bank_id = 'bank', ref_digest = case id when 'v3' then 'other' else 'one' end",
        )
        await client.query(`
          update disclosure_day set day = (now() at time zone 'UTC')::date, question_count = 2,
            amount_count = case account_id when 'v2' then 2 else 1 end,
            amount_type = case account_id when 'v1' then 'CLBD' when 'v2' then 'ITAV' end`)
      },
      async (client) => {
        const disclosed = `select disclosure_key, cardinality(exact_at), exact_type, cardinality(threshold_at)
          from disclosure where disclosure_key like 'bank/%' order by 1`
        expect(await rowsOf(client, disclosed)).toEqual([
          ['bank/one', 3, 'ITAV', 4],
          ['bank/other', 1, null, 2],
        ])
      },
    )
  })

  test('a certification from before claims existed is finished', async () => {
    await upgraded(
      '8b23aed2',
      (client) => client.query('update certification set finished_at = null'),
      async (client) => {
        const open = 'select count(*)::int from certification_run where finished_at is null'
        expect(await rowsOf(client, open)).toEqual([[0]])
      },
    )
  })

  test('certification runs, outages and the ledger are kept with the terms of the contract', async () => {
    await upgraded(
      'ebd5da08',
      async (client) => {
        const checks = [
          { name: 'SIGN_IN', passed: true, reason: null, failureCause: null, tookMs: 12 },
          { name: 'ACCOUNTS', passed: false, reason: 'NO_ACCOUNTS', failureCause: null, tookMs: 3 },
          { name: 'PAGING', passed: false, reason: 'NOT_TRIED', tookMs: 0 },
        ]
        await client.query(
          "update certification set checks = $1, kind = 'NIGHTLY', finished_at = at, statement = 'signed' where id = 'v1'",
          [JSON.stringify(checks)],
        )
        await client.query("update certification set passed = true, finished_at = at where id = 'v2'")
        await client.query("update connector set state = 'LIVE' where id = 'v1'")
        await client.query("update maintenance_window set id = 'mtnc_1' where id = 'v1'")
        await client.query(`
          insert into ledger_entry (at, kind, account_ids, purposes, changes) values
            (now(), 'CONNECTOR_LIVE', '{}', '{}', '[{"field":"status","before":["CERTIFIED"],"after":["LIVE"]}]'),
            (now(), 'MAINTENANCE_ANNOUNCED', '{}', '{}', '[{"field":"window","before":[],"after":["one","two"]}]'),
            (now(), 'INCIDENT_ENDED', '{}', '{}', null),
            (now(), 'CONNECTOR_CERTIFYING', '{}', '{}', null),
            (now(), 'CERTIFICATION_NOT_PASSED', '{}', '{}', null),
            (now(), 'ADMIN_ENROLMENT_OPENED', '{}', '{}', null)`)
        await client.query("update connector_notice set kind = 'BROKEN' where id = 'v1'")
      },
      async (client) => {
        const runs =
          'select id, trigger, status, started_at = created_at, signed_report from certification_run order by id'
        expect(await rowsOf(client, runs)).toEqual([
          ['v1', 'SCHEDULED', 'FAILED', true, 'signed'],
          ['v2', 'PARTNER', 'PASSED', true, null],
          ['v3', 'PARTNER', 'RUNNING', null, null],
        ])
        expect(await rowsOf(client, "select checks from certification_run where id = 'v1'")).toEqual([
          [
            [
              { name: 'SIGN_IN', status: 'PASSED', code: null, failureCause: null, durationMs: 12 },
              { name: 'ACCOUNTS', status: 'FAILED', code: 'NO_ACCOUNTS', failureCause: null, durationMs: 3 },
              { name: 'PAGING', status: 'SKIPPED', code: 'PREREQUISITE_FAILED', failureCause: null, durationMs: 0 },
            ],
          ],
        ])
        expect(await rowsOf(client, "select status from connector where id = 'v1'")).toEqual([['ACTIVE']])
        expect(await rowsOf(client, "select count(*)::int from outage where id = 'outg_1'")).toEqual([[1]])
        const entries = "select action, changes from ledger_entry where action !~ '^v' order by sequence"
        expect(await rowsOf(client, entries)).toEqual([
          ['CONNECTOR_ACTIVATED', [{ field: 'status', before: ['CERTIFIED'], after: ['ACTIVE'] }]],
          [
            'OUTAGE_ANNOUNCED',
            [
              { field: 'startsAt', before: [], after: ['one'] },
              { field: 'endsAt', before: [], after: ['two'] },
            ],
          ],
          ['OUTAGE_ENDED', null],
          ['CERTIFICATION_REQUESTED', null],
          ['CERTIFICATION_FAILED', null],
          ['ADMIN_ENROLLMENT_OPENED', null],
        ])
        expect(await rowsOf(client, "select kind from connector_notice where id = 'v1'")).toEqual([['DOWN']])
      },
    )
  })

  test('platforms become organizations of their kinds, with all stored references to them and their clients', async () => {
    await upgraded(
      'a91b06d3',
      async (client) => {
        await client.query("update platform set id = 'plat_' || id")
        await client.query("update client set platform_id = 'plat_' || platform_id, operations = 'REGISTERED'")
        await client.query(`update client set scopes = case id when 'v1' then '{clients:manage,platforms:manage}'::text[]
          when 'v2' then '{connectors:manage}'::text[] else '{accounts:read}'::text[] end`)
        await client.query(`update oauth_artifact set payload = '{"scope": "clients:manage platforms:manage"}'`)
        await client.query(
          "update idempotent_result set mutation = 'registerPlatform', result_id = 'plat_v1' where key = 'v1'",
        )
        await client.query("update idempotent_result set mutation = 'replayDelivery' where key = 'v2'")
        await client.query(
          `update ledger_entry set kind = 'PLATFORM_CHANGED', subject_id = 'plat_v1' where client_id is null`,
        )
        await client.query(`insert into ledger_entry (at, kind, subject_id, account_ids, purposes, changes) values
          (now(), 'WEBHOOK_REGISTERED', 'whep_x', '{}', '{}', null),
          (now(), 'CLIENT_CHANGED', 'v1', '{}', '{}', '[
            {"field": "operations", "before": ["ANY"], "after": ["REGISTERED"]},
            {"field": "scopes", "before": [], "after": ["platforms:manage"]},
            {"field": "keys", "before": [], "after": ["k1 x"]},
            {"field": "name", "before": ["a"], "after": ["platforms:manage"]}]')`)
      },
      async (client) => {
        const organizations = `select organization.id, kind, client.id, operation_policy, scopes from organization
          join client on organization_id = organization.id order by 1`
        expect(await rowsOf(client, organizations)).toEqual([
          ['org_v1', 'OPERATOR', 'v1', 'REGISTERED_ONLY', ['clients:manage', 'organizations:manage']],
          ['org_v2', 'BANK', 'v2', 'REGISTERED_ONLY', ['connectors:manage']],
          ['org_v3', 'PLATFORM', 'v3', 'REGISTERED_ONLY', ['accounts:read']],
        ])
        expect(await rowsOf(client, 'select distinct payload from oauth_artifact')).toEqual([
          [{ scope: 'clients:manage organizations:manage' }],
        ])
        const records = 'select idempotency_key, mutation, result_id from idempotency_record order by 1'
        expect(await rowsOf(client, records)).toEqual([
          ['v1', 'registerOrganization', 'org_v1'],
          ['v3', 'v3', 'v3'],
        ])
        expect(await rowsOf(client, 'select action, subject_id, changes from ledger_entry order by sequence')).toEqual([
          ...Array.from({ length: 3 }, () => ['ORGANIZATION_CHANGED', 'org_v1', null]),
          ['WEBHOOK_ENDPOINT_REGISTERED', 'whep_x', null],
          [
            'CLIENT_CHANGED',
            'v1',
            [
              { field: 'operationPolicy', before: ['ANY'], after: ['REGISTERED_ONLY'] },
              { field: 'scopes', before: [], after: ['organizations:manage'] },
              { field: 'jwks', before: [], after: ['k1 x'] },
              { field: 'name', before: ['a'], after: ['platforms:manage'] },
            ],
          ],
        ])
        await expect(client.query("update ledger_entry set detail = 'x'")).rejects.toThrow()
        expect(await rowsOf(client, 'select count(*)::int from reseal_progress')).toEqual([[0]])
      },
    )
  })

  test('a database with a text that was never committed is refused', async () => {
    await withDatabase(current.slice(0, 1), async ({ url, client }) => {
      await client.query(`update "_prisma_migrations" set checksum = repeat('0', 64)`)
      await expect(migrate(url, migrations)).rejects.toThrow(`${names[0]!} was changed after it was applied`)
    })
  })
})
