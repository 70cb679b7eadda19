import pg from 'pg'

/** How long the database may take, in milliseconds: one table for every connection of the process. */
export const DATABASE_TIMEOUTS = {
  /** Until a connection is open, or one of a pool is free. */
  connect: 5_000,
  /** One statement. The server cancels it. */
  statement: 15_000,
  /** The wait for a row or table that another transaction has locked. The server cancels the statement. */
  lock: 10_000,
  /** A transaction in which nothing happens. The server closes the connection. */
  idleInTransaction: 30_000,
  /** A statement that gets no response at all, as from a host that is gone. The connection is closed. */
  response: 17_000,
  /** Both of the above for health checks and for LISTEN. */
  health: 2_000,
  /** The wait for another process that migrates the database or runs a job that one process at a time may run. */
  advisoryLock: 60_000,
  /** One migration. */
  migration: 600_000,
  /** Closing all connections at the end of the process. */
  close: 2_500,
} as const

/**
 * The settings of a session that change how values are read, written or found. Whatever the machine, the database or
 * the role has as its default, every session of ours has these: `@prisma/adapter-pg` sends times without a zone.
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

/** The timeouts that the server applies, as settings of a session. */
export const TIMEOUT_SETTINGS: Readonly<Record<string, string>> = {
  statement_timeout: String(DATABASE_TIMEOUTS.statement),
  lock_timeout: String(DATABASE_TIMEOUTS.lock),
  idle_in_transaction_session_timeout: String(DATABASE_TIMEOUTS.idleInTransaction),
  // Sessions that wait for notifications or hold a lock are idle by design. PostgreSQL 14 and newer.
  idle_session_timeout: '0',
}

/** What one session or pool has of its own. */
export interface SessionOptions {
  readonly connectTimeoutMs?: number
  readonly responseTimeoutMs?: number
  /** Whether commits do not wait for the disk: for what can be fetched again. */
  readonly asyncCommit?: boolean
}

/** Opens one connection with our settings. Throws if it is not usable within the timeout. */
export async function openSession(url: string, options: SessionOptions = {}): Promise<pg.Client> {
  const session: pg.Client = new Session(buildConfig(url, options))
  await session.connect()
  return session
}

/** A pool whose connections have our settings. */
export function openPool(url: string, max: number, options: SessionOptions = {}): pg.Pool {
  // A pool knows its clients by their base class only.
  const pool = new pg.Pool({ ...buildConfig(url, options), max, Client: Session as unknown as new () => pg.ClientBase })
  // A connection that breaks while nobody uses it is replaced at the next use.
  pool.on('error', () => undefined)
  return pool
}

/** Closes a connection without waiting for a server that may be gone. */
export function destroyConnection(client: Pick<pg.Client, 'end'>): void {
  void client.end().catch(() => undefined)
  // Not in its types, and the only way to close a connection to a host that does not respond.
  const { connection } = client as unknown as { connection: { stream: { destroy(): void } } }
  connection.stream.destroy()
}

interface SessionConfig extends pg.ClientConfig {
  readonly asyncCommit: boolean
}

const buildConfig = (url: string, options: SessionOptions): SessionConfig => ({
  connectionString: url,
  application_name: 'guichet',
  keepAlive: true,
  connectionTimeoutMillis: options.connectTimeoutMs ?? DATABASE_TIMEOUTS.connect,
  query_timeout: options.responseTimeoutMs ?? DATABASE_TIMEOUTS.response,
  asyncCommit: options.asyncCommit ?? false,
})

/** A connection that has our settings before anybody else uses it. */
class Session extends pg.Client {
  readonly #settings: string

  constructor(config: SessionConfig) {
    super(config)
    this.#settings = settingsSql(config.asyncCommit)
    // Whoever uses the connection next finds out; without a listener the process would end.
    this.on('error', () => undefined)
  }

  /** The same as the client's own, for callbacks as for promises. */
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
      // By a statement and not by startup parameters, which PgBouncer refuses.
      await super.query(this.#settings)
    } catch (error) {
      destroyConnection(this)
      throw error
    }
    return this
  }

  /** The same as the client's own, but a connection on which a response did not come is never used again. */
  override query(...args: never[]): never {
    const result: unknown = Reflect.apply(super.query, this, args)
    if (result instanceof Promise)
      result.catch((error: unknown) => {
        if (error instanceof Error && error.message === 'Query read timeout') destroyConnection(this)
      })
    return result as never
  }
}

/** One statement that sets everything. Settings that this version of PostgreSQL does not have are left out. */
function settingsSql(asyncCommit: boolean): string {
  const settings = Object.entries({
    ...SESSION_SETTINGS,
    ...TIMEOUT_SETTINGS,
    synchronous_commit: asyncCommit ? 'off' : 'on',
  })
  // A commit that does not wait for the disk can be lost. All other values of the setting are at least as strict as `on`
  // or the operator's own decision about replicas.
  const condition = asyncCommit ? '' : ` and (name <> 'synchronous_commit' or current_setting(name) = 'off')`
  return `select set_config(name, value, false)
    from (values ${settings.map(([name, value]) => `('${name}', '${value}')`).join(', ')}) as wanted (name, value)
    where current_setting(name, true) is not null${condition}`
}
