import type { Transaction } from '../../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../../storage/database.ts'

/** A consent that a run created at the bank, with its tokens. */
export interface CertificationAccessRow {
  /** Digest of the `state` of the sign-in. */
  readonly id: string
  readonly runId: string
  readonly sealed: string
  readonly createdAt: Date
}

/** What certification runs have at banks, until it has ended there. */
export const certificationAccessStore = (database: Database) => {
  const tables = database.tables
  return {
    /** Stores the access of a sign-in, or what it is now. */
    async save(row: CertificationAccessRow): Promise<void> {
      const { id, sealed } = row
      await tables.certificationAccess.upsert({ where: { id }, create: row, update: { sealed } })
    },

    find: (id: string): Promise<CertificationAccessRow | null> =>
      tables.certificationAccess.findUnique({ where: { id } }),

    ofRun: (runId: string): Promise<CertificationAccessRow[]> =>
      tables.certificationAccess.findMany({ where: { runId } }),

    /** The IDs of what a run still has. */
    async idsOfRun(tx: Transaction, runId: string): Promise<string[]> {
      const rows = await tablesIn(tx).certificationAccess.findMany({ where: { runId }, select: { id: true } })
      return rows.map(({ id }) => id)
    },

    /** Deletes what has ended at the bank. */
    async delete(id: string): Promise<void> {
      await tables.certificationAccess.deleteMany({ where: { id } })
    },
  }
}
/** The store of what runs have at banks. */
export type CertificationAccessStore = ReturnType<typeof certificationAccessStore>
