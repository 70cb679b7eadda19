import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** A customer on the way to the bank and back. */
export interface SignInRow {
  readonly stateDigest: string
  readonly consentId: string
  readonly connectorId: string
  readonly interactionUid: string
  /** Digest of what the customer chose on the pages. */
  readonly choiceDigest: string
  /** Empty until the bank has said where the customer signs in, and again once its tokens are stored or its consent ended. */
  readonly sealedData: string
  readonly expiresAt: Date
  readonly usedAt: Date | null
}
/** Customers who sign in at a bank: one sign-in for each visit. */
export const signInStore = (database: Database) => ({
  /** Takes the visit's one sign-in; false where it is taken. */
  async claimVisit(tx: Transaction, signIn: SignInRow): Promise<boolean> {
    return (await tablesIn(tx).bankSignIn.createMany({ data: [signIn], skipDuplicates: true })).count === 1
  },

  /**
   * Puts another choice in the place of the visit's sign-in, where that one leads to the bank, or any where its time is over
   * at `now`, and the customer is not back. Returns the id of the consent that it was for.
   */
  async replace(tx: Transaction, signIn: SignInRow, now: Date): Promise<string | undefined> {
    const { interactionUid, choiceDigest } = signIn
    const [earlier] = await tablesIn(tx).$queryRaw<{ consentId: string; stateDigest: string }[]>`
      select consent_id as "consentId", state_digest as "stateDigest" from bank_sign_in
      where interaction_uid = ${interactionUid} and used_at is null
        and (choice_digest <> ${choiceDigest} and sealed_data <> '' or expires_at <= ${now}) for update`
    if (!earlier) return undefined
    // The earlier one stays until the bank-side consent that it has begun has ended.
    const { stateDigest } = earlier
    await tablesIn(tx).bankSignIn.update({ where: { stateDigest }, data: { interactionUid: stateDigest } })
    await tablesIn(tx).bankSignIn.create({ data: signIn })
    return earlier.consentId
  },

  /** Stores where the customer signs in, once the bank has said it; false where the visit has ended meanwhile. */
  async open(tx: Transaction, stateDigest: string, sealedData: string): Promise<boolean> {
    const { usedAt } = await tablesIn(tx).bankSignIn.update({ where: { stateDigest }, data: { sealedData } })
    return usedAt === null
  },

  find: (stateDigest: string): Promise<SignInRow | null> =>
    database.tables.bankSignIn.findUnique({ where: { stateDigest } }),

  findByVisit: (interactionUid: string): Promise<SignInRow | null> =>
    database.tables.bankSignIn.findUnique({ where: { interactionUid } }),

  /** True for the first caller while the sign-in is fresh, false ever after. */
  async use(stateDigest: string, now: Date): Promise<boolean> {
    const where = { stateDigest, usedAt: null, expiresAt: { gt: now } }
    return (await database.tables.bankSignIn.updateMany({ where, data: { usedAt: now } })).count === 1
  },

  /** Forgets how the bank-side consent of a sign-in is named: its tokens are stored, or it has ended. */
  async clear(stateDigest: string, tx?: Transaction): Promise<void> {
    await (tx ? tablesIn(tx) : database.tables).bankSignIn.updateMany({
      where: { stateDigest },
      data: { sealedData: '' },
    })
  },

  /** Takes the sign-in of a consent out of use; returns it where it has begun something at the bank that must be ended. */
  async close(tx: Transaction, consentId: string, now: Date): Promise<string | undefined> {
    await tablesIn(tx).bankSignIn.updateMany({ where: { consentId, usedAt: null }, data: { usedAt: now } })
    const where = { consentId, sealedData: { not: '' } }
    return (await tablesIn(tx).bankSignIn.findFirst({ where, select: { stateDigest: true } }))?.stateDigest
  },

  /** Deletes sign-ins that ended before this time and have nothing to end at the bank; returns how many. */
  deleteEnded: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'bank_sign_in',
      where: "sealed_data = '' and expires_at < $1",
      orderBy: 'expires_at',
      values: [before],
    }),
})
