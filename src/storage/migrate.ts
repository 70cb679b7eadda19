import { createHash, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { REPLACED_MIGRATIONS, type ReplacedMigration } from './replaced-migrations.ts'
import { destroyConnection, DATABASE_TIMEOUTS, openSession } from './session.ts'

/** The lock and table of Prisma's own CLI, so that both tools can be used on one database. */
const PRISMA_MIGRATION_LOCK = 72_707_369
const MIGRATIONS_TABLE_SQL = `create table if not exists "_prisma_migrations" (
  "id" varchar(36) primary key not null, "checksum" varchar(64) not null, "finished_at" timestamptz,
  "migration_name" varchar(255) not null, "logs" text, "rolled_back_at" timestamptz,
  "started_at" timestamptz not null default now(), "applied_steps_count" integer not null default 0)`

/**
 * Applies the pending migrations `folder/NAME/migration.sql` in order, each in one transaction. Returns their names. If the
 * database has a replaced text of a migration, only the difference to the current text is applied. Processes can call it
 * concurrently: one migrates, the others wait for at most `DATABASE_TIMEOUTS.advisoryLock`. Throws if an applied migration was
 * changed, or if the database does not store text as UTF-8.
 */
export async function migrate(url: string, folder: string): Promise<string[]> {
  const client = await openSession(url, { responseTimeoutMs: DATABASE_TIMEOUTS.migration + DATABASE_TIMEOUTS.connect })
  try {
    const { rows } = await client.query<{ encoding: string }>(`select current_setting('server_encoding') as encoding`)
    if (rows[0]!.encoding !== 'UTF8')
      throw new Error(`the database has the encoding ${rows[0]!.encoding}: create it with ENCODING 'UTF8'`)
    const appliedNames: string[] = []
    for (;;) {
      const name = await applyNext(client, folder)
      if (name === undefined) return appliedNames
      appliedNames.push(name)
    }
  } finally {
    destroyConnection(client)
  }
}

/** Applies the first pending migration under the lock. Returns its name, or `undefined` if none is pending. */
async function applyNext(client: pg.Client, folder: string): Promise<string | undefined> {
  await client.query(`begin; set local statement_timeout to ${DATABASE_TIMEOUTS.migration}`)
  try {
    await acquireMigrationLock(client)
    await client.query(MIGRATIONS_TABLE_SQL)
    const { rows } = await client.query<{ migration_name: string; checksum: string }>(
      'select migration_name, checksum from "_prisma_migrations" where rolled_back_at is null',
    )
    const applied = new Map(rows.map((row) => [row.migration_name, row.checksum]))
    const pending = findPendingMigration(folder, applied)
    if (pending) await apply(client, pending)
    await client.query('commit')
    return pending?.name
  } catch (error) {
    await client.query('rollback').catch(() => undefined)
    throw error
  }
}

/** A transaction-level lock, which also works behind a pooler. It conflicts with Prisma's session lock of the same key. */
async function acquireMigrationLock(client: pg.Client): Promise<void> {
  const waitMs = DATABASE_TIMEOUTS.advisoryLock
  await client.query(`set local lock_timeout to ${waitMs}`)
  try {
    await client.query(`select pg_advisory_xact_lock(${PRISMA_MIGRATION_LOCK})`)
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error
    throw new Error(
      `another process has been migrating the database for ${waitMs / 1_000} s: start again when it has finished`,
      {
        cause: error,
      },
    )
  }
}

interface Migration {
  readonly name: string
  readonly sql: string
  readonly checksum: string
  /** Whether the database has a replaced text of the same name, which `sql` upgrades. */
  readonly hasReplacedText: boolean
}

function findPendingMigration(folder: string, applied: ReadonlyMap<string, string>): Migration | undefined {
  for (const name of migrationNames(folder)) {
    const sql = readFileSync(join(folder, name, 'migration.sql'), 'utf8')
    const checksum = createHash('sha256').update(sql).digest('hex')
    const appliedChecksum = applied.get(name)
    if (appliedChecksum === checksum) continue
    const replaced = findReplacedMigration(name, applied)
    if (appliedChecksum === undefined)
      return { name, sql: replaced?.upgradeSql ?? sql, checksum, hasReplacedText: false }
    if (replaced?.name !== name) throw new Error(`migration ${name} was changed after it was applied`)
    return { name, sql: replaced.upgradeSql, checksum, hasReplacedText: true }
  }
  return undefined
}

/** The replaced text that the database has in place of the current migration. */
const findReplacedMigration = (name: string, applied: ReadonlyMap<string, string>): ReplacedMigration | undefined =>
  REPLACED_MIGRATIONS.find((old) => old.replacedBy === name && applied.get(old.name) === old.checksum)

const migrationNames = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => statSync(join(folder, name)).isDirectory())
    .sort()

async function apply(client: pg.Client, { name, sql, checksum, hasReplacedText }: Migration): Promise<void> {
  await client.query(sql)
  if (hasReplacedText)
    await client.query(
      'update "_prisma_migrations" set checksum = $1 where migration_name = $2 and rolled_back_at is null',
      [checksum, name],
    )
  else
    await client.query(
      `insert into "_prisma_migrations" (id, checksum, migration_name, finished_at, applied_steps_count)
       values ($1, $2, $3, now(), 1)`,
      [randomUUID(), checksum, name],
    )
}
