import type { Resolvers } from '../../generated/graphql.ts'
import { ERROR_CODES, GatewayError, type ErrorCode, type InputFault } from '../../kernel/errors.ts'
import { faultAt } from '../../kernel/input-faults.ts'
import { withUserErrors, type UserError } from '../../kernel/user-errors.ts'
import { requireClientId, type Caller } from '../../kernel/request-context.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from './service.ts'

const fault = (code: ErrorCode, ...path: string[]): UserError => ({ code, path, message: ERROR_CODES[code].message })
const inputError = (one: InputFault): UserError => ({ code: 'INVALID_INPUT', ...one })

/** Consent, its list for the client, and its end by the customer's word in the chat or by the client's wish. */
export function consentsResolvers({ consents, banks }: { consents: Consents; banks: Banks }) {
  async function end(caller: Caller, id: string, path: string, by: 'CUSTOMER_AT_GATEWAY' | 'CLIENT') {
    const consent = await consents.findForCaller(caller, id)
    if (!consent) throw new GatewayError('NOT_FOUND', { path: [path] })
    await consents.revoke(id, by)
    return { consent: await consents.find(id) }
  }

  return {
    Consent: {
      bank: async ({ bankId }) => (await banks.findBank(bankId))!,
      customerId: ({ clientId, customerId }) => customerId && consents.subjectOf(clientId, customerId),
      status: ({ status }) => status,
      grantedAt: ({ activatedAt }) => activatedAt?.toISOString() ?? null,
      expiresAt: ({ expiresAt }) => expiresAt.toISOString(),
      endedAt: ({ endedAt }) => endedAt?.toISOString() ?? null,
    },
    Customer: {
      consent: ({ consentId }) => consents.find(consentId),
      consents: (caller) => consents.findByCustomer(caller.customerId, caller.clientId),
    },
    ThisClient: {
      consents: ({ clientId }, { filter, ...page }) =>
        consents.findByClient(
          clientId,
          {
            statuses: filter?.statuses,
            bankIds: filter?.bankIds,
            ...(filter?.expiringBefore && { expiringBefore: new Date(filter.expiringBefore) }),
          },
          page,
        ),
    },
    Mutation: {
      withdrawConsent: (_parent, { input }, { caller }) =>
        withUserErrors(
          async () => {
            if (caller.kind !== 'CUSTOMER') throw new GatewayError('FORBIDDEN')
            if (input.consentId) return end(caller, input.consentId, 'consentId', 'CUSTOMER_AT_GATEWAY')
            await consents.withdraw(caller)
            return { consent: await consents.find(caller.consentId) }
          },
          { consent: null },
        ),
      withdrawConsents: async (_parent, { input: { consentIds, all } }, { caller }) => {
        if (caller.kind !== 'CUSTOMER') throw new GatewayError('FORBIDDEN')
        const own = new Set((await consents.findByCustomer(caller.customerId, caller.clientId)).map(({ id }) => id))
        const faults = consentIds
          ? consentIds.flatMap((id, index) => (own.has(id) ? [] : [fault('NOT_FOUND', 'consentIds', String(index))]))
          : []
        if (consentIds?.length === 0) faults.push(inputError(faultAt(['consentIds'], 'must have at least 1 item')))
        if (all === false) faults.push(inputError(faultAt(['all'], 'must be true')))
        if (faults.length > 0) return { consents: [], userErrors: faults }
        return { consents: await consents.withdraw(caller, consentIds ?? undefined), userErrors: [] }
      },
      terminateConsent: (_parent, { input }, { caller }) =>
        withUserErrors(
          () => {
            requireClientId(caller)
            return end(caller, input.id, 'id', 'CLIENT')
          },
          { consent: null },
        ),
    },
  } satisfies Resolvers
}
