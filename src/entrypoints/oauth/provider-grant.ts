import type { Provider } from 'oidc-provider'
import { isCustomerScope } from '../../kernel/scopes.ts'
import type { CompletedSignIn } from '../../modules/consents/index.ts'
import { ACCOUNT_INFORMATION } from './authorization-details.ts'
import type { PendingInteraction } from './interaction-flow.ts'

/** Creates the provider's grant for a consent and returns its ID. Requested scopes that the customer did not agree to are rejected in it. */
export function createProviderGrant(
  provider: Provider,
  issuer: string,
  consent: CompletedSignIn['consent'],
  interaction: PendingInteraction,
): Promise<string> {
  const grant = new provider.Grant({
    jti: consent.oauthGrantId,
    accountId: consent.customerId,
    clientId: interaction.clientId,
  } as object)
  const requested = String(interaction.parameters['scope']).split(' ')
  grant.addOIDCScope(['openid', 'offline_access'].filter((scope) => requested.includes(scope)).join(' '))
  const resource = `${issuer}/graphql`
  grant.addResourceScope(resource, consent.scopes.join(' '))
  // Each requested scope must be granted or rejected, or the provider would prompt again.
  const rejectedScopes = requested.filter(isCustomerScope).filter((scope) => !consent.scopes.includes(scope))
  if (rejectedScopes.length > 0) grant.rejectResourceScope(resource, rejectedScopes.join(' '))
  ;(grant as unknown as { addRar(detail: unknown): void }).addRar({
    type: ACCOUNT_INFORMATION,
    actions: consent.scopes,
    purposes: consent.purposes,
    bank: consent.bankId,
  })
  return grant.save()
}
