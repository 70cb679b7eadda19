import type { CustomerOfClient } from '../../kernel/request-context.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** A sealed phrase. Its ID is new with each phrase, because it is sealed with it. */
export interface SealedPhrase {
  readonly id: string
  readonly sealed: string
}

/** Anti-phishing phrases. */
export const phraseStore = (database: Database) => ({
  /** The phrase of a customer for a client. */
  async find({ clientId, customerId }: CustomerOfClient): Promise<SealedPhrase | null> {
    const where = { clientId_customerId: { clientId, customerId } }
    return database.tables.alertPhrase.findUnique({ where, select: { id: true, sealed: true } })
  },

  /** Adds or replaces the phrase. */
  async replace({ clientId, customerId }: CustomerOfClient, phrase: SealedPhrase): Promise<void> {
    const where = { clientId_customerId: { clientId, customerId } }
    await database.tables.alertPhrase.upsert({ where, create: { clientId, customerId, ...phrase }, update: phrase })
  },

  /** Removes the phrase, if there is one. */
  async remove({ clientId, customerId }: CustomerOfClient): Promise<void> {
    await database.tables.alertPhrase.deleteMany({ where: { clientId, customerId } })
  },
})

/** Deletes the customer's phrase for the client of a consent, unless another active consent of it covers the customer. */
export async function deletePhrase(tx: Transaction, consentId: string, now: Date): Promise<void> {
  await tablesIn(tx).$executeRaw`
    delete from alert_phrase using consent ended
    where ended.id = ${consentId} and alert_phrase.customer_id = ended.customer_id and alert_phrase.client_id = ended.client_id
      and not exists (
        select from consent other where other.customer_id = ended.customer_id and other.client_id = ended.client_id
          and other.id <> ended.id and other.status = 'ACTIVE' and other.expires_at > ${now})`
}
