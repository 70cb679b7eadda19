import type { ConsentFilter as ConsentFilterInput, Resolvers } from '../../generated/graphql.ts'
import { GatewayError } from '../../kernel/errors.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import { assertOwnClient, requireClientId, requireCustomer } from '../../kernel/request-context.ts'
import { withUserErrors } from '../../kernel/user-errors.ts'
import type { Banks } from '../banks/index.ts'
import type { ConsentFilter } from './model.ts'
import type { Consents } from './service.ts'

const toFilter = ({ expiringBefore, ...filter }: ConsentFilterInput = {}): ConsentFilter => ({
  ...filter,
  ...(expiringBefore && { expiringBefore: new Date(expiringBefore) }),
})

/** Resolvers of consents, their lists, and the mutations that end them. */
export function consentsResolvers({ consents, banks }: { consents: Consents; banks: Banks }) {
  return {
    Consent: {
      bank: async ({ bankId }) => (await banks.findBank(bankId))!,
      status: (consent) => consents.statusOf(consent),
      customer: ({ clientId, customerId, status }) =>
        customerId !== null && status !== 'PENDING' ? { clientId, customerId } : null,
      grantId: ({ oauthGrantId }) => oauthGrantId,
      grantedAt: ({ activatedAt }) => activatedAt?.toISOString() ?? null,
      expiresAt: ({ expiresAt }) => expiresAt.toISOString(),
      // Consents cannot be paused yet.
      pausedAt: () => null,
      endedAt: ({ endedAt }) => endedAt?.toISOString() ?? null,
    },
    Customer: {
      currentConsents: async (_customer, _args, { caller }) => {
        const consent = caller.kind === 'CUSTOMER' ? await consents.find(caller.consentId) : null
        return consent ? [consent] : []
      },
      consents: ({ clientId, customerId }, { filter, ...page }) =>
        consents.list({ clientId, customerId }, toFilter(filter ?? undefined), page),
      consent: async ({ clientId, customerId }, { id }) => {
        const consent = await consents.find(id)
        return consent?.clientId === clientId && consent.customerId === customerId ? consent : null
      },
    },
    Client: {
      consents: ({ id }, { filter, ...page }, { caller }) => {
        assertOwnClient(caller, id)
        return consents.list({ clientId: id }, toFilter(filter ?? undefined), page)
      },
    },
    Mutation: {
      withdrawConsents: (_parent, { input: { consentIds, all } }, { caller }) =>
        withUserErrors(
          async () => {
            const customer = requireCustomer(caller)
            if (consentIds?.length === 0) throwInvalidInput(['consentIds'], 'must have at least 1 item')
            if (all === false) throwInvalidInput(['all'], 'must be true')
            return { consents: await consents.withdraw(customer, consentIds ?? undefined) }
          },
          { consents: [] },
        ),
      terminateConsent: (_parent, { input: { consentId } }, { caller }) =>
        withUserErrors(
          async () => {
            requireClientId(caller)
            if (!(await consents.findForCaller(caller, consentId)))
              throw new GatewayError('NOT_FOUND', { path: ['consentId'] })
            await consents.revoke(consentId, 'CLIENT')
            return { consent: await consents.find(consentId) }
          },
          { consent: null },
        ),
    },
  } satisfies Resolvers
}
