import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Outage } from './model.ts'

const fields = { id: true, bankId: true, kind: true, startsAt: true, endsAt: true } as const

/** Outages of banks; one that was taken back ends as it starts. */
export const outageStore = (database: Database) => ({
  async add(tx: Transaction, outage: Outage): Promise<void> {
    await tablesIn(tx).outage.create({ data: outage })
  },

  async find(id: string): Promise<Outage | null> {
    return (await database.tables.outage.findUnique({ where: { id }, select: fields })) as Outage | null
  },

  /** Ends the outage, unless it is over or was taken back; nothing then. One that has not begun ends as it starts. */
  async end(tx: Transaction, id: string, at: Date): Promise<Outage | undefined> {
    const [row] = await tablesIn(tx).$queryRaw<Outage[]>`
      update outage set ends_at = greatest(starts_at, ${at}) where id = ${id} and ends_at > ${at} and ends_at > starts_at
      returning id, bank_id as "bankId", kind, starts_at as "startsAt", ends_at as "endsAt"`
    return row
  },

  /** The outages of these banks that are not over, nearest first. */
  async notOver(bankIds: readonly string[], at: Date): Promise<Outage[]> {
    const rows = await database.tables.outage.findMany({
      where: { bankId: { in: [...bankIds] }, endsAt: { gt: at } },
      orderBy: [{ startsAt: 'asc' }, { id: 'asc' }],
      select: fields,
    })
    return (rows as Outage[]).filter(({ startsAt, endsAt }) => endsAt > startsAt)
  },
})
/** The store as `outages.ts` takes it. */
export type OutageStore = ReturnType<typeof outageStore>
