import { newId } from '../../kernel/ids.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { asOf, type Consent, type ConsentActor, type Receipt } from './model.ts'
import type { Stores } from './stores.ts'
import type { Tokens } from './tokens.ts'

/** Ends ACTIVE consents, with all that follows from it. */
export type Ending = ReturnType<typeof createEnding>

/** How a consent ends. */
export interface ConsentEnd {
  readonly status: 'REVOKED' | 'EXPIRED'
  readonly endedBy: ConsentActor
  readonly endedAt: Date
  /** Ends the consent only if its authorization code should have been redeemed before `endedAt` and was not. */
  readonly onlyIfUnredeemed?: boolean
}

/** What other modules do after a consent has ended. Each can be called again for the same consent. */
export interface ConsentEndEffects {
  /** Drops the webhook deliveries that are still queued for the consent. */
  dropDeliveries(consentId: string): Promise<unknown>
  /** Deletes the authorization server's grant and its tokens. */
  deleteTokens(oauthGrantId: string): Promise<void>
  /** Ends all browser sessions of the customer. */
  endSessions(customerId: string): Promise<void>
}

/**
 * All that the end of an ACTIVE consent causes, in this order:
 *
 * 1. `endInTransaction`: in one transaction, the consent authorizes nothing any more, its receipts and its ledger entry are
 *    written, and its stored balances are deleted. At the commit, caches are invalidated and open subscriptions end.
 * 2. `afterChange`: soon after the commit, queued deliveries are dropped and the tokens and sessions end.
 * 3. `endConnection`: soon after the commit, the bank-side consent is revoked and the bank tokens are deleted.
 *
 * What remains: the consent's row, its receipts and the ledger, as evidence; the accounts and alerts, which no client can read
 * without another consent; and the disclosures of the accounts, so that a new consent does not reset their limit.
 *
 * Steps 2 and 3 come from the outbox, which repeats each until it succeeds. `revocation.ts` and `expiry.ts` decide when a
 * consent ends; `rejection.ts` ends consents that never became ACTIVE.
 */
export function createEnding(
  { database, world, banks, ledger, outbox, signals, handlers }: ConsentsDependencies,
  { consents, connections, receipts }: Stores,
  tokens: Tokens,
) {
  return { end, endInTransaction, afterChange, hasStoppedSharing, endConnection }

  /** Ends a consent in a transaction of its own. False if it was not ACTIVE. */
  function end(consent: Consent, how: Omit<ConsentEnd, 'endedAt'>): Promise<boolean> {
    const endedAt = world.clock.now()
    return database.transaction((tx) => endInTransaction(tx, consent, { ...how, endedAt }))
  }

  /** Step 1. From the commit of `tx` on, the consent authorizes nothing. False if it was not ACTIVE. */
  async function endInTransaction(tx: Transaction, consent: Consent, how: ConsentEnd): Promise<boolean> {
    const { id, clientId, customerId, connectionId, bankId } = consent
    const { status, endedBy, endedAt, onlyIfUnredeemed } = how
    const unredeemedAt = onlyIfUnredeemed ? endedAt : undefined
    // Reads authorize themselves by this status.
    if (!(await consents.transition(tx, id, 'ACTIVE', status, { endedBy, endedAt }, unredeemedAt))) return false
    // The bank-side consent stays if another consent depends on it.
    const isShared = connectionId !== null && (await consents.sharesConnection(tx, connectionId, id, endedAt))
    const bankResult = connectionId === null ? 'DONE' : isShared ? 'NOT_NEEDED' : 'PENDING'
    await receipts.add(tx, id, buildReceipts(bankResult), endedAt)
    await ledger.record(tx, {
      action: status === 'EXPIRED' ? 'CONSENT_EXPIRED' : 'CONSENT_REVOKED',
      clientId,
      ...(customerId && { customerId }),
      consentId: id,
      detail: endedBy,
    })
    // Accounts delete the balances that are stored for this consent alone.
    await handlers.onConsentEnded(tx, id, endedAt)
    // Leads to step 2.
    await outbox.enqueue(tx, 'consent.changed', id)
    // Leads to step 3.
    if (connectionId !== null && !isShared) await outbox.enqueue(tx, 'connection.end', connectionId, bankId)
    // Every process forgets what it has cached of the consent, and ends the subscriptions under it.
    await signals.publish(tx, { kind: 'CONSENT', id, customerId })
    return true
  }

  function buildReceipts(bankResult: Receipt['result']): (Receipt & { id: string })[] {
    return (['CUSTOMER', 'CLIENT', 'BANK'] as const).map((party) => ({
      id: newId('rcpt', world.randomness),
      kind: 'REVOKED',
      party,
      result: party === 'BANK' ? bankResult : 'DONE',
    }))
  }

  /**
   * Step 2, the handler of `consent.changed`. A consent that became ACTIVE is announced by the same message; then only the
   * signal is published again.
   */
  async function afterChange(consentId: string, effects: ConsentEndEffects): Promise<void> {
    const consent = await consents.find(consentId)
    // For processes that missed the signal of the commit.
    await signals.publishNow({ kind: 'CONSENT', id: consentId, customerId: consent?.customerId ?? null })
    if (consent?.status === 'ACTIVE') return
    await effects.dropDeliveries(consentId)
    if (!consent) return
    await effects.deleteTokens(consent.oauthGrantId)
    const { customerId } = consent
    if (customerId !== null && (await hasStoppedSharing(customerId))) await effects.endSessions(customerId)
  }

  /** Whether the customer shares nothing any more, and ended the last consent themselves. */
  async function hasStoppedSharing(customerId: string): Promise<boolean> {
    const now = world.clock.now()
    // A PENDING consent shares nothing yet.
    const started = (await consents.findByCustomer(customerId))
      .filter(({ status }) => status !== 'PENDING')
      .map((consent) => asOf(consent, now))
    if (started.some(({ endedAt }) => endedAt === null)) return false
    const [last] = started.sort((one, other) => other.endedAt!.getTime() - one.endedAt!.getTime())
    return last?.endedBy === 'CUSTOMER_AT_GATEWAY' || last?.endedBy === 'CUSTOMER_AT_BANK'
  }

  /**
   * Step 3, the handler of `connection.end`: revokes the bank-side consent, deletes its tokens, and completes the bank's
   * receipts. Throws the bank's error.
   */
  async function endConnection(connectionId: string): Promise<void> {
    const connection = await tokens.findConnection(connectionId)
    if (!connection?.sealedAccess) return
    const { access } = await tokens.read(connectionId)
    const bank = await banks.getBankInAnyState(connection.connectorId)
    await bank.revokeConsent(access)
    const now = world.clock.now()
    await connections.end(connectionId, now)
    tokens.forget(connectionId)
    const ended = await consents.findByConnection(connectionId)
    await receipts.completeOfBank(
      ended.map(({ id }) => id),
      now,
    )
  }
}
