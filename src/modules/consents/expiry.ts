import { MINUTE_MS, subtractMs } from '../../kernel/clock.ts'
import { errorTrace } from '../../kernel/log.ts'
import { expiredBefore } from '../../kernel/retention.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Ending } from './ending.ts'
import type { Consent } from './model.ts'
import type { Rejection } from './rejection.ts'
import type { Stores } from './stores.ts'

/** A sign-in lasts 15 minutes. After this, no request can still be working on what it started. */
const ABANDONED_AFTER_MS = 30 * MINUTE_MS
const BATCH_SIZE = 100

/** Which consents end, and how. */
interface Batch {
  /** Up to `limit` consents that are due, without these. */
  readonly findNext: (limit: number, excludedIds: readonly string[]) => Promise<readonly Consent[]>
  /** Ends one in a transaction of its own. False if it had ended meanwhile. */
  readonly end: (consent: Consent) => Promise<boolean>
}

/** Ends consents whose time is over. Each function stops early when `shouldContinue` returns false. */
export function createExpiry(
  { world: { clock, log } }: ConsentsDependencies,
  { consents, signIns }: Stores,
  rejection: Rejection,
  ending: Ending,
) {
  return {
    /** Ends all consents that have expired or whose authorization code was not redeemed in time; returns how many. */
    async endExpired(shouldContinue?: () => boolean): Promise<number> {
      const now = clock.now()
      const expired: Batch = {
        findNext: (limit, excludedIds) => consents.findExpired(now, limit, excludedIds),
        end: (consent) => ending.end(consent, { status: 'EXPIRED', endedBy: 'SYSTEM' }),
      }
      const unredeemed: Batch = {
        findNext: (limit, excludedIds) => consents.findUnredeemed(now, limit, excludedIds),
        async end(consent) {
          const how = { status: 'REVOKED', endedBy: 'SYSTEM', onlyIfUnredeemed: true } as const
          const hasEnded = await ending.end(consent, how)
          if (hasEnded) log.info('consent.code_not_redeemed', { consentId: consent.id, clientId: consent.clientId })
          return hasEnded
        },
      }
      const expiredCount = await endInBatches(expired, shouldContinue)
      return expiredCount + (await endInBatches(unredeemed, shouldContinue))
    },

    /** Rejects all consents whose customer did not return from the bank; returns how many. */
    rejectAbandoned(shouldContinue?: () => boolean): Promise<number> {
      const before = subtractMs(clock.now(), ABANDONED_AFTER_MS)
      const abandoned: Batch = {
        findNext: (limit, excludedIds) => consents.findAbandoned(before, limit, excludedIds),
        end: ({ id }) => rejection.reject(id, { code: 'ABANDONED' }),
      }
      return endInBatches(abandoned, shouldContinue)
    },

    /** Deletes sign-ins that ended more than a day ago and left nothing to revoke at the bank; returns how many. */
    deleteEndedSignIns: (): Promise<number> => signIns.deleteEnded(expiredBefore('bank_sign_in', clock.now())),
  }

  /**
   * Ends consents until none is due; returns how many. A consent that cannot be ended is logged and left for the next run.
   * After 100 such consents the run stops, because the cause is not in the consents.
   */
  async function endInBatches({ findNext, end }: Batch, shouldContinue: () => boolean = () => true): Promise<number> {
    const skippedIds: string[] = []
    let endedCount = 0
    while (skippedIds.length < BATCH_SIZE) {
      const consents = await findNext(BATCH_SIZE, skippedIds)
      if (consents.length === 0) break
      for (const consent of consents) {
        if (!shouldContinue()) return endedCount
        try {
          if (await end(consent)) endedCount++
          else skippedIds.push(consent.id)
        } catch (error) {
          skippedIds.push(consent.id)
          log.error('consent.end_failed', { consentId: consent.id, trace: errorTrace(error) })
        }
      }
    }
    return endedCount
  }
}
