import type { PresentCustomer } from '../../connectors/index.ts'
import { addMs, MINUTE_MS, SECOND_MS } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { durationMs, type Consent } from './model.ts'
import type { Rejection } from './rejection.ts'
import { unsealSignIn, type SignInSecrets } from './sign-in.ts'
import type { SignInRow } from './sign-in-store.ts'
import type { Stores } from './stores.ts'

/** What the customer agreed to on the consent pages, before the bank was asked. */
export interface ConsentRequest {
  readonly clientId: string
  readonly bankId: string
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly days: number
  /** Whether the customer says that it was them who shared in this browser before. */
  readonly claimsSameCustomer: boolean
  /** The authorization server's id of this visit. */
  readonly interactionUid: string
  /** Where the customer's browser connects from: they are on our pages. */
  readonly customer: PresentCustomer
}

const SIGN_IN_LIFETIME_MS = 15 * MINUTE_MS
/** How long a repeated step waits for the first one, which waits for the bank. */
const REPEATED_STEP_TIMEOUT_MS = 15 * SECOND_MS

/** The way of a consent from the customer's request to the bank's sign-in page. */
export function createOptIn(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  { consents, signIns }: Stores,
  rejection: Rejection,
) {
  return { start }

  /**
   * Creates the consent as PENDING, asks the bank for its own, and returns where the customer signs in. A visit begins one
   * sign-in: the same choice again leads to the same address while that works, another choice replaces it while the customer
   * is not back.
   * Throws `INTERACTION_EXPIRED` once they are, and what the bank said where it refused.
   */
  async function start(request: ConsentRequest): Promise<{ url: string }> {
    const connector = await banks.requireConnectorForNewConsent(request.bankId)
    const { bankId, scopes, purposes, days, claimsSameCustomer, interactionUid } = request
    const choiceDigest = digest(JSON.stringify([bankId, scopes, purposes, days, claimsSameCustomer]))
    const state = world.randomness.bytes(32).toString('base64url')
    const consent = newConsent(request)
    const claim: SignInRow = {
      stateDigest: digest(state),
      consentId: consent.id,
      connectorId: connector.id,
      interactionUid,
      choiceDigest,
      sealedData: '',
      expiresAt: addMs(world.clock.now(), SIGN_IN_LIFETIME_MS),
      usedAt: null,
    }
    const earlier = await claimVisit(consent, claim)
    if (earlier) return { url: (await unsealSignIn(seal, earlier)).url }
    try {
      const bank = await banks.getActiveBank(connector.id)
      const { url, pending } = await bank.requestConsent({
        expiresAt: consent.expiresAt,
        state,
        customer: request.customer,
      })
      await storeSignIn(consent, claim, { url, resume: pending, claimsSameCustomer })
      return { url }
    } catch (error) {
      await rejection.reject(consent.id, toGatewayError(error))
      throw error
    }
  }

  /** Opens the visit's sign-in; a visit that has ended while the bank was asked is not led on, and the bank is told. */
  async function storeSignIn(
    { id, bankId }: Consent,
    { stateDigest }: SignInRow,
    signIn: SignInSecrets,
  ): Promise<void> {
    const sealedData = await seal.seal(`sign-in:${id}`, signIn)
    const isOpen = await database.transaction(async (tx) => {
      if (await signIns.open(tx, stateDigest, sealedData)) return true
      await outbox.enqueue(tx, 'sign-in.end', stateDigest, bankId)
      return false
    })
    if (!isOpen) throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'the visit has ended' })
  }

  function newConsent({ clientId, bankId, scopes, purposes, days }: ConsentRequest): Consent {
    const now = world.clock.now()
    return {
      id: newId('cons', world.randomness),
      clientId,
      customerId: null,
      bankId,
      status: 'PENDING',
      scopes,
      purposes,
      expiresAt: addMs(now, durationMs(days)),
      createdAt: now,
      activatedAt: null,
      endedAt: null,
      endedBy: null,
      connectionId: null,
      oauthGrantId: newId('grnt', world.randomness),
    }
  }

  /** Takes the visit's one sign-in for this consent, or returns the one that the same choice has begun. */
  async function claimVisit(consent: Consent, claim: SignInRow): Promise<SignInRow | undefined> {
    const deadlineMs = world.timers.monotonicMs() + REPEATED_STEP_TIMEOUT_MS
    for (;;) {
      const earlier = await signIns.findByVisit(claim.interactionUid)
      if (earlier?.usedAt)
        throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'the customer is back already' })
      const isOver = earlier !== null && earlier.expiresAt <= world.clock.now()
      const isOpen = earlier !== null && earlier.sealedData !== ''
      if (isOpen && !isOver && earlier.choiceDigest === claim.choiceDigest) return earlier
      if ((!earlier || isOpen || isOver) && (await tryClaimVisit(consent, claim))) return undefined
      if (world.timers.monotonicMs() > deadlineMs)
        throw new GatewayError('BANK_TIMEOUT', {
          internalMessage: 'the bank has not answered the first of these steps',
        })
      await world.timers.sleep(RETRIES.repeatedStep.delaysMs[0])
    }
  }

  /** One transaction, so that a consent exists for the one sign-in of the visit and for no other. */
  async function tryClaimVisit(consent: Consent, claim: SignInRow): Promise<boolean> {
    let replacedConsentId: string | undefined
    const isClaimed = await database
      .transaction(async (tx) => {
        await consents.add(tx, consent)
        if (!(await signIns.claimVisit(tx, claim))) {
          replacedConsentId = await signIns.replace(tx, claim, consent.createdAt)
          if (replacedConsentId === undefined) throw new VisitClaimedError()
          await rejection.rejectInTransaction(tx, replacedConsentId, 'CUSTOMER_AT_GATEWAY')
        }
        await ledger.record(tx, {
          action: 'CONSENT_REQUESTED',
          clientId: consent.clientId,
          consentId: consent.id,
          purposes: consent.purposes,
        })
        return true
      })
      .catch((error: unknown) => {
        if (error instanceof VisitClaimedError) return false
        throw error
      })
    if (isClaimed && replacedConsentId !== undefined) rejection.logRejected(replacedConsentId, { code: 'REPLACED' })
    return isClaimed
  }
}

/** The visit has a sign-in already; what this transaction added must not stay. */
class VisitClaimedError extends Error {}
