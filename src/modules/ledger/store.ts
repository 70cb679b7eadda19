import type { Transaction } from '../../kernel/transaction.ts'
import { within, type Database } from '../../storage/database.ts'
import type { LedgerEntry, LedgerKind } from './model.ts'

/** Rows of the ledger: added, counted, listed, never changed. */
export const ledgerStore = (database: Database) => ({
  async add(entries: readonly LedgerEntry[], at: Date, tx?: Transaction): Promise<void> {
    const tables = tx ? within(tx) : database.tables
    await tables.ledgerEntry.createMany({
      data: entries.map(({ purposes, ...entry }) => ({ ...entry, at, purposes: [...(purposes ?? [])] })),
    })
  },

  async ofCustomer(customerId: string, limit: number) {
    const rows = await database.tables.ledgerEntry.findMany({
      where: { customerId },
      orderBy: { sequence: 'desc' },
      take: limit,
    })
    return rows.map(({ kind, at, clientId }) => ({ kind: kind as LedgerKind, at, clientId }))
  },
})
