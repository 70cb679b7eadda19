import { errorTrace, type Log } from '../../kernel/log.ts'
import type { Consent } from './model.ts'

/** What ends consents that have had their time. */
export interface EndInBatchesOptions {
  /** Up to `limit` of those that are left, except these. */
  readonly findNext: (limit: number, excludedIds: readonly string[]) => Promise<readonly Consent[]>
  /** Ends one in a transaction of its own; false where somebody else did. */
  readonly end: (consent: Consent) => Promise<boolean>
  readonly log: Log
  /** Asked before each. */
  readonly shouldContinue?: (() => boolean) | undefined
}

/** Consents that are looked up at once. */
const BATCH_SIZE = 100

/**
 * Ends consents until none is left, each in a transaction of its own, and returns how many. One that cannot be ended is
 * logged and left for the next time; after 100 of them it ends, for then it is not they that are at fault.
 */
export async function endInBatches({
  findNext,
  end,
  log,
  shouldContinue = () => true,
}: EndInBatchesOptions): Promise<number> {
  const skippedIds: string[] = []
  let endedCount = 0
  while (skippedIds.length < BATCH_SIZE) {
    const batch = await findNext(BATCH_SIZE, skippedIds)
    if (batch.length === 0) break
    for (const consent of batch) {
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
