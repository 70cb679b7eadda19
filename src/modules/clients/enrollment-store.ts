import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import { ROOT_SCOPE } from './admin-requirements.ts'
import type { Client, Enrollment } from './model.ts'
import { toClient } from './store.ts'

const ENROLLMENT_KEY = { name: 'admin' }

/** The enrollment, and the clients that can make it unnecessary. */
export const enrollmentStore = (database: Database) => ({
  /** The clients of any status with the scope that administration requires. */
  async clientsWithRootScope(tx?: Transaction): Promise<Client[]> {
    const tables = tx ? tablesIn(tx) : database.tables
    return (await tables.client.findMany({ where: { scopes: { has: ROOT_SCOPE } } })).map(toClient)
  },

  async hasNoClients(): Promise<boolean> {
    return (await database.tables.client.findFirst({ select: { id: true } })) === null
  },

  async current(): Promise<Enrollment | null> {
    const row = await database.tables.adminEnrollment.findUnique({ where: ENROLLMENT_KEY })
    return row && { ...row, reason: row.reason as Enrollment['reason'] }
  },

  /** Opens the first enrollment, or replaces one that ended before `now`. False if one is open. */
  async openFirst(tx: Transaction, enrollment: Enrollment, now: Date): Promise<boolean> {
    const { adminEnrollment } = tablesIn(tx)
    const created = await adminEnrollment.createMany({
      data: [{ ...ENROLLMENT_KEY, ...enrollment }],
      skipDuplicates: true,
    })
    if (created.count === 1) return true
    const whereEnded = { ...ENROLLMENT_KEY, OR: [{ expiresAt: { lte: now } }, { usedAt: { not: null } }] }
    return (await adminEnrollment.updateMany({ where: whereEnded, data: enrollment })).count === 1
  },

  /** Opens an enrollment and replaces any other. */
  async replace(tx: Transaction, enrollment: Enrollment): Promise<void> {
    const row = { ...ENROLLMENT_KEY, ...enrollment }
    await tablesIn(tx).adminEnrollment.upsert({ where: ENROLLMENT_KEY, create: row, update: enrollment })
  },

  /** Uses the enrollment. True for only one of several concurrent callers. */
  async consume(tx: Transaction, { salt }: Enrollment, now: Date): Promise<boolean> {
    const { count } = await tablesIn(tx).adminEnrollment.updateMany({
      where: { ...ENROLLMENT_KEY, salt, usedAt: null, expiresAt: { gt: now } },
      data: { usedAt: now },
    })
    return count === 1
  },
})
