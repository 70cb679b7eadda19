import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'
import type { Receipt } from './model.ts'

/** Receipts of each party about the start and the end of consents. */
export const receiptStore = (database: Database) => ({
  async add(
    tx: Transaction,
    consentId: string,
    receipts: readonly (Receipt & { id: string })[],
    issuedAt: Date,
  ): Promise<void> {
    await tablesIn(tx).receipt.createMany({ data: receipts.map((receipt) => ({ ...receipt, consentId, issuedAt })) })
  },

  /** Sets the bank's PENDING receipts to DONE. NOT_NEEDED is final. */
  async completeOfBank(consentIds: readonly string[], issuedAt: Date): Promise<void> {
    await database.tables.receipt.updateMany({
      where: { consentId: { in: [...consentIds] }, kind: 'REVOKED', party: 'BANK', result: 'PENDING' },
      data: { result: 'DONE', issuedAt },
    })
  },

  /** The receipts of a consent, oldest first. */
  async findByConsent(consentId: string): Promise<Receipt[]> {
    const rows = await database.tables.receipt.findMany({ where: { consentId }, orderBy: { issuedAt: 'asc' } })
    return rows.map(({ kind, party, result }) => ({ kind, party, result }) as Receipt)
  },
})
