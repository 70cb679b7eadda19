import pg from 'pg'
import { eventually, type TestGateway } from './gateway.ts'

/** Rows that a test holds locked, so that what happens at the same moment happens in the order that it says. */
export interface HeldRows {
  /** Runs a statement in the transaction that holds the rows. */
  change(sql: string, values?: unknown[]): Promise<void>
  /** Resolves once so many transactions, or more, wait for these or other locks. */
  waiting(count: number): Promise<void>
  /** Commits, and lets whoever waits go on. */
  release(): Promise<void>
}

/** Locks the rows that `sql` selects `for update`. */
export async function holdRows({ database }: TestGateway, sql: string, values: unknown[] = []): Promise<HeldRows> {
  const client = new pg.Client({ connectionString: database.url })
  // A test that fails leaves it behind, for its database to end.
  client.on('error', () => undefined)
  await client.connect()
  await client.query('begin')
  await client.query(sql, values)
  return {
    async change(statement, parameters = []) {
      await client.query(statement, parameters)
    },
    async waiting(count) {
      await eventually(`${count} who wait`, async () => {
        const rows = await database.query(
          `select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'`,
        )
        return rows.length >= count
      })
    },
    async release() {
      await client.query('commit')
      await client.end()
    },
  }
}
