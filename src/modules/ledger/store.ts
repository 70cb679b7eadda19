import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database, type Sql } from '../../storage/database.ts'
import type { LedgerEntry, LedgerAction } from './model.ts'

const ADD_ENTRIES = `
  insert into ledger_entry
    (occurred_at, action, request_id, client_id, customer_id, consent_id, account_ids, subject_id, detail, purposes)
  select "occurredAt", action, "requestId", "clientId", "customerId", "consentId", coalesce("accountIds", '{}'), "subjectId",
    detail, coalesce(purposes, '{}')
  from jsonb_to_recordset($1::jsonb) as entry (
    "occurredAt" timestamptz, action text, "requestId" text, "clientId" text, "customerId" text, "consentId" text,
    "accountIds" text[], "subjectId" text, detail text, purposes text[])`

/** Adds and lists the rows of the ledger. */
export const ledgerStore = (database: Database) => ({
  async add(entries: readonly LedgerEntry[], at: Date, tx?: Transaction): Promise<void> {
    const tables = tx ? tablesIn(tx) : database.tables
    await tables.ledgerEntry.createMany({
      data: entries.map(({ purposes, accountIds, changes, ...entry }) => ({
        ...entry,
        ...(changes && { changes: JSON.parse(JSON.stringify(changes)) as object }),
        occurredAt: at,
        accountIds: [...(accountIds ?? [])],
        purposes: [...(purposes ?? [])],
      })),
    })
  },

  /** Adds the reads of several requests in one statement, each entry as JSON. */
  async addReads(entries: readonly string[]): Promise<void> {
    await database.query('ledger-reads', ADD_ENTRIES, [`[${entries.join(',')}]`])
  },

  /** Adds entries without changes in one statement. */
  async addEntries(sql: Sql, entries: readonly Omit<LedgerEntry, 'changes'>[], at: Date): Promise<void> {
    if (entries.length === 0) return
    const occurredAt = at.toISOString()
    await sql.query('ledger-entries', ADD_ENTRIES, [JSON.stringify(entries.map((entry) => ({ ...entry, occurredAt })))])
  },

  /** Deletes entries from before this time, as far as the database allows it. Returns their number. */
  deleteBefore: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'ledger_entry',
      // No index orders the table by time. The oldest rows have the smallest numbers; failed transactions leave gaps.
      where: 'sequence < (select min(sequence) from ledger_entry) + 20000 and occurred_at < $1',
      orderBy: 'sequence',
      values: [before],
    }),

  async ofCustomer(customerId: string, limit: number) {
    const rows = await database.tables.ledgerEntry.findMany({
      where: { customerId },
      orderBy: { sequence: 'desc' },
      take: limit,
    })
    return rows.map(({ action, occurredAt, clientId }) => ({ action: action as LedgerAction, occurredAt, clientId }))
  },
})
