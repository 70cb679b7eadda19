import type pg from 'pg'

/** Runs SQL statements without Prisma. */
export interface Sql {
  /** Runs one statement. It is prepared once per connection under `name`, which must not be used for another statement. */
  query<Row extends object>(name: string, text: string, values: readonly unknown[]): Promise<Row[]>
}

/** Statements of one transaction. */
export interface SqlTransaction extends Sql {
  /** Calls `callback` once the transaction has committed; not at all if it rolls back. The callback must not throw. */
  onCommit(callback: () => void): void
}

/** Connections of their own for one kind of work, so that no other work waits for them or holds them. */
export interface SqlPool extends Sql {
  /** Runs `work` in one transaction: all of its statements commit, or none does. */
  transaction<T>(work: (tx: SqlTransaction) => Promise<T>): Promise<T>
}

/** Creates statements over a pool. `prepares` is false behind a pooler, where the next statement may run in another session. */
export function createSqlPool(
  pool: pg.Pool,
  {
    prepares,
    mapErrors,
  }: { readonly prepares: boolean; readonly mapErrors: <T>(work: () => Promise<T>) => Promise<T> },
): SqlPool {
  const queryWith = async <Row extends object>(
    executor: Pick<pg.Pool | pg.PoolClient, 'query'>,
    name: string,
    text: string,
    values: readonly unknown[],
  ): Promise<Row[]> =>
    (await executor.query<Row & pg.QueryResultRow>({ ...(prepares && { name }), text, values: [...values] })).rows

  return {
    query: (name, text, values) => mapErrors(() => queryWith(pool, name, text, values)),
    transaction: (work) => mapErrors(() => runTransaction(pool, queryWith, work)),
  }
}

type QueryWith = <Row extends object>(
  client: pg.PoolClient,
  name: string,
  text: string,
  values: readonly unknown[],
) => Promise<Row[]>

async function runTransaction<T>(
  pool: pg.Pool,
  queryWith: QueryWith,
  work: (tx: SqlTransaction) => Promise<T>,
): Promise<T> {
  const callbacks: (() => void)[] = []
  const client = await pool.connect()
  try {
    await client.query('begin')
    const result = await work({
      query: (name, text, values) => queryWith(client, name, text, values),
      onCommit: (callback) => void callbacks.push(callback),
    })
    await client.query('commit')
    client.release()
    for (const callback of callbacks) callback()
    return result
  } catch (error) {
    await rollBack(client)
    throw error
  }
}

/** Returns the connection to its pool, or closes it, which ends the transaction too. */
async function rollBack(client: pg.PoolClient): Promise<void> {
  try {
    await client.query('rollback')
    client.release()
  } catch {
    client.release(true)
  }
}
