import { later, MINUTE_MS } from '../../kernel/clock.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { readSignIn } from './sign-in.ts'
import type { ConsentStore } from './store.ts'

/** The end of consents that have opened nothing yet. */
export type Rejection = ReturnType<typeof createRejection>

/** A sign-in can be finished for 15 minutes, and what it began is over when nobody can be in the middle of it. */
const ABANDONED_AFTER_MS = 30 * MINUTE_MS
const ABANDONED_BATCH = 100

/** Rejects consents that are PENDING, here and at the bank. */
export function createRejection(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  store: ConsentStore,
) {
  return { reject, rejectWithin, abandonVisit, endSignIn, rejectAbandoned }

  /** Rejects a consent in a transaction of its own; false where it is not PENDING. */
  function reject(consentId: string): Promise<boolean> {
    return database.transaction((tx) => rejectWithin(tx, consentId))
  }

  /** Rejects a consent and enqueues its end at the bank; false where it is not PENDING. */
  async function rejectWithin(tx: Transaction, consentId: string): Promise<boolean> {
    const now = world.clock.now()
    const pending = await store.pending(tx, consentId)
    if (!pending) return false
    const { clientId, bankId, connectionId } = pending
    // The bank may have ended earlier consents for this one: those that stand on the same accounts are checked.
    const rivals = connectionId === null ? [] : await store.rivalConnections(tx, consentId, connectionId)
    await store.reject(tx, pending, now)
    await ledger.record(tx, { kind: 'CONSENT_REJECTED', clientId, consentId })
    for (const rival of rivals) await outbox.promise(tx, 'connection.check', rival, bankId)
    const signIn = await store.closeSignIn(tx, consentId, now)
    if (connectionId !== null) await outbox.promise(tx, 'connection.end', connectionId, bankId)
    else if (signIn !== undefined) await outbox.promise(tx, 'sign-in.end', signIn, bankId)
    return true
  }

  /**
   * Rejects the consent that a visit has begun. False where it has come about: it is ACTIVE, or was, and rejecting it is too
   * late.
   */
  async function abandonVisit(interactionUid: string): Promise<boolean> {
    const signIn = await store.signInOfVisit(interactionUid)
    if (!signIn || (await reject(signIn.consentId))) return true
    return (await store.find(signIn.consentId))?.state === 'REJECTED'
  }

  /**
   * Ends the bank-side consent of a sign-in that ended before there were tokens. Throws where the bank cannot be reached, to be
   * tried again.
   */
  async function endSignIn(stateDigest: string): Promise<void> {
    const signIn = await store.signIn(stateDigest)
    if (!signIn || signIn.sealed === '') return
    const { resume } = await readSignIn(seal, signIn)
    if (resume.consentRef !== '') await (await banks.reachToEnd(signIn.connectorId)).revokeConsent(resume.consentRef)
    await store.forgetSignIn(stateDigest)
  }

  /** Rejects the consents whose visit was left without a word; returns how many there were. */
  async function rejectAbandoned(): Promise<number> {
    const abandoned = await store.abandoned(later(world.clock.now(), -ABANDONED_AFTER_MS), ABANDONED_BATCH)
    for (const { id } of abandoned) await reject(id)
    return abandoned.length
  }
}
