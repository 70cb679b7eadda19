import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toGatewayError } from '../../src/kernel/errors.ts'
import { openDatabase, tablesIn, type Database } from '../../src/storage/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { freePort } from '../support/ports.ts'
import { patientTimers } from '../support/patient-time.ts'

let own: TestDatabase
let database: Database
beforeAll(async () => {
  own = await createTestDatabase()
  database = openDatabase(own.url, 2)
})
afterAll(async () => {
  await database.close()
  await own.drop()
})

const codeOf = (work: Promise<unknown>): Promise<string> =>
  work.then(
    () => 'none',
    (error: unknown) => toGatewayError(error).code,
  )

/** A statement that fails with the given SQLSTATE, on each path to the database. */
const failing = (sqlState: string): Record<string, () => Promise<unknown>> => {
  const sql = `do $$ begin raise exception 'x' using errcode = '${sqlState}'; end $$`
  return {
    tables: () => database.tables.$executeRawUnsafe(sql),
    transaction: () => database.transaction((tx) => tablesIn(tx).$executeRawUnsafe(sql)),
    query: () => database.query(`fails-${sqlState}`, sql, []),
    queryAsyncCommit: () => database.queryAsyncCommit(`fails-${sqlState}`, sql, []),
  }
}

describe('an error of the database', () => {
  test.each([
    ['53100', 'the disk is full'],
    ['53200', 'the memory is used up'],
    ['53300', 'there are too many connections'],
    ['57P01', 'it is shutting down'],
    ['57P03', 'it is starting up'],
    ['57014', 'a statement took too long'],
    ['55P03', 'a lock took too long'],
    ['25006', 'it is a replica'],
    ['08006', 'the connection failed'],
  ])('%s (%s) is DATABASE_UNAVAILABLE on each path to the database', async (sqlState) => {
    for (const [path, work] of Object.entries(failing(sqlState)))
      expect([path, await codeOf(work())]).toEqual([path, 'DATABASE_UNAVAILABLE'])
  })

  test.each(['23505', '22P02', '42P01', 'P0001'])(
    '%s stays INTERNAL, because a retry does not help',
    async (sqlState) => {
      for (const [path, work] of Object.entries(failing(sqlState)))
        expect([path, await codeOf(work())]).toEqual([path, 'INTERNAL'])
    },
  )

  test('a DATABASE_UNAVAILABLE error states when to retry', async () => {
    const error: unknown = await failing('53300')['query']!().catch((thrown: unknown) => thrown)
    expect(toGatewayError(error)).toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryAfterSeconds: 2 })
  })

  test('an error of another connection, such as to a bank, is not taken for one of the database', () => {
    const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' })
    expect(toGatewayError(reset).code).toBe('INTERNAL')
  })
})

describe('a database that cannot be reached', () => {
  const pathsTo = (url: string): [Database, Record<string, () => Promise<unknown>>] => {
    const away = openDatabase(url, 2)
    return [
      away,
      {
        tables: () => away.tables.customer.findFirst(),
        transaction: () => away.transaction(() => Promise.resolve()),
        query: () => away.query('one', 'select 1', []),
        queryAsyncCommit: () => away.queryAsyncCommit('one', 'select 1', []),
        withAdvisoryLock: () => away.withAdvisoryLock('job', () => Promise.resolve()),
        ping: () => away.ping(),
      },
    ]
  }

  test('a database that refuses connections is DATABASE_UNAVAILABLE on each path', async () => {
    const [away, paths] = pathsTo(`postgresql://postgres@127.0.0.1:${await freePort()}/postgres`)
    for (const [path, work] of Object.entries(paths))
      expect([path, await codeOf(work())]).toEqual([path, 'DATABASE_UNAVAILABLE'])
    await away.close()
  })

  test('a database that never responds is DATABASE_UNAVAILABLE within 10 s on each path', async () => {
    const silent = createServer(() => undefined)
    const port = await freePort()
    await new Promise<void>((resolve) => silent.listen(port, '127.0.0.1', resolve))
    const [away, paths] = pathsTo(`postgresql://postgres@127.0.0.1:${port}/postgres`)
    const startedMs = patientTimers.monotonicMs()
    const codes = await Promise.all(Object.values(paths).map((work) => codeOf(work())))
    expect(new Set(codes)).toEqual(new Set(['DATABASE_UNAVAILABLE']))
    expect(patientTimers.monotonicMs() - startedMs).toBeLessThan(10_000)
    await away.close()
    silent.close()
  })

  test('health checks succeed while requests use every connection', async () => {
    const busy = [0, 1].map(() =>
      database.transaction((tx) => tablesIn(tx).$executeRaw`select pg_sleep(8)`.then(() => undefined)),
    )
    const startedMs = patientTimers.monotonicMs()
    await Promise.all(Array.from({ length: 20 }, () => database.ping()))
    expect(patientTimers.monotonicMs() - startedMs).toBeLessThan(6_000)
    await Promise.all(busy)
  })

  test('sessions limit the time of a statement and of its wait for a lock', async () => {
    const [{ lock, statement }] = (await database.query<{ lock: string; statement: string }>(
      'timeouts',
      `select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement`,
      [],
    )) as [{ lock: string; statement: string }]
    expect([lock, statement]).toEqual(['10s', '15s'])
  })
})
