import { deleteInBatches } from '../../storage/batch-delete.ts'
import type { Database, Sql } from '../../storage/database.ts'

/** Identifies a received event. */
export interface EventKey {
  readonly issuer: string
  /** Digest of the bank and the `jti`. */
  readonly jtiDigest: string
}

// In the order of the keys, so that two transactions with the same events wait for each other and do not deadlock.
const INSERT_SQL = `
  insert into bank_event (issuer, jti_digest, received_at)
  select issuer, jti_digest, $3 from unnest($1::text[], $2::text[]) as event (issuer, jti_digest) order by issuer, jti_digest
  on conflict do nothing returning issuer, jti_digest as "jtiDigest"`

/** The IDs of received events, by which repetitions are recognized. */
export const eventStore = (database: Database) => ({
  /** Adds events, each once, and returns those that were not received before. */
  insertNew: (sql: Sql, keys: readonly EventKey[], receivedAt: Date): Promise<EventKey[]> =>
    sql.query('insert-new-events', INSERT_SQL, [
      keys.map(({ issuer }) => issuer),
      keys.map(({ jtiDigest }) => jtiDigest),
      receivedAt,
    ]),

  /** Deletes the events that were received before this time. Returns their number. */
  async deleteBefore(before: Date): Promise<number> {
    const where = 'received_at < $1'
    return deleteInBatches(database, { table: 'bank_event', where, orderBy: 'received_at', values: [before] })
  },
})

/** The store of received events. */
export type EventStore = ReturnType<typeof eventStore>
