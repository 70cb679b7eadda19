import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openDatabase, tablesIn, type Database } from '../../src/storage/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'

/** Settings that an administrator may have made; each changes how values are read or written. */
const FOREIGN = {
  TimeZone: 'America/New_York',
  DateStyle: 'German, DMY',
  IntervalStyle: 'iso_8601',
  extra_float_digits: '-3',
  bytea_output: 'escape',
  search_path: 'elsewhere',
  default_transaction_isolation: 'serializable',
  default_transaction_read_only: 'on',
  statement_timeout: '900ms',
  synchronous_commit: 'off',
}
const OURS: Record<keyof typeof FOREIGN, string> = {
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  search_path: 'public',
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  statement_timeout: '15s',
  synchronous_commit: 'on',
}

let own: TestDatabase
let database: Database
beforeAll(async () => {
  own = await createTestDatabase()
  const [{ name }] = (await own.query<{ name: string }>('select current_database() as name')) as [{ name: string }]
  for (const [setting, value] of Object.entries(FOREIGN)) {
    const list = setting === 'search_path' ? value : `'${value}'`
    // Both, because the setting of the role takes precedence.
    await own.query(`alter database ${name} set ${setting} to ${list}`)
    await own.query(`alter role current_user in database ${name} set ${setting} to ${list}`)
  }
  database = openDatabase(own.url, 2)
})
afterAll(async () => {
  await database.close()
  await own.drop()
})

describe('settings of the database and of the role', () => {
  const sql = `select ${Object.keys(FOREIGN)
    .map((name) => `current_setting('${name}') as "${name}"`)
    .join(', ')}`

  test('foreign settings do not affect our sessions, inside a transaction or outside', async () => {
    expect(await database.tables.$queryRawUnsafe(sql)).toEqual([OURS])
    expect(await database.transaction((tx) => tablesIn(tx).$queryRawUnsafe(sql))).toEqual([OURS])
    expect(await database.query('settings', sql, [])).toEqual([OURS])
    // Only for data that can be fetched again.
    expect(await database.queryAsyncCommit('settings', sql, [])).toEqual([{ ...OURS, synchronous_commit: 'off' }])
  })

  test.each(['2026-01-15T12:00:00.000Z', '2026-07-15T23:59:59.999Z', '2026-03-29T01:30:00.000Z'])(
    'foreign settings do not change the time %s when it is stored or read',
    async (text) => {
      const at = new Date(text)
      const id = `cust_${at.getTime()}`
      await database.tables.outboxMessage.create({
        data: { id, topic: 'alert.received', subjectId: 'x', nextAttemptAt: at },
      })
      const stored = await own.query<{ at: string }>(
        `select extract(epoch from next_attempt_at)::numeric(20, 3)::text as at from public.outbox_message where id = '${id}'`,
      )
      expect(Number(stored[0]!.at) * 1_000).toBe(at.getTime())
      const { nextAttemptAt } = await database.tables.outboxMessage.findUniqueOrThrow({ where: { id } })
      expect(nextAttemptAt.toISOString()).toBe(text)
      const [row] = await database.query<{ at: Date }>(
        'at',
        'select next_attempt_at as at from outbox_message where id = $1',
        [id],
      )
      expect(row!.at.toISOString()).toBe(text)
    },
  )
})
