import { errors } from 'oidc-provider'
import { toGatewayError } from '../../kernel/errors.ts'
import type { Transaction } from '../../kernel/transaction.ts'
import type { Consents } from '../../modules/consents/index.ts'

/** Updates the consent when a code or a token is issued and when a grant ends. */
export type ConsentsOfGrants = Pick<Consents, 'optIn' | 'revokeByOauthGrant'>

/** A code or a token of a customer's grant that is about to be stored. */
interface IssuedArtifact {
  readonly oauthGrantId: string
  readonly expiresAt: Date
  /** Stores it, in the transaction that changes the consent. */
  readonly store: (tx: Transaction) => Promise<void>
}

/** What issuing an artifact does to the consent of its grant, by kind. A kind that is missing changes no consent. */
const ON_ISSUE: Readonly<Record<string, (consents: ConsentsOfGrants, issued: IssuedArtifact) => Promise<void>>> = {
  /** The opt-in is complete: the consent becomes ACTIVE. */
  AuthorizationCode: ({ optIn }, { oauthGrantId, expiresAt, store }) => optIn.activate(oauthGrantId, expiresAt, store),
  AccessToken: ({ optIn }, { oauthGrantId, store }) => optIn.redeem(oauthGrantId, false, store),
  /** The last token of a code: the code counts as redeemed. */
  RefreshToken: ({ optIn }, { oauthGrantId, store }) => optIn.redeem(oauthGrantId, true, store),
}

/** Whether issuing artifacts of this kind changes the consent of their grant. */
export const changesConsent = (kind: string): boolean => Object.hasOwn(ON_ISSUE, kind)

/**
 * Stores an artifact and changes its consent in one transaction. Throws an OAuth error if the consent is no longer ACTIVE or can
 * no longer become so; then nothing is stored.
 */
export async function issueUnderConsent(
  consents: ConsentsOfGrants,
  kind: string,
  issued: IssuedArtifact,
): Promise<void> {
  try {
    await ON_ISSUE[kind]!(consents, issued)
  } catch (thrown) {
    const { code } = toGatewayError(thrown)
    if (code === 'NOT_CONSENTED') throw new errors.InvalidGrant('the consent has ended')
    if (code === 'PLATFORM_NOT_ALLOWED') throw new errors.AccessDenied('the bank does not serve this platform')
    if (code === 'INTERACTION_EXPIRED') throw new errors.AccessDenied('the consent can no longer be given')
    throw thrown
  }
}

/**
 * Ends the consent of a grant that the provider ends: when its refresh token is revoked (RFC 7009, 2.1), or when a code or a
 * token is used twice (RFC 6749, 4.1.2).
 */
export async function endConsentOfGrant(consents: ConsentsOfGrants, oauthGrantId: string): Promise<void> {
  await consents.revokeByOauthGrant(oauthGrantId, 'SYSTEM')
}
