import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { ROOT_SCOPE } from './admin-requirements.ts'
import type { Client, Enrolment } from './model.ts'
import { toClient } from './store.ts'

const ENROLMENT_KEY = { name: 'admin' }

/** The enrolment, and the clients that can make it unnecessary. */
export const enrolmentStore = (database: Database) => ({
  /** The clients of any status with the scope that administration requires. */
  async clientsWithRootScope(tx?: Transaction): Promise<Client[]> {
    const tables = tx ? tablesIn(tx) : database.tables
    return (await tables.client.findMany({ where: { scopes: { has: ROOT_SCOPE } } })).map(toClient)
  },

  async hasNoClients(): Promise<boolean> {
    return (await database.tables.client.findFirst({ select: { id: true } })) === null
  },

  async current(): Promise<Enrolment | null> {
    const row = await database.tables.adminEnrolment.findUnique({ where: ENROLMENT_KEY })
    return row && { ...row, reason: row.reason as Enrolment['reason'] }
  },

  /** Opens the first enrolment, or replaces one that ended before `now`. False if one is open. */
  async openFirst(tx: Transaction, enrolment: Enrolment, now: Date): Promise<boolean> {
    const { adminEnrolment } = tablesIn(tx)
    const created = await adminEnrolment.createMany({
      data: [{ ...ENROLMENT_KEY, ...enrolment }],
      skipDuplicates: true,
    })
    if (created.count === 1) return true
    const whereEnded = { ...ENROLMENT_KEY, OR: [{ expiresAt: { lte: now } }, { usedAt: { not: null } }] }
    return (await adminEnrolment.updateMany({ where: whereEnded, data: enrolment })).count === 1
  },

  /** Opens an enrolment and replaces any other. */
  async replace(tx: Transaction, enrolment: Enrolment): Promise<void> {
    const row = { ...ENROLMENT_KEY, ...enrolment }
    await tablesIn(tx).adminEnrolment.upsert({ where: ENROLMENT_KEY, create: row, update: enrolment })
  },

  /** Uses the enrolment. True for only one of several concurrent callers. */
  async consume(tx: Transaction, { salt }: Enrolment, now: Date): Promise<boolean> {
    const { count } = await tablesIn(tx).adminEnrolment.updateMany({
      where: { ...ENROLMENT_KEY, salt, usedAt: null, expiresAt: { gt: now } },
      data: { usedAt: now },
    })
    return count === 1
  },
})
