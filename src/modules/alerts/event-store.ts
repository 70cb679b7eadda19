import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** The IDs of received events, by which repetitions are recognized. */
export const eventStore = (database: Database) => ({
  /** Returns true for the first event with this issuer and `jti`, and false for its repetitions. */
  async insertIfNew(tx: Transaction, issuer: string, jtiDigest: string, receivedAt: Date): Promise<boolean> {
    const data = [{ issuer, jtiDigest, receivedAt }]
    return (await tablesIn(tx).bankEvent.createMany({ data, skipDuplicates: true })).count === 1
  },

  /** Deletes the events that were received before this time. Returns their number. */
  async deleteBefore(before: Date): Promise<number> {
    const where = 'received_at < $1'
    return deleteInBatches(database, { table: 'bank_event', where, orderBy: 'received_at', values: [before] })
  },
})

/** The store of received events. */
export type EventStore = ReturnType<typeof eventStore>
