import { GatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import type { InteractionOutcome } from './model.ts'
import type { Rejection, RejectionReason } from './rejection.ts'
import type { Stores } from './stores.ts'

/**
 * What an interaction of the authorization server (one run through the consent pages, named by its `uid`) has led to. It has at
 * most one sign-in at a bank and one consent.
 */
export function createInteractions({ consents, signIns }: Stores, rejection: Rejection) {
  return {
    /** The interaction that started the sign-in with this `state`. Throws `INTERACTION_EXPIRED` if there is none. */
    async findInteraction(state: string): Promise<string> {
      const signIn = await signIns.find(digest(state))
      if (!signIn) throw new GatewayError('INTERACTION_EXPIRED')
      return signIn.interactionUid
    },

    /** The outcome of an interaction so far. Undefined if the customer has chosen no bank. */
    async findOutcome(interactionUid: string): Promise<InteractionOutcome | undefined> {
      const signIn = await signIns.findByInteraction(interactionUid)
      const found = signIn && (await consents.findWithRedemption(signIn.consentId))
      return found ? { ...found, isSignInClosed: signIn.usedAt !== null } : undefined
    },

    /** Whether the consent can still become ACTIVE. */
    isPending: async (consentId: string): Promise<boolean> => (await consents.find(consentId))?.status === 'PENDING',

    /** Rejects the consent of an interaction. False if it is too late, because the consent is or was ACTIVE. */
    async cancel(interactionUid: string, reason: RejectionReason = { code: 'INTERACTION_ENDED' }): Promise<boolean> {
      const signIn = await signIns.findByInteraction(interactionUid)
      if (!signIn) rejection.logRejected(undefined, reason)
      if (!signIn || (await rejection.reject(signIn.consentId, reason))) return true
      return (await consents.find(signIn.consentId))?.status === 'REJECTED'
    },

    /** Rejects the consent that an interaction started, if there is one and it is PENDING. */
    async rejectStarted(interactionUid: string): Promise<void> {
      const signIn = await signIns.findByInteraction(interactionUid)
      if (signIn) await rejection.reject(signIn.consentId)
    },

    /** Rejects the consent of a grant for which no authorization code was issued. False if it was not PENDING. */
    async rejectUnfinished(oauthGrantId: string): Promise<boolean> {
      const consent = await consents.findByOauthGrant(oauthGrantId)
      return consent?.status === 'PENDING' && rejection.reject(consent.id, { code: 'CODE_NOT_ISSUED' })
    },
  }
}
