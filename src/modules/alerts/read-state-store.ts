import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

const FIND_SQL = `
  select alert_id as "alertId", read_at as "readAt" from alert_read where alert_id = any($1::text[]) and client_id = $2`

/** When each client marked alerts as read. */
export const readStateStore = (database: Database) => ({
  /** When the client marked each of these alerts as read, by ID. Alerts that it has not marked are absent. */
  async find(clientId: string, alertIds: readonly string[]): Promise<ReadonlyMap<string, Date>> {
    if (alertIds.length === 0) return new Map()
    const rows = await database.query<{ alertId: string; readAt: Date }>('alert-reads', FIND_SQL, [alertIds, clientId])
    return new Map(rows.map(({ alertId, readAt }) => [alertId, readAt]))
  },

  /** Marks the alerts that the client has not marked before. Returns the number of them. */
  async add(tx: Transaction, clientId: string, alertIds: readonly string[], now: Date): Promise<number> {
    // In the order of the keys, so that two transactions with the same alerts wait for each other and do not deadlock. An alert
    // whose retention ended in the meantime is skipped.
    return tablesIn(tx).$executeRaw`
      insert into alert_read (alert_id, client_id, read_at)
      select id, ${clientId}, ${now} from alert where id = any(${[...alertIds]}::text[]) order by id
      on conflict do nothing`
  },
})

/** The store of `readStateStore`. */
export type ReadStateStore = ReturnType<typeof readStateStore>

/** Deletes what the client of a consent marked as read, unless another active consent of it covers the customer and the bank. */
export async function deleteReadState(tx: Transaction, consentId: string, now: Date): Promise<void> {
  // In the order of the keys: two consents of the customer can end at the same time.
  await tablesIn(tx).$executeRaw`
    with unread as (
      select alert_read.alert_id, alert_read.client_id from consent ended
      join alert on alert.customer_id = ended.customer_id and alert.bank_id = ended.bank_id
      join alert_read on alert_read.alert_id = alert.id and alert_read.client_id = ended.client_id
      where ended.id = ${consentId} and not exists (
        select from consent other where other.customer_id = ended.customer_id and other.client_id = ended.client_id
          and other.bank_id = ended.bank_id and other.id <> ended.id and other.status = 'ACTIVE' and other.expires_at > ${now})
      order by alert_read.alert_id for update of alert_read)
    delete from alert_read using unread
    where alert_read.alert_id = unread.alert_id and alert_read.client_id = unread.client_id`
}
