import { storedStep, viewOfStep, type PresentCustomer, type SignInView } from '../../connectors/index.ts'
import { addMs, MINUTE_MS } from '../../kernel/clock.ts'
import { toGatewayError, GatewayError } from '../../kernel/errors.ts'
import { digest, newId } from '../../kernel/ids.ts'
import type { CustomerScope, Purpose } from '../../kernel/scopes.ts'
import { RETRIES } from '../../kernel/retry.ts'
import type { Banks } from '../banks/index.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import { durationMs, type Consent } from './model.ts'
import type { Rejection } from './rejection.ts'
import { unsealSignIn, type SignInSecrets } from './sign-in.ts'
import type { SignInRow } from './sign-in-store.ts'
import type { Stores } from './stores.ts'

/** What the customer agreed to on the consent pages. */
export interface OptInRequest {
  readonly clientId: string
  readonly bankId: string
  readonly scopes: readonly CustomerScope[]
  readonly purposes: readonly Purpose[]
  readonly days: number
  /** Whether the customer says that they shared in this browser before. */
  readonly claimsSameCustomer: boolean
  /** The `uid` of the authorization server's interaction. */
  readonly interactionUid: string
  /** From where the customer's browser connects. */
  readonly customer: PresentCustomer
}

const SIGN_IN_LIFETIME_MS = 15 * MINUTE_MS

/** The opt-in from the customer's request to the first step of the sign-in at the bank. */
export function createOptIn(
  { database, world, seal, banks, ledger, outbox }: ConsentsDependencies,
  { consents, signIns }: Stores,
  rejection: Rejection,
) {
  return { start }

  /**
   * Creates a PENDING consent, begins the sign-in at the bank, and returns its first step. An interaction has one sign-in: the same
   * choice again returns the present step until it expires, and another choice replaces the sign-in.
   * Throws `INTERACTION_EXPIRED` if the customer has returned from the bank, `PLATFORM_NOT_ALLOWED` if the bank does not serve
   * the client, and the bank's error if it refuses.
   */
  async function start(request: OptInRequest): Promise<SignInView> {
    await assertServed(banks, request)
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
    const earlier = await claimInteraction(consent, claim)
    if (earlier) return viewOfStep(await unsealSignIn(seal, earlier))
    try {
      const bank = await banks.getActiveBank(connector.id)
      const step = await bank.requestConsent({
        expiresAt: consent.expiresAt,
        state,
        customer: request.customer,
      })
      const secrets = { ...storedStep(step, 0, world.clock.now()), claimsSameCustomer }
      await storeSignIn(consent, claim, secrets)
      // The bank can have changed its mind while it answered.
      await assertServed(banks, request)
      return viewOfStep(secrets)
    } catch (error) {
      await rejection.reject(consent.id, toGatewayError(error))
      throw error
    }
  }

  /**
   * Stores the first step of a sign-in. If the interaction has ended meanwhile, enqueues the end of the bank-side consent and throws
   * `INTERACTION_EXPIRED`.
   */
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
    if (!isOpen) throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'the interaction has ended' })
  }

  function newConsent({ clientId, bankId, scopes, purposes, days }: OptInRequest): Consent {
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
      suspendedAt: null,
      resumedAt: null,
      connectionId: null,
      oauthGrantId: newId('grnt', world.randomness),
    }
  }

  /** Claims the interaction's one sign-in for this consent. Returns the earlier sign-in if that is for the same choice. */
  async function claimInteraction(consent: Consent, claim: SignInRow): Promise<SignInRow | undefined> {
    const deadlineMs = world.timers.monotonicMs() + RETRIES.repeatedBankChoice.timeoutMs
    for (;;) {
      const earlier = await signIns.findByInteraction(claim.interactionUid)
      if (earlier?.usedAt)
        throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'the customer has returned from the bank' })
      const isOver = earlier !== null && earlier.expiresAt <= world.clock.now()
      const isOpen = earlier !== null && earlier.sealedData !== ''
      if (isOpen && !isOver && earlier.choiceDigest === claim.choiceDigest) return earlier
      if ((!earlier || isOpen || isOver) && (await tryClaimInteraction(consent, claim))) return undefined
      if (world.timers.monotonicMs() > deadlineMs)
        throw new GatewayError('BANK_TIMEOUT', {
          internalMessage: 'the first of the repeated requests still waits for the bank',
        })
      await world.timers.sleep(RETRIES.repeatedBankChoice.delaysMs[0])
    }
  }

  /** Adds the consent and claims the sign-in in one transaction, so that no consent is without a sign-in. */
  async function tryClaimInteraction(consent: Consent, claim: SignInRow): Promise<boolean> {
    let replacedConsentId: string | undefined
    const isClaimed = await database
      .transaction(async (tx) => {
        await banks.requireServed(tx, consent)
        await consents.add(tx, consent)
        if (!(await signIns.claimInteraction(tx, claim))) {
          replacedConsentId = await signIns.replace(tx, claim, consent.createdAt)
          if (replacedConsentId === undefined) throw new InteractionClaimedError()
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
        if (error instanceof InteractionClaimedError) return false
        throw error
      })
    if (isClaimed && replacedConsentId !== undefined) rejection.logRejected(replacedConsentId, { code: 'REPLACED' })
    return isClaimed
  }
}

/** Throws `PLATFORM_NOT_ALLOWED` unless the bank serves the client's organization. */
export async function assertServed(
  banks: Pick<Banks, 'servesClient'>,
  { bankId, clientId }: Pick<Consent, 'bankId' | 'clientId'>,
): Promise<void> {
  if (!(await banks.servesClient(bankId, clientId))) throw new GatewayError('PLATFORM_NOT_ALLOWED')
}

/** The interaction has a sign-in that cannot be replaced. Rolls the transaction back. */
class InteractionClaimedError extends Error {}
