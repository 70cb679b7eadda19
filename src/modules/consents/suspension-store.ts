import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn } from '../../storage/database.ts'

/** What the notification about a suspension needs to know of a consent. */
export interface SuspensionRow {
  readonly id: string
  readonly clientId: string
  readonly customerId: string | null
}

/** Which ACTIVE consents customers and clients were last notified of as suspended. */
export const suspensionStore = {
  /** The clients that have ACTIVE consents at a bank. */
  async findActiveClients(tx: Transaction, bankId: string): Promise<string[]> {
    const rows = await tablesIn(tx).$queryRaw<{ id: string }[]>`
      select id from client where exists (
        select 1 from consent where bank_id = ${bankId} and client_id = client.id and status = 'ACTIVE')`
    return rows.map(({ id }) => id)
  },

  /**
   * Records that ACTIVE consents with these clients are suspended, those that were not: at most `limit`, and none that another
   * transaction has locked. Returns them.
   */
  recordSuspended: (
    tx: Transaction,
    bankId: string,
    clientIds: readonly string[],
    now: Date,
    limit: number,
  ): Promise<SuspensionRow[]> => tablesIn(tx).$queryRaw`
      update consent set suspended_at = ${now} from (
        select id from consent where status = 'ACTIVE' and suspended_at is null and id in (
          select id from consent where bank_id = ${bankId} and client_id = any(${[...clientIds]}) and status = 'ACTIVE'
            and suspended_at is null limit ${limit}::int)
        order by id for update skip locked) as chosen
      where consent.id = chosen.id
      returning consent.id, client_id as "clientId", customer_id as "customerId"`,

  /**
   * Records that ACTIVE consents with these clients are no longer suspended, those that were: at most `limit`, and none that
   * another transaction has locked. Returns them.
   */
  recordResumed: (
    tx: Transaction,
    bankId: string,
    clientIds: readonly string[],
    now: Date,
    limit: number,
  ): Promise<SuspensionRow[]> => tablesIn(tx).$queryRaw`
      update consent set suspended_at = null, resumed_at = ${now} from (
        select id from consent where status = 'ACTIVE' and suspended_at is not null and id in (
          select id from consent where bank_id = ${bankId} and client_id = any(${[...clientIds]}) and status = 'ACTIVE'
            and suspended_at is not null limit ${limit}::int)
        order by id for update skip locked) as chosen
      where consent.id = chosen.id
      returning consent.id, client_id as "clientId", customer_id as "customerId"`,

  /** Whether `recordSuspended` or `recordResumed` would have more to record, locked consents included. */
  async isUnrecorded(
    tx: Transaction,
    bankId: string,
    { notServedIds, servedIds }: { readonly notServedIds: readonly string[]; readonly servedIds: readonly string[] },
  ): Promise<boolean> {
    const [row] = await tablesIn(tx).$queryRaw<{ left: boolean }[]>`
      select exists (
        select 1 from consent where bank_id = ${bankId} and status = 'ACTIVE' and (
          (client_id = any(${[...notServedIds]}) and suspended_at is null)
          or (client_id = any(${[...servedIds]}) and suspended_at is not null))) as left`
    return row!.left
  },
}
