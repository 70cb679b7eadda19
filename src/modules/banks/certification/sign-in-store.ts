import type { Transaction } from '../../../kernel/transaction.ts'
import { tablesIn, type Database } from '../../../storage/database.ts'

/** The sign-in of the person who attends a run. */
export interface AttendedSignInRow {
  readonly runId: string
  readonly linkDigest: string
  readonly stateDigest: string | null
  readonly sealed: string
  /** When a request claimed the present step. */
  readonly stepClaimedAt: Date | null
  readonly expiresAt: Date
  readonly returnedAt: Date | null
  readonly resumedAt: Date | null
}

/** The claim of a step: only the newest one can store what followed. */
export type StepClaim = Pick<AttendedSignInRow, 'stateDigest' | 'stepClaimedAt'>

/** The sign-ins of people who attend runs: at most one for each run, until the run ends. */
export const attendedSignInStore = (database: Database) => {
  const tables = database.tables
  /** The sign-in has not ended, and there is time left. */
  const isOpen = (now: Date) => ({ returnedAt: null, resumedAt: null, expiresAt: { gt: now } })
  return {
    /** Adds the sign-in of a run, unless another process has done so. */
    async add(tx: Transaction, row: Pick<AttendedSignInRow, 'runId' | 'linkDigest' | 'sealed' | 'expiresAt'>) {
      await tablesIn(tx).certificationSignIn.createMany({ data: [row], skipDuplicates: true })
    },

    find: (runId: string): Promise<AttendedSignInRow | null> =>
      tables.certificationSignIn.findUnique({ where: { runId } }),

    findByLink: (linkDigest: string): Promise<AttendedSignInRow | null> =>
      tables.certificationSignIn.findUnique({ where: { linkDigest } }),

    findByState: (stateDigest: string): Promise<AttendedSignInRow | null> =>
      tables.certificationSignIn.findUnique({ where: { stateDigest } }),

    /** Counts an attempt before the bank is called. False if the sign-in is not open, or was attempted `maxAttempts` times. */
    async countAttempt(runId: string, maxAttempts: number, now: Date): Promise<boolean> {
      const { count } = await tables.certificationSignIn.updateMany({
        where: { runId, attemptCount: { lt: maxAttempts }, ...isOpen(now) },
        data: { attemptCount: { increment: 1 } },
      })
      return count === 1
    },

    /** Stores an attempt, and returns the one that it replaces. Undefined if the sign-in is not open any more. */
    async storeAttempt(
      tx: Transaction,
      runId: string,
      attempt: { stateDigest: string | null; sealed: string },
      now: Date,
    ): Promise<{ stateDigest: string | null } | undefined> {
      const [replaced] = await tablesIn(tx).$queryRaw<{ stateDigest: string | null }[]>`
        select state_digest as "stateDigest" from certification_sign_in where run_id = ${runId}
          and returned_at is null and resumed_at is null and expires_at > ${now} for update`
      if (!replaced) return undefined
      const data = { ...attempt, stepClaimedAt: null }
      await tablesIn(tx).certificationSignIn.update({ where: { runId }, data })
      return replaced
    },

    /** Claims the step of a sign-in that was read. True for one of several concurrent callers, while the sign-in is open. */
    async claimStep({ runId, sealed, stepClaimedAt }: AttendedSignInRow, now: Date): Promise<boolean> {
      const where = { runId, sealed, stepClaimedAt, ...isOpen(now) }
      return (await tables.certificationSignIn.updateMany({ where, data: { stepClaimedAt: now } })).count === 1
    },

    /** Stores the next step of an attempt, which can then be claimed. False unless the claim and the sign-in are still open. */
    async storeStep({ stateDigest, stepClaimedAt }: StepClaim, sealed: string, now: Date): Promise<boolean> {
      const where = { stateDigest, stepClaimedAt, ...isOpen(now) }
      return (await tables.certificationSignIn.updateMany({ where, data: { sealed, stepClaimedAt: null } })).count === 1
    },

    /** Stores how an attempt ended, which ends the sign-in. False unless the claim and the sign-in are still open. */
    async storeResult({ stateDigest, stepClaimedAt }: StepClaim, sealed: string, now: Date): Promise<boolean> {
      const where = { stateDigest, stepClaimedAt, ...isOpen(now) }
      return (await tables.certificationSignIn.updateMany({ where, data: { sealed, returnedAt: now } })).count === 1
    },

    /** Deletes the secrets of a run that has ended. */
    async delete(tx: Transaction, runId: string): Promise<void> {
      await tablesIn(tx).certificationSignIn.deleteMany({ where: { runId } })
    },

    /** Marks the run as continued. True for the first caller, after the return or the expiry. */
    async resume(runId: string, now: Date): Promise<boolean> {
      const where = { runId, resumedAt: null, OR: [{ returnedAt: { not: null } }, { expiresAt: { lte: now } }] }
      return (await tables.certificationSignIn.updateMany({ where, data: { resumedAt: now } })).count === 1
    },
  }
}
/** The store of attended sign-ins. */
export type AttendedSignInStore = ReturnType<typeof attendedSignInStore>
