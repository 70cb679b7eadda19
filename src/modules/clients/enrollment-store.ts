import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { ROOT_SCOPE } from './admin-requirements.ts'
import type { Client, Enrolment } from './model.ts'
import { toClient } from './store.ts'

const ENROLMENT_KEY = { name: 'admin' }

/** The one enrolment, and who there is before it is used. */
export const enrolmentStore = (database: Database) => ({
  /** The clients that hold the scope that administration depends on, in whatever status. */
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

  /** Opens the first enrolment, or one in place of another that has ended before `now`; false where one is open. */
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

  /** Opens an enrolment in place of any other. */
  async replace(tx: Transaction, enrolment: Enrolment): Promise<void> {
    const row = { ...ENROLMENT_KEY, ...enrolment }
    await tablesIn(tx).adminEnrolment.upsert({ where: ENROLMENT_KEY, create: row, update: enrolment })
  },

  /** True for the one caller that uses it up, of however many at once. */
  async consume(tx: Transaction, { salt }: Enrolment, now: Date): Promise<boolean> {
    const { count } = await tablesIn(tx).adminEnrolment.updateMany({
      where: { ...ENROLMENT_KEY, salt, usedAt: null, expiresAt: { gt: now } },
      data: { usedAt: now },
    })
    return count === 1
  },
})
