import type { Transaction } from '../../kernel/transaction.ts'
import type { World } from '../../kernel/world.ts'
import type { Database } from '../../storage/database.ts'
import type { LedgerEntry } from './model.ts'
import { ledgerStore } from './store.ts'

/** Who read or changed what, when and why. */
export type Ledger = ReturnType<typeof createLedger>

interface Waiting {
  readonly entries: readonly (LedgerEntry & { at: Date })[]
  readonly done: () => void
  readonly failed: (error: unknown) => void
}

/** Adds lines and reads them; nothing here changes one. */
export function createLedger({ database, world }: { database: Database; world: World }) {
  const store = ledgerStore(database)
  let waiting: Waiting[] = []
  let writing = false

  /** What came while the last statement ran goes into the next one together; each waits until its own is committed. */
  async function write(): Promise<void> {
    writing = true
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        await store.addReads(batch.flatMap(({ entries }) => entries))
        for (const { done } of batch) done()
      } catch (error) {
        for (const { failed } of batch) failed(error)
      }
    }
    writing = false
  }

  return {
    /** Writes in the transaction of the change that the entry tells of. */
    record: (tx: Transaction, entry: LedgerEntry): Promise<void> => store.add([entry], world.clock.now(), tx),

    /** Writes what is about to be read. Must have returned before the answer leaves; throws when it could not write. */
    recordReads(entries: readonly LedgerEntry[]): Promise<void> {
      if (entries.length === 0) return Promise.resolve()
      const at = world.clock.now()
      return new Promise((done, failed) => {
        waiting.push({ entries: entries.map((entry) => ({ ...entry, at })), done, failed })
        if (!writing) void write()
      })
    },

    /** The newest entries about one customer, newest first. */
    ofCustomer: (customerId: string, limit: number) => store.ofCustomer(customerId, limit),
  }
}
