import pg from 'pg'
import { isPromise } from '../kernel/maybe-promise.ts'

/** Database timeouts in milliseconds, for every connection of the process. */
export const DATABASE_TIMEOUTS = {
  /** Opening a connection, or waiting for a free one of a pool. */
  connect: 5_000,
  /** One statement. The server cancels it. */
  statement: 15_000,
  /** The wait for a row or table that another transaction has locked. The server cancels the statement. */
  lock: 10_000,
  /** The same in the intake of alerts, where one event that waits must not delay others. */
  intakeLock: 3_000,
  /** An idle transaction. The server closes the connection. */
  idleInTransaction: 30_000,
  /** A statement without any response, such as from an unreachable host. The connection is closed. */
  response: 17_000,
  /** Connect and response timeout of health checks and of LISTEN. */
  health: 2_000,
  /** The wait for another process that migrates the database or holds an advisory lock. */
  advisoryLock: 60_000,
  /** One migration. */
  migration: 600_000,
  /** Closing all connections at shutdown. */
  close: 2_500,
} as const

/**
 * Session settings that affect how values are read, written or found. Every session has these, for any defaults of the
 * machine, database or role: `@prisma/adapter-pg`, for example, sends times without a zone.
 */
export const SESSION_SETTINGS: Readonly<Record<string, string>> = {
  TimeZone: 'UTC',
  DateStyle: 'ISO, MDY',
  IntervalStyle: 'postgres',
  extra_float_digits: '1',
  bytea_output: 'hex',
  standard_conforming_strings: 'on',
  array_nulls: 'on',
  transform_null_equals: 'off',
  search_path: 'public',
  default_transaction_isolation: 'read committed',
  default_transaction_read_only: 'off',
  default_transaction_deferrable: 'off',
}

/** The timeouts that the server enforces, as session settings. */
export const TIMEOUT_SETTINGS: Readonly<Record<string, string>> = {
  statement_timeout: String(DATABASE_TIMEOUTS.statement),
  lock_timeout: String(DATABASE_TIMEOUTS.lock),
  idle_in_transaction_session_timeout: String(DATABASE_TIMEOUTS.idleInTransaction),
  // Sessions that wait for notifications or hold a lock are idle by design. PostgreSQL 14 and newer.
  idle_session_timeout: '0',
}

/** The options of a session or pool. */
export interface SessionOptions {
  readonly connectTimeoutMs?: number
  readonly responseTimeoutMs?: number
  /** Whether commits do not wait for the disk. Only for data that can be fetched again. */
  readonly asyncCommit?: boolean
  /** The wait for a locked row or table; `DATABASE_TIMEOUTS.lock` by default. */
  readonly lockTimeoutMs?: number
  /** Whether a prepared statement is planned once, for any values: for few statements that run often. */
  readonly usesGenericPlans?: boolean
  /** Called when the wait for a connection of a pool starts; the returned function is called when the wait ends. */
  readonly startWait?: (() => () => void) | undefined
}

/** Opens a connection with our settings. Throws if it is not usable within the timeout. */
export async function openSession(url: string, options: SessionOptions = {}): Promise<pg.Client> {
  const session: pg.Client = new Session(buildConfig(url, options))
  await session.connect()
  return session
}

/** Creates a pool whose connections have our settings. */
export function openPool(url: string, max: number, options: SessionOptions = {}): pg.Pool {
  // The type of the pool's option names only the base class.
  const Client = Session as unknown as new () => pg.ClientBase
  const pool = new MeasuredPool({ ...buildConfig(url, options), max, Client }, options.startWait)
  // A connection that breaks while idle is replaced at the next use.
  pool.on('error', () => undefined)
  return pool
}

/** A pool that reports how long its connections are waited for. */
class MeasuredPool extends pg.Pool {
  readonly #startWait: (() => () => void) | undefined

  constructor(config: pg.PoolConfig, startWait: (() => () => void) | undefined) {
    super(config)
    this.#startWait = startWait
  }

  /** Like `pg.Pool.connect`, with a callback or a promise; `pg.Pool.query` calls it, too. */
  override connect(...args: never[]): never {
    const [callback] = args as readonly unknown[] as readonly [((...result: unknown[]) => void)?]
    const endWait = this.#startWait?.()
    if (!endWait) return Reflect.apply(super.connect, this, args) as never
    if (callback) {
      super.connect((...result) => {
        endWait()
        callback(...result)
      })
      return undefined as never
    }
    return super.connect().finally(endWait) as never
  }
}

/** Closes a connection without waiting for the server. */
export function destroyConnection(client: Pick<pg.Client, 'end'>): void {
  void client.end().catch(() => undefined)
  // Not in the types of `pg`, but the only way to close a connection to a host that does not respond.
  const { connection } = client as unknown as { connection: { stream: { destroy(): void } } }
  connection.stream.destroy()
}

interface SessionConfig extends pg.ClientConfig {
  readonly asyncCommit: boolean
  readonly lockTimeoutMs: number
  readonly usesGenericPlans: boolean
}

const buildConfig = (url: string, options: SessionOptions): SessionConfig => ({
  connectionString: url,
  application_name: 'guichet',
  keepAlive: true,
  connectionTimeoutMillis: options.connectTimeoutMs ?? DATABASE_TIMEOUTS.connect,
  query_timeout: options.responseTimeoutMs ?? DATABASE_TIMEOUTS.response,
  asyncCommit: options.asyncCommit ?? false,
  lockTimeoutMs: options.lockTimeoutMs ?? DATABASE_TIMEOUTS.lock,
  usesGenericPlans: options.usesGenericPlans ?? false,
})

/** A client that applies our settings before its first use. */
class Session extends pg.Client {
  readonly #settings: string

  constructor(config: SessionConfig) {
    super(config)
    this.#settings = settingsSql(config)
    // The next use of the connection fails anyway; without a listener the process would exit.
    this.on('error', () => undefined)
  }

  /** Like `pg.Client.connect`, with a callback or a promise. */
  override connect(...args: never[]): never {
    const [callback] = args as readonly unknown[] as readonly [((error: Error | null, client?: this) => void)?]
    const ready = this.#open()
    if (callback)
      ready.then(
        () => callback(null, this),
        (error: unknown) => callback(error as Error),
      )
    return (callback ? undefined : ready) as never
  }

  async #open(): Promise<this> {
    await super.connect()
    try {
      // By a statement, because PgBouncer refuses startup parameters.
      await super.query(this.#settings)
    } catch (error) {
      destroyConnection(this)
      throw error
    }
    return this
  }

  /** Like `pg.Client.query`, but destroys the connection after a response timeout. */
  override query(...args: never[]): never {
    const result: unknown = Reflect.apply(super.query, this, args)
    if (isPromise(result))
      result.catch((error: unknown) => {
        if (error instanceof Error && error.message === 'Query read timeout') destroyConnection(this)
      })
    return result as never
  }
}

/**
 * A statement is planned once per connection, for any values. Its tables may be empty at that time, and the plan stays until their
 * next ANALYZE, so the planner must not choose what is right for small tables only: to read all of one, or to join by reading all of it.
 */
export const GENERIC_PLAN_SETTINGS = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_hashjoin: 'off',
  enable_mergejoin: 'off',
} as const

/** One statement that applies all settings. Skips settings that this version of PostgreSQL does not have. */
function settingsSql({ asyncCommit, lockTimeoutMs, usesGenericPlans }: SessionConfig): string {
  const settings = Object.entries({
    ...SESSION_SETTINGS,
    ...TIMEOUT_SETTINGS,
    lock_timeout: String(lockTimeoutMs),
    synchronous_commit: asyncCommit ? 'off' : 'on',
    ...(usesGenericPlans && GENERIC_PLAN_SETTINGS),
  })
  // Only `off` is overridden, because such commits can be lost. Every other value waits for the local disk or is the operator's
  // own decision about replicas.
  const condition = asyncCommit ? '' : ` and (name <> 'synchronous_commit' or current_setting(name) = 'off')`
  return `select set_config(name, value, false)
    from (values ${settings.map(([name, value]) => `('${name}', '${value}')`).join(', ')}) as setting (name, value)
    where current_setting(name, true) is not null${condition}`
}
