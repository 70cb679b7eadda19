import { PrismaPg } from '@prisma/adapter-pg'
import pg from 'pg'
import { systemTimers, type Timers } from '../kernel/clock.ts'
import { PrismaClient, type Prisma } from '../generated/prisma/client.ts'
import { isConnectionError } from '../kernel/database-errors.ts'
import { databaseUnavailableError, GatewayError } from '../kernel/errors.ts'
import type { RunInTransaction, Transaction } from '../kernel/transaction.ts'
import { listen, type Subscription } from './listen.ts'
import { destroyConnection, DATABASE_TIMEOUTS, openPool, openSession } from './session.ts'
import { createSqlPool, type SqlPool } from './sql-pool.ts'

/** The tables, inside or outside a transaction. */
export type Tables = Omit<Prisma.TransactionClient, '$disconnect'>

export type { Coherence, Subscription } from './listen.ts'
export type { Sql, SqlPool, SqlTransaction } from './sql-pool.ts'

/** The database of the process, with its connection pools. */
export interface Database {
  /** Reads and single writes. Inside a transaction, use `tablesIn(tx)` instead. */
  readonly tables: Tables
  readonly transaction: RunInTransaction
  /**
   * Runs one SQL statement without Prisma, for statements of every request, where Prisma's cost was measured. It is prepared
   * once per connection under `name`.
   */
  query<Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]>
  /**
   * Like `query`, but the commit does not wait for the disk, so that a crash of the server can lose it. Only for data that can
   * be fetched again.
   */
  queryAsyncCommit<Row extends object>(name: string, sql: string, values: readonly unknown[]): Promise<Row[]>
  /** The connections of the intake of alerts. */
  readonly intake: SqlPool
  /** The connections of planning, claiming and settling deliveries. */
  readonly delivery: SqlPool
  /** Sends a NOTIFY to every listener of every process; within `tx`, when it commits. */
  notify(channel: string, payload: string, tx?: Transaction): Promise<void>
  /**
   * Calls `onPayload` for every NOTIFY on `channel` until stopped; reconnects automatically. Throws if the first probe
   * notification does not return within 5 s.
   */
  listen(channel: string, onPayload: (payload: string) => void): Promise<Subscription>
  /**
   * Runs `work` while holding the advisory lock `name`, which one process at a time can hold. Throws `DATABASE_UNAVAILABLE`
   * if it waits longer than `DATABASE_TIMEOUTS.advisoryLock`.
   */
  withAdvisoryLock<T>(name: string, work: () => Promise<T>): Promise<T>
  /** The connections of each pool right now. */
  poolStats(): readonly PoolStats[]
  /** Calls `onWait` for each wait for a connection of a pool, with its duration in milliseconds. */
  onPoolWait(onWait: (pool: PoolStats['pool'], waitMs: number) => void): void
  /** Throws `DATABASE_UNAVAILABLE` if the database does not respond within 2 s on a dedicated connection. */
  ping(): Promise<void>
  close(): Promise<void>
}

/** The addresses of the database. */
export interface DatabaseUrls {
  /** For requests. May lead to a pooler if `directUrl` is set. */
  readonly url: string
  /** PostgreSQL itself, for what needs a dedicated session: LISTEN, and locks that outlast a statement. */
  readonly directUrl?: string | undefined
}

/** The connections of one pool: open ones, those of them that are idle, and the queries that wait for one. */
export interface PoolStats {
  readonly pool: 'prisma' | 'query' | 'async_commit' | 'intake' | 'delivery'
  readonly total: number
  readonly idle: number
  readonly waiting: number
}

const POOL_SIZES = { query: 4, asyncCommit: 4, intake: 3, delivery: 3 }

/** Opens the database at `urls` with at most `connections` connections for Prisma and 15 more (11 with `directUrl`). */
export function openDatabase(urls: string | DatabaseUrls, connections = 16, timers: Timers = systemTimers): Database {
  const { url, directUrl } = typeof urls === 'string' ? { url: urls } : urls
  const hasPooler = directUrl !== undefined
  const waitListeners: Parameters<Database['onPoolWait']>[0][] = []
  const measureWaits = (pool: PoolStats['pool']) => () => {
    const startedAtMs = timers.monotonicMs()
    return () => {
      for (const onWait of waitListeners) onWait(pool, timers.monotonicMs() - startedAtMs)
    }
  }
  const prismaPool = openPool(url, connections, { startWait: measureWaits('prisma') })
  const adapter = new PrismaPg(prismaPool, { disposeExternalPool: true })
  const prisma = new PrismaClient({ adapter, errorFormat: 'minimal' })
  const queryPool = openPool(url, POOL_SIZES.query, { startWait: measureWaits('query') })
  // Behind a pooler, a session is shared, so a setting of it would affect other clients.
  const asyncCommit = hasPooler
    ? undefined
    : openPool(url, POOL_SIZES.asyncCommit, { asyncCommit: true, startWait: measureWaits('async_commit') })
  const intakePool = openPool(url, POOL_SIZES.intake, {
    startWait: measureWaits('intake'),
    lockTimeoutMs: DATABASE_TIMEOUTS.intakeLock,
    usesGenericPlans: !hasPooler,
  })
  const deliveryPool = openPool(url, POOL_SIZES.delivery, {
    startWait: measureWaits('delivery'),
    usesGenericPlans: !hasPooler,
  })
  const sqlOptions = { prepares: !hasPooler, mapErrors: mapConnectionErrors }
  // Dedicated, so that exhausted pools do not look like a database that is down.
  const healthPool = openPool(url, 1, {
    connectTimeoutMs: DATABASE_TIMEOUTS.health,
    responseTimeoutMs: DATABASE_TIMEOUTS.health,
  })
  healthPool.options.idleTimeoutMillis = 0
  let pendingPing: Promise<unknown> | undefined

  /** Behind a pooler, statements are not prepared, because the next one may run in another session. */
  const buildStatement = (name: string, text: string, values: readonly unknown[]): pg.QueryConfig => ({
    ...(!hasPooler && { name }),
    text,
    values: [...values],
  })

  return {
    tables: prisma,
    async transaction(work) {
      const callbacks: (() => void)[] = []
      const result = await prisma.$transaction(
        (prismaTx) => {
          const tx = prismaTx as unknown as Transaction
          commitCallbacks.set(tx, callbacks)
          return work(tx)
        },
        { maxWait: 10_000, timeout: 15_000 },
      )
      for (const callback of callbacks) callback()
      return result
    },
    query: <Row extends object>(name: string, sql: string, values: readonly unknown[]) =>
      mapConnectionErrors(async () => (await queryPool.query<Row>(buildStatement(name, sql, values))).rows),
    queryAsyncCommit: <Row extends object>(name: string, sql: string, values: readonly unknown[]) =>
      mapConnectionErrors(async () => {
        const statement = buildStatement(name, sql, values)
        return (
          await (asyncCommit ? asyncCommit.query<Row>(statement) : queryWithAsyncCommit<Row>(queryPool, statement))
        ).rows
      }),
    intake: createSqlPool(intakePool, sqlOptions),
    delivery: createSqlPool(deliveryPool, sqlOptions),
    async notify(channel, payload, tx) {
      await (tx ? tablesIn(tx) : prisma).$executeRaw`select pg_notify(${channel}, ${payload})`
    },
    listen: (channel, onPayload) =>
      listen({
        directUrl: directUrl ?? url,
        channel,
        onPayload,
        timers,
        notify: (to, probe) => healthPool.query('select pg_notify($1, $2)', [to, probe]),
      }),
    withAdvisoryLock: (name, work) => mapConnectionErrors(() => withAdvisoryLock(directUrl ?? url, name, work)),
    poolStats: () =>
      Object.entries({
        prisma: prismaPool,
        query: queryPool,
        async_commit: asyncCommit,
        intake: intakePool,
        delivery: deliveryPool,
      }).flatMap(([name, pool]) => {
        if (!pool) return []
        const { totalCount: total, idleCount: idle, waitingCount: waiting } = pool
        return [{ pool: name as PoolStats['pool'], total, idle, waiting }]
      }),
    onPoolWait: (onWait) => void waitListeners.push(onWait),
    async ping() {
      pendingPing ??= healthPool.query('select 1').finally(() => (pendingPing = undefined))
      await mapConnectionErrors(() => pendingPing!)
    },
    async close() {
      const pools = [queryPool, asyncCommit, intakePool, deliveryPool, healthPool]
      const closed = Promise.all([...pools.map((pool) => pool?.end()), prisma.$disconnect()])
      // An unreachable server does not confirm that a connection is closed.
      await Promise.race([
        closed,
        new Promise<void>((resolve) => void timers.setTimeout(resolve, DATABASE_TIMEOUTS.close).unref()),
      ])
    },
  }
}

/** What to call once each transaction has committed. */
const commitCallbacks = new WeakMap<Transaction, (() => void)[]>()

/**
 * Calls `callback` once `tx` has committed, before `Database.transaction` returns; not at all if it rolls back. The callback
 * must not throw, because the transaction can no longer fail.
 */
export function onCommit(tx: Transaction, callback: () => void): void {
  const callbacks = commitCallbacks.get(tx)
  if (!callbacks) throw new Error('not a transaction of `Database.transaction`')
  callbacks.push(callback)
}

/** The tables inside the transaction. */
export const tablesIn = (tx: Transaction): Tables => tx as unknown as Tables

/** Maps connection errors of the driver to `DATABASE_UNAVAILABLE`. */
async function mapConnectionErrors<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw isConnectionError(error) ? databaseUnavailableError(error) : error
  }
}

/** Runs one statement in a transaction whose commit does not wait for the disk. */
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
    // Closing the connection ends the transaction.
    client.release(true)
    throw error
  }
}

/** Uses a transaction-level lock, which ends with its session in every case. */
async function withAdvisoryLock<T>(url: string, name: string, work: () => Promise<T>): Promise<T> {
  const waitMs = DATABASE_TIMEOUTS.advisoryLock
  const session = await openSession(url, { responseTimeoutMs: waitMs + DATABASE_TIMEOUTS.connect })
  try {
    await session.query(`begin; set local lock_timeout to ${waitMs}; set local statement_timeout to 0;
      set local idle_in_transaction_session_timeout to 0`)
    await session.query('select pg_advisory_xact_lock(hashtext($1))', [name]).catch((error: unknown) => {
      if ((error as { code?: unknown }).code !== '55P03') throw error
      const internalMessage = `another process has held the lock "${name}" for ${waitMs / 1_000} s`
      throw new GatewayError('DATABASE_UNAVAILABLE', { internalMessage, cause: error })
    })
    return await work()
  } finally {
    destroyConnection(session)
  }
}
