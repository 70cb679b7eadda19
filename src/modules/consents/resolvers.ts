import type { Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { mendable } from '../../kernel/mutation.ts'
import { clientIdOf, type Caller } from '../../kernel/request.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from './service.ts'

/** Consent, its list for the client, and its end by the customer's word in the chat or by the client's wish. */
export function consentsResolvers({ consents, banks }: { consents: Consents; banks: Banks }) {
  async function end(caller: Caller, id: string, path: string, by: 'CUSTOMER_AT_GATEWAY' | 'CLIENT') {
    const consent = await consents.ofCaller(caller, id)
    if (!consent) throw new GatewayError('NOT_FOUND', { path: [path] })
    await consents.revoke(id, by)
    return { consent: await consents.find(id) }
  }

  return {
    Consent: {
      bank: async ({ bankId }) => (await banks.bank(bankId))!,
      customerId: ({ clientId, customerId }) => customerId && consents.subjectOf(clientId, customerId),
      status: ({ state }) => state,
      grantedAt: ({ activatedAt }) => activatedAt?.toISOString() ?? null,
      expiresAt: ({ expiresAt }) => expiresAt.toISOString(),
      endedAt: ({ endedAt }) => endedAt?.toISOString() ?? null,
    },
    Viewer: {
      consent: ({ consentId }) => consents.find(consentId),
      consents: (caller) => consents.ofCustomer(caller.customerId, caller.clientId),
    },
    ThisClient: {
      consents: ({ clientId }, { filter, ...page }) =>
        consents.ofClient(
          clientId,
          {
            states: filter?.statuses,
            bankIds: filter?.bankIds,
            ...(filter?.expiringBefore && { expiringBefore: new Date(filter.expiringBefore) }),
          },
          page,
        ),
    },
    Mutation: {
      withdrawConsent: (_parent, { input }, { caller }) =>
        mendable(
          () => {
            if (caller.kind !== 'CUSTOMER') throw new GatewayError('FORBIDDEN')
            return end(caller, input.consentId ?? caller.consentId, 'consentId', 'CUSTOMER_AT_GATEWAY')
          },
          { consent: null },
        ),
      terminateConsent: (_parent, { input }, { caller }) =>
        mendable(
          () => {
            clientIdOf(caller)
            return end(caller, input.id, 'id', 'CLIENT')
          },
          { consent: null },
        ),
    },
  } satisfies Resolvers
}
