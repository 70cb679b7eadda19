import type { Database } from '../../storage/database.ts'
import type { Change, LedgerAction } from './model.ts'
import type { Purpose } from '../../kernel/scopes.ts'

/** A stored entry without its customer and accounts, which the audit log never shows. */
export interface StoredEntry {
  readonly sequence: bigint
  readonly occurredAt: Date
  readonly action: LedgerAction
  readonly requestId: string | null
  readonly clientId: string | null
  readonly consentId: string | null
  readonly subjectId: string | null
  readonly detail: string | null
  readonly purposes: readonly Purpose[]
  readonly changes: readonly Change[] | null
}

/** A search for entries. Every given condition must match. */
export interface EntrySearch {
  /** Only entries by or about one of these clients; all entries if absent. */
  readonly visibleToClientIds?: readonly string[] | undefined
  readonly actions?: readonly string[] | undefined
  readonly clientIds?: readonly string[] | undefined
  readonly subjectIds?: readonly string[] | undefined
  readonly since?: Date | undefined
  readonly until?: Date | undefined
  /** Exclusive, like `beforeSequence`. */
  readonly afterSequence?: bigint | undefined
  readonly beforeSequence?: bigint | undefined
  readonly direction: 'ASC' | 'DESC'
  readonly limit: number
}

const COLUMNS = `sequence, occurred_at as "occurredAt", action, request_id as "requestId", client_id as "clientId", consent_id as "consentId",
  subject_id as "subjectId", detail, purposes, changes`
const MAX_SEQUENCE = 9_223_372_036_854_775_807n

/** The conditions of every search, with parameters from $2 on; $1 has the keys of the index that is used. */
const CONDITIONS = `sequence > $2 and sequence < $3 and occurred_at >= coalesce($4::timestamptz, '-infinity')
  and occurred_at < coalesce($5::timestamptz, 'infinity') and ($6::text[] is null or action = any($6))
  and ($7::text[] is null or client_id = any($7)) and ($8::text[] is null or subject_id = any($8))
  and ($9::text[] is null or client_id = any($9) or subject_id = any($9))`

/** The columns with an index that also has the sequence or has few entries per key. */
type IndexedColumn = 'client_id' | 'subject_id' | 'action'

const selectByColumn = (key: IndexedColumn, direction: string): string => `
  select entry.* from unnest($1::text[]) as keys (value) cross join lateral (
    select ${COLUMNS} from ledger_entry where ${key} = keys.value and ${CONDITIONS}
    order by sequence ${direction} limit $10) as entry`
const selectBySequence = (direction: string): string => `
  select ${COLUMNS} from ledger_entry where ($1::text[] is null or true) and ${CONDITIONS}
  order by sequence ${direction} limit $10`

/** Chooses the most selective index: its columns and the keys to find. */
function chooseIndex({
  subjectIds,
  clientIds,
  visibleToClientIds,
  actions,
}: EntrySearch): [columns: IndexedColumn[], keys: readonly string[]] {
  if (subjectIds) return [['subject_id'], subjectIds]
  if (clientIds) return [['client_id'], clientIds]
  if (visibleToClientIds) return [['client_id', 'subject_id'], visibleToClientIds]
  return actions ? [['action'], actions] : [[], []]
}

/** Reads the entries of the audit log. */
export const auditLogStore = (database: Database) => ({
  async search(search: EntrySearch): Promise<StoredEntry[]> {
    const {
      visibleToClientIds,
      actions,
      clientIds,
      subjectIds,
      since,
      until,
      afterSequence = 0n,
      beforeSequence = MAX_SEQUENCE,
    } = search
    const { direction, limit } = search
    const [columns, keys] = chooseIndex(search)
    const selects =
      columns.length === 0 ? [selectBySequence(direction)] : columns.map((column) => selectByColumn(column, direction))
    const sql = `select * from (${selects.join(' union ')}) as found order by sequence ${direction} limit $10`
    const name = `audit-log-${columns.join('-')}-${direction}`
    const values = [
      columns.length === 0 ? null : keys,
      String(afterSequence),
      String(beforeSequence),
      since ?? null,
      until ?? null,
      actions ?? null,
      clientIds ?? null,
      subjectIds ?? null,
      visibleToClientIds ?? null,
      limit,
    ]
    const rows = await database.query<Omit<StoredEntry, 'sequence'> & { sequence: string }>(name, sql, values)
    return rows.map((row) => ({ ...row, sequence: BigInt(row.sequence) }))
  },

  /** The IDs of all clients of this client's organization. */
  async clientIdsOfSameOrganization(clientId: string): Promise<string[]> {
    const sql =
      'select id from client where organization_id = (select organization_id from client where id = $1) limit 1000'
    return (await database.query<{ id: string }>('audit-log-clients', sql, [clientId])).map(({ id }) => id)
  },
})
