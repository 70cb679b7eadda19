import { randomBytes } from 'node:crypto'
import pg from 'pg'
import { inject } from 'vitest'

export interface TestDatabase {
  readonly url: string
  /** Rows of a query, for looking behind the gateway's back. */
  query<T extends pg.QueryResultRow>(sql: string, values?: unknown[]): Promise<T[]>
  /** Makes this database a template under another name, and ends every connection to it. */
  keepAs(template: string): Promise<void>
  drop(): Promise<void>
}

/** A database of its own for one test file, cloned from `template`: without one, from the migrated and empty database. */
export async function createTestDatabase(template = inject('template')): Promise<TestDatabase> {
  const name = `guichet_test_${randomBytes(6).toString('hex')}`
  const admin = new pg.Client({ connectionString: inject('serverUrl') })
  await admin.connect()
  await admin.query(`create database ${name} template ${template}`)
  const url = new URL(inject('serverUrl'))
  url.pathname = `/${name}`
  const pool = new pg.Pool({ connectionString: url.href, max: 2 })
  pool.on('error', () => undefined)
  return {
    url: url.href,
    query: async <T extends pg.QueryResultRow>(sql: string, values: unknown[] = []) =>
      (await pool.query<T>(sql, values)).rows,
    async keepAs(template) {
      await pool.end()
      await admin.query(`drop database if exists ${template} with (force)`)
      await admin.query(`alter database ${name} rename to ${template}`)
      await admin.end()
    },
    async drop() {
      await pool.end()
      await admin.query(`drop database if exists ${name} with (force)`)
      await admin.end()
    },
  }
}
