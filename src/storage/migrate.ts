import { createHash, randomUUID } from 'node:crypto'
import { readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import type pg from 'pg'
import { REPLACED_MIGRATIONS, type ReplacedMigration } from './replaced-migrations.ts'
import { cut, DATABASE_TIMEOUTS, openSession } from './session.ts'

/** The lock and table that Prisma's own CLI uses, so that either of the two can take over from the other. */
const PRISMA_MIGRATION_LOCK = 72_707_369
const TABLE = `create table if not exists "_prisma_migrations" (
  "id" varchar(36) primary key not null, "checksum" varchar(64) not null, "finished_at" timestamptz,
  "migration_name" varchar(255) not null, "logs" text, "rolled_back_at" timestamptz,
  "started_at" timestamptz not null default now(), "applied_steps_count" integer not null default 0)`

/**
 * Applies what is missing of `folder/NAME/migration.sql`, in order, each in one transaction, and returns the names.
 * If the database has a text that was replaced, only the difference to the present text is applied.
 * Many processes may call it at once: one applies a migration, the others wait, for at most `DATABASE_TIMEOUTS.exclusive`.
 * Throws if an applied migration was changed since, or if the database does not store text as UTF-8.
 */
export async function migrate(url: string, folder: string): Promise<string[]> {
  const client = await openSession(url, { responseMs: DATABASE_TIMEOUTS.migration + DATABASE_TIMEOUTS.connect })
  try {
    const { rows } = await client.query<{ encoding: string }>(`select current_setting('server_encoding') as encoding`)
    if (rows[0]!.encoding !== 'UTF8')
      throw new Error(`the database has the encoding ${rows[0]!.encoding}: create it with ENCODING 'UTF8'`)
    const done: string[] = []
    for (;;) {
      const name = await applyNext(client, folder)
      if (name === undefined) return done
      done.push(name)
    }
  } finally {
    cut(client)
  }
}

/** Applies the first migration that is missing, under the lock; returns its name, or undefined if none is missing. */
async function applyNext(client: pg.Client, folder: string): Promise<string | undefined> {
  await client.query(`begin; set local statement_timeout to ${DATABASE_TIMEOUTS.migration}`)
  try {
    await lock(client)
    await client.query(TABLE)
    const { rows } = await client.query<{ migration_name: string; checksum: string }>(
      'select migration_name, checksum from "_prisma_migrations" where rolled_back_at is null',
    )
    const applied = new Map(rows.map((row) => [row.migration_name, row.checksum]))
    const missing = missingOf(folder, applied)
    if (missing) await apply(client, missing)
    await client.query('commit')
    return missing?.name
  } catch (error) {
    await client.query('rollback').catch(() => undefined)
    throw error
  }
}

/** Of the transaction, so that it ends with it behind whatever proxy. It excludes Prisma's own lock of the same key. */
async function lock(client: pg.Client): Promise<void> {
  const waitMs = DATABASE_TIMEOUTS.exclusive
  await client.query(`set local lock_timeout to ${waitMs}`)
  try {
    await client.query(`select pg_advisory_xact_lock(${PRISMA_MIGRATION_LOCK})`)
  } catch (error) {
    if ((error as { code?: unknown }).code !== '55P03') throw error
    throw new Error(
      `another process has been migrating the database for ${waitMs / 1_000} s: start again once it ended`,
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
  /** Whether the database has another text of the same name, which `sql` brings to this one. */
  readonly isRecorded: boolean
}

function missingOf(folder: string, applied: ReadonlyMap<string, string>): Migration | undefined {
  for (const name of migrationNames(folder)) {
    const sql = readFileSync(join(folder, name, 'migration.sql'), 'utf8')
    const checksum = createHash('sha256').update(sql).digest('hex')
    const known = applied.get(name)
    if (known === checksum) continue
    const replaced = replacedBy(name, applied)
    if (known === undefined) return { name, sql: replaced?.difference ?? sql, checksum, isRecorded: false }
    if (replaced?.name !== name) throw new Error(`migration ${name} was changed after it was applied`)
    return { name, sql: replaced.difference, checksum, isRecorded: true }
  }
  return undefined
}

/** The text that the database has instead of the migration's present one. */
const replacedBy = (name: string, applied: ReadonlyMap<string, string>): ReplacedMigration | undefined =>
  REPLACED_MIGRATIONS.find((old) => old.by === name && applied.get(old.name) === old.checksum)

const migrationNames = (folder: string): string[] =>
  readdirSync(folder)
    .filter((name) => statSync(join(folder, name)).isDirectory())
    .sort()

async function apply(client: pg.Client, { name, sql, checksum, isRecorded }: Migration): Promise<void> {
  await client.query(sql)
  if (isRecorded)
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
