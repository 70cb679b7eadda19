import { traceOf, type Log } from '../../kernel/log.ts'
import type { Consent } from './model.ts'

/** What ends consents that have had their time. */
export interface Batches {
  /** Up to `limit` of those that are left, except these. */
  readonly next: (limit: number, except: readonly string[]) => Promise<readonly Consent[]>
  /** Ends one in a transaction of its own; false where somebody else did. */
  readonly end: (consent: Consent) => Promise<boolean>
  readonly log: Log
  /** Asked before each. */
  readonly mayGoOn?: (() => boolean) | undefined
}

/** Consents that are looked up at once. */
const BATCH = 100

/**
 * Ends consents until none is left, each in a transaction of its own, and returns how many. One that cannot be ended is
 * logged and left for the next time; after 100 of them it ends, for then it is not they that are at fault.
 */
export async function endInBatches({ next, end, log, mayGoOn = () => true }: Batches): Promise<number> {
  const left: string[] = []
  let count = 0
  while (left.length < BATCH) {
    const batch = await next(BATCH, left)
    if (batch.length === 0) break
    for (const consent of batch) {
      if (!mayGoOn()) return count
      try {
        if (await end(consent)) count++
        else left.push(consent.id)
      } catch (error) {
        left.push(consent.id)
        log.error('consent.not_ended', { consentId: consent.id, trace: traceOf(error) })
      }
    }
  }
  return count
}
