import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { LedgerEntry, LedgerAction } from './model.ts'

const ADD_READS = `
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
    await database.query('ledger-reads', ADD_READS, [`[${entries.join(',')}]`])
  },

  async ofCustomer(customerId: string, limit: number) {
    const rows = await database.tables.ledgerEntry.findMany({
      where: { customerId },
      orderBy: { sequence: 'desc' },
      take: limit,
    })
    return rows.map(({ action, occurredAt, clientId }) => ({ action: action as LedgerAction, occurredAt, clientId }))
  },
})
