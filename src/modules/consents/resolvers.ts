import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { mendable } from '../../kernel/mutation.ts'
import type { Caller } from '../../kernel/request.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from './service.ts'

/** Consent, and its end by the customer's word in the chat. */
export function consentsResolvers({ consents, banks }: { consents: Consents; banks: Banks }) {
  async function withdraw(caller: Caller, id: string | null | undefined) {
    if (caller.kind !== 'CUSTOMER') throw new GatewayError('FORBIDDEN')
    const consentId = id ?? caller.consentId
    const consent = (await consents.ofCustomer(caller.customerId, caller.clientId)).find((one) => one.id === consentId)
    // Somebody else's consent answers exactly as one that does not exist.
    if (!consent) throw new GatewayError('NOT_FOUND', { path: ['consentId'] })
    await consents.revoke(consentId, 'CUSTOMER_AT_GATEWAY')
    return { consent: await consents.find(consentId) }
  }

  return {
    Consent: {
      bank: async ({ bankId }) => (await banks.bank(bankId))!,
      status: ({ state }) => state,
      expiresAt: ({ expiresAt }) => expiresAt.toISOString(),
      endedAt: ({ endedAt }) => endedAt?.toISOString() ?? null,
    },
    Mutation: {
      withdrawConsent: (_parent, { input }, { caller }) =>
        mendable(() => withdraw(caller, input.consentId), { consent: null }),
    },
  } satisfies Resolvers
}
