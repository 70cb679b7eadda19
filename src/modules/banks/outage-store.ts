import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Outage } from './model.ts'

const fields = { id: true, bankId: true, kind: true, startsAt: true, endsAt: true } as const

/** Outages of banks. A cancelled outage has an end equal to its start. */
export const outageStore = (database: Database) => ({
  async add(tx: Transaction, outage: Outage): Promise<void> {
    await tablesIn(tx).outage.create({ data: outage })
  },

  async find(id: string): Promise<Outage | null> {
    return (await database.tables.outage.findUnique({ where: { id }, select: fields })) as Outage | null
  },

  /** Ends the outage, or cancels it if it has not begun. Returns undefined if it is over or was cancelled before. */
  async end(tx: Transaction, id: string, at: Date): Promise<Outage | undefined> {
    const [row] = await tablesIn(tx).$queryRaw<Outage[]>`
      update outage set ends_at = greatest(starts_at, ${at}) where id = ${id} and ends_at > ${at} and ends_at > starts_at
      returning id, bank_id as "bankId", kind, starts_at as "startsAt", ends_at as "endsAt"`
    return row
  },

  /** The outages of these banks that are not over, earliest first. */
  async notOver(bankIds: readonly string[], at: Date): Promise<Outage[]> {
    const rows = await database.tables.outage.findMany({
      where: { bankId: { in: [...bankIds] }, endsAt: { gt: at } },
      orderBy: [{ startsAt: 'asc' }, { id: 'asc' }],
      select: fields,
    })
    return (rows as Outage[]).filter(({ startsAt, endsAt }) => endsAt > startsAt)
  },
})
/** The store of outages. */
export type OutageStore = ReturnType<typeof outageStore>
