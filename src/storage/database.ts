import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { PrismaClient, type Prisma } from '../generated/prisma/client.ts'
import { isConnectionError } from '../kernel/database-errors.ts'
import { databaseUnavailableError, GatewayError } from '../kernel/errors.ts'
import type { RunInTransaction, Transaction } from '../kernel/transaction.ts'
import { listen, type Subscription } from './listen.ts'
import { destroyConnection, DATABASE_TIMEOUTS, openPool, openSession } from './session.ts'

/** The tables, outside or inside a transaction. */
export type Tables = Omit<Prisma.TransactionClient, '$disconnect'>

export type { Coherence, Subscription } from './listen.ts'

/** The one connection pool of the process. */
export interface Database {
  /** Reads and single writes. Inside a transaction use `within(tx)` and never this. */
  readonly tables: Tables
  readonly transaction: RunInTransaction
  /**
   * One statement, prepared once per connection, past Prisma: for what every request does, where the difference was
   * measured (docs/PERFORMANCE.md). `name` names the statement.
   */
  query<Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]>
  /**
   * The same for what is only remembered and can be had again: it does not wait for the disk, so that a server that
   * breaks down may lose the last moment of it, and nothing that was promised.
   */
  queryAsyncCommit<Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]>
  /** Tells every listener of every process; within `tx` only once it has committed. */
  notify(channel: string, payload: string, tx?: Transaction): Promise<void>
  /**
   * Calls `onPayload` for every NOTIFY on `channel` until it is stopped; reconnects by itself. Throws if a notification
   * of our own does not come back within 5 s.
   */
  listen(channel: string, onPayload: (payload: string) => void): Promise<Subscription>
  /**
   * Runs `work` while no other process runs its own under the same name. Throws `DATABASE_UNAVAILABLE` if another does
   * so for longer than `DATABASE_TIMEOUTS.exclusive`.
   */
  withAdvisoryLock<T>(name: string, work: () => Promise<T>): Promise<T>
  /** Throws `DATABASE_UNAVAILABLE` if the database does not respond within 2 s on a connection of its own. */
  ping(): Promise<void>
  close(): Promise<void>
}

/** Where the database is. */
export interface DatabaseUrls {
  /** For requests. May lead to a pooler if `directUrl` is given. */
  readonly url: string
  /** PostgreSQL itself, for what needs a session of its own: LISTEN, and locks that outlast a statement. */
  readonly directUrl?: string | undefined
}

const POOL_SIZES = { query: 4, asyncCommit: 4 }

/** Opens the database at `given` with at most `connections` connections for Prisma and ten more. */
export function openDatabase(urls: string | DatabaseUrls, connections = 16): Database {
  const { url, directUrl } = typeof urls === 'string' ? { url: urls } : urls
  const hasPooler = directUrl !== undefined
  const adapter = new PrismaPg(openPool(url, connections), { disposeExternalPool: true })
  const prisma = new PrismaClient({ adapter, errorFormat: 'minimal' })
  const queryPool = openPool(url, POOL_SIZES.query)
  // Behind a pooler the session is not ours, and neither is a setting of it.
  const asyncCommit = hasPooler ? undefined : openPool(url, POOL_SIZES.asyncCommit, { asyncCommit: true })
  // Requests that use up their pools must not look like a database that is down, so this one never waits for them.
  const healthPool = openPool(url, 1, {
    connectTimeoutMs: DATABASE_TIMEOUTS.health,
    responseTimeoutMs: DATABASE_TIMEOUTS.health,
  })
  healthPool.options.idleTimeoutMillis = 0
  let pendingPing: Promise<unknown> | undefined

  /** A prepared statement belongs to a session, and behind a pooler the next statement may run in another. */
  const buildStatement = (name: string, text: string, values: readonly unknown[]): pg.QueryConfig => ({
    ...(!hasPooler && { name }),
    text,
    values: [...values],
  })

  return {
    tables: prisma,
    transaction: (work) =>
      prisma.$transaction((tx) => work(tx as unknown as Transaction), { maxWait: 10_000, timeout: 15_000 }),
    query: <Row extends object>(name: string, sql: string, values: readonly unknown[]) =>
      mapConnectionErrors(async () => (await queryPool.query<Row>(buildStatement(name, sql, values))).rows),
    queryAsyncCommit: <Row extends object>(name: string, sql: string, values: readonly unknown[]) =>
      mapConnectionErrors(async () => {
        const statement = buildStatement(name, sql, values)
        return (
          await (asyncCommit ? asyncCommit.query<Row>(statement) : queryWithAsyncCommit<Row>(queryPool, statement))
        ).rows
      }),
    async notify(channel, payload, tx) {
      await (tx ? tablesIn(tx) : prisma).$executeRaw`select pg_notify(${channel}, ${payload})`
    },
    listen: (channel, onPayload) =>
      listen({
        directUrl: directUrl ?? url,
        channel,
        onPayload,
        notify: (to, probe) => healthPool.query('select pg_notify($1, $2)', [to, probe]),
      }),
    withAdvisoryLock: (name, work) => mapConnectionErrors(() => withAdvisoryLock(directUrl ?? url, name, work)),
    async ping() {
      pendingPing ??= healthPool.query('select 1').finally(() => (pendingPing = undefined))
      await mapConnectionErrors(() => pendingPing!)
    },
    async close() {
      const closed = Promise.all([queryPool.end(), asyncCommit?.end(), healthPool.end(), prisma.$disconnect()])
      // A server that is gone does not confirm that a connection is closed.
      await Promise.race([closed, new Promise((resolve) => setTimeout(resolve, DATABASE_TIMEOUTS.close).unref())])
    },
  }
}

/** The tables as the given transaction sees them. */
export const tablesIn = (tx: Transaction): Tables => tx as unknown as Tables

/** What the driver throws without Prisma, as a `GatewayError` where the database is away or has no room. */
async function mapConnectionErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw isConnectionError(error) ? databaseUnavailableError(error) : error
  }
}

/** Commits without waiting for the disk, for this one transaction. */
async function queryWithAsyncCommit<Row extends object>(
  pool: pg.Pool,
  statement: pg.QueryConfig,
): Promise<pg.QueryResult<Row>> {
  const client = await pool.connect()
  try {
    await client.query('begin; set local synchronous_commit to off')
    const result = await client.query<Row>(statement)
    await client.query('commit')
    client.release()
    return result
  } catch (error) {
    // The connection is closed and with it the transaction.
    client.release(true)
    throw error
  }
}

/** By a lock of one transaction, which ends with it whatever else happens. */
async function withAdvisoryLock<T>(url: string, name: string, work: () => Promise<T>): Promise<T> {
  const waitMs = DATABASE_TIMEOUTS.advisoryLock
  const session = await openSession(url, { responseTimeoutMs: waitMs + DATABASE_TIMEOUTS.connect })
  try {
    await session.query(`begin; set local lock_timeout to ${waitMs}; set local statement_timeout to 0;
      set local idle_in_transaction_session_timeout to 0`)
    await session.query('select pg_advisory_xact_lock(hashtext($1))', [name]).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== '55P03') throw error
      const internal = `another process has held the lock "${name}" for ${waitMs / 1_000} s`
      throw new GatewayError('DATABASE_UNAVAILABLE', { internalMessage: internal, cause: error })
    })
    return await work()
  } finally {
    destroyConnection(session)
  }
}
