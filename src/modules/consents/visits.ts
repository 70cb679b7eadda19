import { GatewayError } from '../../kernel/errors.ts'
import { digest } from '../../kernel/ids.ts'
import type { VisitOutcome } from './model.ts'
import type { Rejection, RejectionReason } from './rejection.ts'
import type { Stores } from './stores.ts'

/**
 * Visits of the consent pages. A visit is one interaction of the authorization server, which its `uid` names; it has at most
 * one sign-in at a bank and one consent.
 */
export function createVisits({ consents, signIns }: Stores, rejection: Rejection) {
  return {
    /** The visit that started the sign-in with this `state`. Throws `INTERACTION_EXPIRED` if there is none. */
    async findInteraction(state: string): Promise<string> {
      const signIn = await signIns.find(digest(state))
      if (!signIn) throw new GatewayError('INTERACTION_EXPIRED')
      return signIn.interactionUid
    },

    /** The outcome of a visit so far. Undefined if the customer has chosen no bank. */
    async findVisitOutcome(interactionUid: string): Promise<VisitOutcome | undefined> {
      const signIn = await signIns.findByVisit(interactionUid)
      const found = signIn && (await consents.findWithRedemption(signIn.consentId))
      return found ? { ...found, hasReturned: signIn.usedAt !== null } : undefined
    },

    /** Whether the consent can still become ACTIVE. */
    isPending: async (consentId: string): Promise<boolean> => (await consents.find(consentId))?.status === 'PENDING',

    /** Rejects the consent of a visit. False if it is too late, because the consent is or was ACTIVE. */
    async cancelVisit(interactionUid: string, reason: RejectionReason = { code: 'VISIT_ENDED' }): Promise<boolean> {
      const signIn = await signIns.findByVisit(interactionUid)
      if (!signIn) rejection.logRejected(undefined, reason)
      if (!signIn || (await rejection.reject(signIn.consentId, reason))) return true
      return (await consents.find(signIn.consentId))?.status === 'REJECTED'
    },

    /** Rejects the consent that a visit started, if there is one and it is PENDING. */
    async rejectStarted(interactionUid: string): Promise<void> {
      const signIn = await signIns.findByVisit(interactionUid)
      if (signIn) await rejection.reject(signIn.consentId)
    },

    /** Rejects the consent of a grant for which no authorization code was issued. False if it was not PENDING. */
    async rejectUnfinished(oauthGrantId: string): Promise<boolean> {
      const consent = await consents.findByOauthGrant(oauthGrantId)
      return consent?.status === 'PENDING' && rejection.reject(consent.id, { code: 'CODE_NOT_ISSUED' })
    },
  }
}
