import type { Transaction } from '../../kernel/transaction.ts'
import { within, type Database } from '../../storage/database.ts'

/** A customer on the way to the bank and back. */
export interface SignInRow {
  readonly stateDigest: string
  readonly consentId: string
  readonly connectorId: string
  readonly interactionUid: string
  /** Digest of what the customer chose on the pages. */
  readonly choiceDigest: string
  /** Empty until the bank has said where the customer signs in, and again once they came back. */
  readonly sealed: string
  readonly expiresAt: Date
  readonly usedAt: Date | null
}
/** Customers who sign in at a bank: one sign-in for each visit. */
export const signInStore = (database: Database) => ({
  /** Takes the visit's one sign-in; false where it is taken. */
  async claimVisit(tx: Transaction, signIn: SignInRow): Promise<boolean> {
    return (await within(tx).bankSignIn.createMany({ data: [signIn], skipDuplicates: true })).count === 1
  },

  /**
   * Puts another choice in the place of the visit's sign-in, where that one leads to the bank and the customer is not back.
   * Returns the id of the consent that it was for.
   */
  async replaceSignIn(tx: Transaction, signIn: SignInRow): Promise<string | undefined> {
    const { interactionUid, choiceDigest, stateDigest, consentId, connectorId, expiresAt } = signIn
    const [earlier] = await within(tx).$queryRaw<{ consentId: string }[]>`
      select consent_id as "consentId" from bank_sign_in
      where interaction_uid = ${interactionUid} and choice_digest <> ${choiceDigest}
        and sealed <> '' and used_at is null for update`
    if (!earlier) return undefined
    await within(tx).bankSignIn.update({
      where: { interactionUid },
      data: { stateDigest, consentId, connectorId, choiceDigest, sealed: '', expiresAt },
    })
    return earlier.consentId
  },

  /** Stores where the customer signs in, once the bank has said it. */
  async openSignIn(stateDigest: string, sealed: string): Promise<void> {
    await database.tables.bankSignIn.updateMany({ where: { stateDigest, usedAt: null }, data: { sealed } })
  },

  signIn: (stateDigest: string): Promise<SignInRow | null> =>
    database.tables.bankSignIn.findUnique({ where: { stateDigest } }),

  signInOfVisit: (interactionUid: string): Promise<SignInRow | null> =>
    database.tables.bankSignIn.findUnique({ where: { interactionUid } }),

  /** True for the first caller while the sign-in is fresh, false ever after. */
  async useSignIn(stateDigest: string, now: Date): Promise<boolean> {
    const where = { stateDigest, usedAt: null, expiresAt: { gt: now } }
    return (await database.tables.bankSignIn.updateMany({ where, data: { usedAt: now, sealed: '' } })).count === 1
  },
})
