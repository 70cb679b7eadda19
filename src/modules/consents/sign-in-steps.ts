import {
  canPollAgain,
  isStepClaimable,
  storedStep,
  toSignInInput,
  viewOfStep,
  type PresentCustomer,
  type SignInInput,
  type SignInView,
  type StepInput,
} from '../../connectors/index.ts'
import { GatewayError, toGatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import type { ConsentsDependencies } from './dependencies.ts'
import type { Consent } from './model.ts'
import { assertServed } from './opt-in.ts'
import type { Rejection } from './rejection.ts'
import { unsealSignIn, type SignInSecrets } from './sign-in.ts'
import type { CompletedSignIn, CustomerClaims, SignInCompletion } from './sign-in-completion.ts'
import type { SignInRow } from './sign-in-store.ts'
import type { Stores } from './stores.ts'

/** What continues a sign-in: the bank's callback, the form of one step, or a request for the present step. */
export type Continuation = Omit<CustomerClaims, 'claimsSameCustomer'> & {
  readonly interactionUid: string
  readonly customer: PresentCustomer
} & (Exclude<StepInput, { kind: 'CALLBACK' }> | (Extract<StepInput, { kind: 'CALLBACK' }> & { readonly state: string }))

/** Why a continuation did not continue a sign-in. */
export type SignInFailure =
  /** Another person signed in than the platform expects. */
  | 'UNEXPECTED_CUSTOMER'
  /** The customer continued after the sign-in had expired. */
  | 'SIGN_IN_EXPIRED'
  /** Another request of the interaction handled this return, or ended the interaction meanwhile. */
  | 'ALREADY_HANDLED'

/** Steps of a sign-in that was found for a continuation. */
interface FoundSignIn {
  readonly signIn: SignInRow
  readonly consent: Consent
  readonly secrets: SignInSecrets
  readonly claimedAt: Date
}

/** The opt-in from the first step of the sign-in at the bank to a PENDING consent with accounts and a customer. */
export function createSignInSteps(
  { database, world, seal, banks, outbox }: ConsentsDependencies,
  { consents, signIns }: Stores,
  { rejection, completion }: { readonly rejection: Rejection; readonly completion: SignInCompletion },
) {
  return { continueSignIn }

  /**
   * Continues a sign-in by one step, once: each step is claimed, so that a repeated or concurrent request changes nothing and gets
   * the present step. Returns the next step, or the completed sign-in, whose consent stays PENDING. Throws `INTERACTION_EXPIRED` for
   * a sign-in of another interaction, and `PLATFORM_NOT_ALLOWED` if the bank no longer serves the client: then the bank is not even
   * called. After any other error, the consent is REJECTED, at the bank too, and the error is thrown.
   */
  async function continueSignIn(continuation: Continuation): Promise<CompletedSignIn | SignInView | SignInFailure> {
    const { interactionUid } = continuation
    const signIn = await (continuation.kind === 'CALLBACK'
      ? signIns.find(digest(continuation.state))
      : signIns.findByInteraction(interactionUid))
    if (signIn?.interactionUid !== interactionUid) throw new GatewayError('INTERACTION_EXPIRED')
    const consent = await consents.find(signIn.consentId)
    const now = world.clock.now()
    if (!signIn.usedAt && signIn.expiresAt <= now) return 'SIGN_IN_EXPIRED'
    if (consent?.status !== 'PENDING' || signIn.sealedData === '') return 'ALREADY_HANDLED'
    const secrets = await unsealSignIn(seal, signIn)
    if (!isStepClaimable(signIn.usedAt, secrets, now))
      return continuation.kind === 'POLL' && secrets.step.kind === 'WAIT' ? viewOfStep(secrets) : 'ALREADY_HANDLED'
    const input = toSignInInput(continuation, continuation.customer, secrets, now)
    if (input === undefined) return viewOfStep(secrets)
    if (!(await signIns.use(signIn, now))) return continuation.kind === 'POLL' ? viewOfStep(secrets) : 'ALREADY_HANDLED'
    return continueClaimed({ signIn, consent, secrets, claimedAt: now }, input, continuation)
  }

  async function continueClaimed(
    { signIn, consent, secrets, claimedAt }: FoundSignIn,
    input: SignInInput,
    { sessionCustomerId, expectedCustomerId, customer }: Continuation,
  ): Promise<CompletedSignIn | SignInView | SignInFailure> {
    try {
      await assertServed(banks, consent)
      const bank = await banks.getActiveBank(signIn.connectorId)
      const step = await bank.continueSignIn(input, secrets.step.pending).catch((error: unknown) => {
        if (canPollAgain(secrets, toGatewayError(error), world.clock.now())) return secrets.step
        throw error
      })
      // After the lease of a poll, another request can have continued: then nothing of this one counts.
      if (!(await signIns.isClaimedAt(signIn.stateDigest, claimedAt))) return 'ALREADY_HANDLED'
      if (step.kind !== 'COMPLETE') {
        const { claimsSameCustomer, number } = secrets
        const next = { ...storedStep(step, number, world.clock.now()), claimsSameCustomer }
        await advance(consent, signIn, next)
        return viewOfStep(next)
      }
      const { claimsSameCustomer } = secrets
      const claims = { sessionCustomerId, expectedCustomerId, claimsSameCustomer }
      const result = await completion.complete({ consent, signIn, bank, access: step.access }, claims, customer)
      if (result === 'UNEXPECTED_CUSTOMER') await rejection.reject(consent.id, { code: result })
      return result
    } catch (error) {
      if (!(await signIns.isClaimedAt(signIn.stateDigest, claimedAt))) return 'ALREADY_HANDLED'
      const reason = toGatewayError(error)
      // A bank does not say whether the customer or the bank itself refused. Nearly always it is the customer.
      await rejection.reject(consent.id, reason, reason.code === 'BANK_REFUSED' ? 'CUSTOMER_AT_BANK' : undefined)
      if (reason.code === 'INTERACTION_EXPIRED') return 'ALREADY_HANDLED'
      throw error
    }
  }

  /**
   * Stores the next step, which can then be claimed. If the consent was rejected meanwhile, enqueues the end of what this step began
   * at the bank, and throws `INTERACTION_EXPIRED`.
   */
  async function advance({ id, bankId }: Consent, { stateDigest }: SignInRow, next: SignInSecrets): Promise<void> {
    const sealedData = await seal.seal(`sign-in:${id}`, next)
    const isPending = await database.transaction(async (tx) => {
      // Locks the consent first, as a rejection does, to prevent deadlocks.
      const isStillPending = (await consents.lockPending(tx, id)) !== undefined
      await signIns.advance(tx, stateDigest, sealedData, isStillPending)
      if (!isStillPending) await outbox.enqueue(tx, 'sign-in.end', stateDigest, bankId)
      return isStillPending
    })
    if (!isPending)
      throw new GatewayError('INTERACTION_EXPIRED', { internalMessage: 'rejected while the bank answered' })
  }
}
