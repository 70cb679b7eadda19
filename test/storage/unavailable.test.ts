import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { toGatewayError } from '../../src/kernel/errors.ts'
import { openDatabase, tablesIn, type Database } from '../../src/storage/database.ts'
import { createTestDatabase, type TestDatabase } from '../support/database.ts'
import { freePort } from '../support/ports.ts'

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

/** Each way to the database, with a statement that fails with the given SQLSTATE. */
const failing = (sqlState: string): Record<string, () => Promise<unknown>> => {
  const sql = `do $$ begin raise exception 'x' using errcode = '${sqlState}'; end $$`
  return {
    tables: () => database.tables.$executeRawUnsafe(sql),
    transaction: () => database.transaction((tx) => tablesIn(tx).$executeRawUnsafe(sql)),
    query: () => database.query(`fails-${sqlState}`, sql, []),
    remember: () => database.queryAsyncCommit(`fails-${sqlState}`, sql, []),
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
  ])('%s (%s) is DATABASE_UNAVAILABLE on each way to it', async (sqlState) => {
    for (const [way, work] of Object.entries(failing(sqlState)))
      expect([way, await codeOf(work())]).toEqual([way, 'DATABASE_UNAVAILABLE'])
  })

  test.each(['23505', '22P02', '42P01', 'P0001'])('%s stays INTERNAL: trying again does not help', async (sqlState) => {
    for (const [way, work] of Object.entries(failing(sqlState)))
      expect([way, await codeOf(work())]).toEqual([way, 'INTERNAL'])
  })

  test('says when to try again', async () => {
    const error: unknown = await failing('53300')['query']!().catch((thrown: unknown) => thrown)
    expect(toGatewayError(error)).toMatchObject({ code: 'DATABASE_UNAVAILABLE', retryAfterSeconds: 2 })
  })

  test('is not read into an error of some other connection, as to a bank', () => {
    const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET', syscall: 'read' })
    expect(toGatewayError(reset).code).toBe('INTERNAL')
  })
})

describe('a database that cannot be reached', () => {
  const waysTo = (url: string): [Database, Record<string, () => Promise<unknown>>] => {
    const away = openDatabase(url, 2)
    return [
      away,
      {
        tables: () => away.tables.customer.findFirst(),
        transaction: () => away.transaction(() => Promise.resolve()),
        query: () => away.query('one', 'select 1', []),
        remember: () => away.queryAsyncCommit('one', 'select 1', []),
        exclusively: () => away.withAdvisoryLock('job', () => Promise.resolve()),
        ping: () => away.ping(),
      },
    ]
  }

  test('is DATABASE_UNAVAILABLE on each way to it where nothing listens', async () => {
    const [away, ways] = waysTo(`postgresql://postgres@127.0.0.1:${await freePort()}/postgres`)
    for (const [way, work] of Object.entries(ways))
      expect([way, await codeOf(work())]).toEqual([way, 'DATABASE_UNAVAILABLE'])
    await away.close()
  })

  test('is DATABASE_UNAVAILABLE within 10 s on each way to it where nothing is ever answered', async () => {
    const silent = createServer(() => undefined)
    const port = await freePort()
    await new Promise<void>((resolve) => silent.listen(port, '127.0.0.1', resolve))
    const [away, ways] = waysTo(`postgresql://postgres@127.0.0.1:${port}/postgres`)
    const began = Date.now()
    const codes = await Promise.all(Object.values(ways).map((work) => codeOf(work())))
    expect(new Set(codes)).toEqual(new Set(['DATABASE_UNAVAILABLE']))
    expect(Date.now() - began).toBeLessThan(10_000)
    await away.close()
    silent.close()
  })

  test('is alive for health checks while requests use up every connection', async () => {
    const busy = [0, 1].map(() =>
      database.transaction((tx) => tablesIn(tx).$executeRaw`select pg_sleep(3)`.then(() => undefined)),
    )
    const began = Date.now()
    await Promise.all(Array.from({ length: 20 }, () => database.ping()))
    expect(Date.now() - began).toBeLessThan(2_000)
    await Promise.all(busy)
  })

  test('cancels a statement that waits for a lock, and frees its connection', async () => {
    const [{ lock, statement }] = (await database.query<{ lock: string; statement: string }>(
      'timeouts',
      `select current_setting('lock_timeout') as lock, current_setting('statement_timeout') as statement`,
      [],
    )) as [{ lock: string; statement: string }]
    expect([lock, statement]).toEqual(['10s', '15s'])
  })
})
