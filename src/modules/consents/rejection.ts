import { GatewayError } from '../../kernel/errors.ts'
import { errorTrace } from '../../kernel/log.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { unsealSignIn } from './sign-in.ts'
import type { ConsentActor } from './model.ts'
import type { Stores } from './stores.ts'

/** Ends consents that never became ACTIVE. */
export type Rejection = ReturnType<typeof createRejection>

/**
 * Why an opt-in ended without an ACTIVE consent: an error; another person signed in than was expected; the customer chose
 * another bank, ended the interaction, took too long or did not return; no authorization code was issued; or the bank ended its
 * consent.
 */
export type RejectionReason =
  | GatewayError
  | {
      readonly code:
        | 'UNEXPECTED_CUSTOMER'
        | 'REPLACED'
        | 'INTERACTION_ENDED'
        | 'SIGN_IN_EXPIRED'
        | 'ABANDONED'
        | 'CODE_NOT_ISSUED'
        | 'REVOKED_AT_BANK'
    }

/** Rejects PENDING consents, and ends them at the bank. */
export function createRejection(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  { consents, connections, signIns, customers, accounts }: Stores,
) {
  return {
    reject,
    rejectInTransaction,
    logRejected,
    endSignIn,
  }

  /** Rejects a consent in a transaction of its own, and logs why. False if it is not PENDING. */
  async function reject(
    consentId: string,
    reason: RejectionReason = { code: 'INTERACTION_ENDED' },
    by = actorOf(reason),
  ): Promise<boolean> {
    const isRejected = await database.transaction((tx) => rejectInTransaction(tx, consentId, by))
    if (isRejected) logRejected(consentId, reason)
    return isRejected
  }

  /** Logs that an opt-in ended without an ACTIVE consent: at level `error` if the gateway caused it. */
  function logRejected(consentId: string | undefined, reason: RejectionReason): void {
    const isInternal = reason instanceof GatewayError && reason.definition.category === 'INTERNAL'
    const fields = { ...(consentId !== undefined && { consentId }), code: reason.code }
    if (isInternal) world.log.error('consent.rejected', { ...fields, trace: errorTrace(reason) })
    else world.log.info('consent.rejected', fields)
  }

  /** Rejects a consent and enqueues its end at the bank. False if it is not PENDING. Call `logRejected` after the commit. */
  async function rejectInTransaction(
    tx: Transaction,
    consentId: string,
    by: ConsentActor,
    now = world.clock.now(),
  ): Promise<boolean> {
    const pending = await consents.lockPending(tx, consentId)
    if (!pending) return false
    const { clientId, bankId, customerId, connectionId } = pending
    // The bank may have ended earlier consents for the same accounts when it created this one.
    const overlappingConnectionIds =
      connectionId === null ? [] : await connections.findOverlapping(tx, consentId, connectionId)
    await consents.reject(tx, consentId, now, by)
    // The customer agreed to nothing, so what is known of them only from this interaction is deleted.
    await accounts.unshare(tx, consentId)
    if (connectionId !== null) await connections.clearCustomerDigest(tx, connectionId)
    if (customerId !== null) await customers.deleteUnusedSubject(tx, clientId, customerId)
    await ledger.record(tx, { action: 'CONSENT_REJECTED', clientId, consentId })
    for (const overlappingConnectionId of overlappingConnectionIds)
      await outbox.enqueue(tx, 'connection.check', overlappingConnectionId, bankId)
    const signIn = await signIns.close(tx, consentId, now)
    if (connectionId !== null) await outbox.enqueue(tx, 'connection.end', connectionId, bankId)
    else if (signIn !== undefined) await outbox.enqueue(tx, 'sign-in.end', signIn, bankId)
    return true
  }

  /**
   * The handler of `sign-in.end`: ends the bank-side consent of a sign-in that ended without tokens. Throws the bank's error.
   */
  async function endSignIn(stateDigest: string): Promise<void> {
    const signIn = await signIns.find(stateDigest)
    if (!signIn || signIn.sealedData === '') return
    const { consentRef, access } = (await unsealSignIn(seal, signIn)).step.pending
    if (consentRef !== '')
      await (await banks.getBankInAnyState(signIn.connectorId)).revokeConsent({ ...access, consentRef })
    await signIns.clear(stateDigest)
  }
}

const ACTORS: Readonly<Partial<Record<RejectionReason['code'], ConsentActor>>> = {
  REPLACED: 'CUSTOMER_AT_GATEWAY',
  INTERACTION_ENDED: 'CUSTOMER_AT_GATEWAY',
  REVOKED_AT_BANK: 'CUSTOMER_AT_BANK',
  PLATFORM_NOT_ALLOWED: 'BANK',
}

/** Who ended an opt-in that ended for this reason. */
const actorOf = (reason: RejectionReason): ConsentActor =>
  ACTORS[reason.code] ?? (reason instanceof GatewayError && reason.definition.category === 'BANK' ? 'BANK' : 'SYSTEM')
