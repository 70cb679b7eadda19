import type { Transaction } from '../../kernel/transaction.ts'
import { deleteInBatches } from '../../storage/batch-delete.ts'
import { tablesIn, type Database } from '../../storage/database.ts'

/** The sign-in of a customer at a bank. */
export interface SignInRow {
  readonly stateDigest: string
  readonly consentId: string
  readonly connectorId: string
  readonly interactionUid: string
  /** Digest of what the customer chose on the consent pages. */
  readonly choiceDigest: string
  /** The present step. Empty until the bank has returned the first one, and again once its tokens are stored or its consent has ended. */
  readonly sealedData: string
  readonly expiresAt: Date
  /** When the present step was claimed, or the sign-in closed. */
  readonly usedAt: Date | null
}

/** Sign-ins of customers at banks: one for each interaction. */
export const signInStore = (database: Database) => ({
  /** Adds the sign-in of an interaction. False if the interaction has one. */
  async claimInteraction(tx: Transaction, signIn: SignInRow): Promise<boolean> {
    return (await tablesIn(tx).bankSignIn.createMany({ data: [signIn], skipDuplicates: true })).count === 1
  },

  /**
   * Replaces the sign-in of an interaction whose customer has not returned: by another choice, if the bank has returned the first step of
   * the earlier sign-in, or by any choice, if that has expired. Returns the consent of the replaced sign-in.
   */
  async replace(tx: Transaction, signIn: SignInRow, now: Date): Promise<string | undefined> {
    const { interactionUid, choiceDigest } = signIn
    const [earlier] = await tablesIn(tx).$queryRaw<{ consentId: string; stateDigest: string }[]>`
      select consent_id as "consentId", state_digest as "stateDigest" from bank_sign_in
      where interaction_uid = ${interactionUid} and used_at is null
        and (choice_digest <> ${choiceDigest} and sealed_data <> '' or expires_at <= ${now}) for update`
    if (!earlier) return undefined
    // The earlier row stays until its bank-side consent has ended.
    const { stateDigest } = earlier
    await tablesIn(tx).bankSignIn.update({ where: { stateDigest }, data: { interactionUid: stateDigest } })
    await tablesIn(tx).bankSignIn.create({ data: signIn })
    return earlier.consentId
  },

  /** Stores the first step that the bank returned. False if the interaction has ended meanwhile. */
  async open(tx: Transaction, stateDigest: string, sealedData: string): Promise<boolean> {
    const { usedAt } = await tablesIn(tx).bankSignIn.update({ where: { stateDigest }, data: { sealedData } })
    return usedAt === null
  },

  find: (stateDigest: string): Promise<SignInRow | null> =>
    database.tables.bankSignIn.findUnique({ where: { stateDigest } }),

  findByInteraction: (interactionUid: string): Promise<SignInRow | null> =>
    database.tables.bankSignIn.findUnique({ where: { interactionUid } }),

  /**
   * Claims the step of a sign-in that was read, by marking the sign-in as used. True only for the first caller, and only before
   * the sign-in expires.
   */
  async use({ stateDigest, sealedData, usedAt }: SignInRow, now: Date): Promise<boolean> {
    const where = { stateDigest, sealedData, usedAt, expiresAt: { gt: now } }
    return (await database.tables.bankSignIn.updateMany({ where, data: { usedAt: now } })).count === 1
  },

  /** Whether the request that claimed a step at this time still has the claim: nobody has claimed the step after it. */
  async isClaimedAt(stateDigest: string, usedAt: Date): Promise<boolean> {
    return (await database.tables.bankSignIn.count({ where: { stateDigest, usedAt } })) === 1
  },

  /** Stores the next step of a sign-in. If it is open, the step can be claimed. */
  async advance(tx: Transaction, stateDigest: string, sealedData: string, isOpen: boolean): Promise<void> {
    const data = { sealedData, ...(isOpen && { usedAt: null }) }
    await tablesIn(tx).bankSignIn.update({ where: { stateDigest }, data })
  },

  /** Deletes what is needed to end the bank-side consent, because its tokens are stored or it has ended. */
  async clear(stateDigest: string, tx?: Transaction): Promise<void> {
    await (tx ? tablesIn(tx) : database.tables).bankSignIn.updateMany({
      where: { stateDigest },
      data: { sealedData: '' },
    })
  },

  /** Marks the sign-in of a consent as used. Returns the digest of its `state` if its bank-side consent must be ended. */
  async close(tx: Transaction, consentId: string, now: Date): Promise<string | undefined> {
    await tablesIn(tx).bankSignIn.updateMany({ where: { consentId, usedAt: null }, data: { usedAt: now } })
    const where = { consentId, sealedData: { not: '' } }
    return (await tablesIn(tx).bankSignIn.findFirst({ where, select: { stateDigest: true } }))?.stateDigest
  },

  /** Deletes sign-ins that expired before this time and have nothing left to end at the bank; returns how many. */
  deleteEnded: (before: Date): Promise<number> =>
    deleteInBatches(database, {
      table: 'bank_sign_in',
      where: "sealed_data = '' and expires_at < $1",
      orderBy: 'expires_at',
      values: [before],
    }),
})
