import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** The pairwise subject (OpenID Connect Core 1.0, section 8.1) by which one client knows a customer. */
export interface PairwiseSubject {
  readonly clientId: string
  readonly customerId: string
  readonly sub: string
}

/** Customers and their pairwise subjects. */
export const customerStore = (database: Database) => ({
  /** Adds a customer if there is none with this ID. */
  async add(tx: Transaction, id: string): Promise<void> {
    await tablesIn(tx).customer.createMany({ data: [{ id }], skipDuplicates: true })
  },

  async delete(tx: Transaction, id: string): Promise<void> {
    await tablesIn(tx).customer.delete({ where: { id } })
  },

  /** Adds the subject if the client has none for this customer. */
  async addSubject(tx: Transaction, subject: PairwiseSubject): Promise<void> {
    await tablesIn(tx).pairwiseSubject.createMany({ data: [subject], skipDuplicates: true })
  },

  async findBySubject(clientId: string, sub: string): Promise<string | undefined> {
    const where = { clientId_sub: { clientId, sub } }
    return (await database.tables.pairwiseSubject.findUnique({ where }))?.customerId
  },

  /** Deletes the client's subject of a customer who has no consent that is PENDING or was ever ACTIVE. */
  async deleteUnusedSubject(tx: Transaction, clientId: string, customerId: string): Promise<void> {
    const used = { OR: [{ activatedAt: { not: null } }, { status: 'PENDING' }] }
    const where = { clientId, customerId, customer: { consents: { none: used } } }
    await tablesIn(tx).pairwiseSubject.deleteMany({ where })
  },

  /** Locks everything about the person with this digest until `tx` ends. */
  async lockPerson(tx: Transaction, customerDigest: string): Promise<void> {
    await tablesIn(tx).$executeRaw`select pg_advisory_xact_lock(hashtextextended(${`person/${customerDigest}`}, 0))`
  },
})
