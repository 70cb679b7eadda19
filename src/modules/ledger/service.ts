import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { LedgerEntry } from './model.ts'
import { ledgerStore } from './store.ts'

/** Who read or changed what, when and why. */
export type Ledger = ReturnType<typeof createLedger>

/** Adds lines and reads them; nothing here changes one. */
export function createLedger({ database, world }: { database: Database; world: World }) {
  const store = ledgerStore(database)
  return {
    /** Writes in the transaction of the change that the entry tells of. */
    record: (tx: Transaction, entry: LedgerEntry): Promise<void> => store.add([entry], world.clock.now(), tx),
    /** Writes what is about to be read. Must have returned before the answer leaves; throws when it could not write. */
    recordReads: (entries: readonly LedgerEntry[]): Promise<void> =>
      entries.length === 0 ? Promise.resolve() : store.add(entries, world.clock.now()),
    /** The newest entries about one customer, newest first. */
    ofCustomer: (customerId: string, limit: number) => store.ofCustomer(customerId, limit),
  }
}
