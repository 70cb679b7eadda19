import type { Resolvers } from '../../generated/graphql.ts'
import { chain } from '../../kernel/maybe-promise.ts'
import { connectionFromArray } from '../../kernel/pagination.ts'
import { perRequest, requireCustomer } from '../../kernel/request-context.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from '../consents/index.ts'
import type { AuthorizedAccount } from './model.ts'
import type { Accounts } from './service.ts'

const idOf = ({ publicId }: AuthorizedAccount): string => publicId

/** Dependencies of the resolvers. */
export interface CustomerResolversDependencies {
  accounts: Accounts
  banks: Banks
  consents: Consents
}

/**
 * Resolvers of the customer, and of the accounts of customers, alerts and consents. They return only accounts that the calling
 * customer shares; a client token is refused.
 */
export function customerResolvers({ accounts, banks, consents }: CustomerResolversDependencies) {
  /** Loaded once for all alerts of a request. */
  const loadAccountsById = perRequest(
    async (context) =>
      new Map((await accounts.list(requireCustomer(context.caller), context)).map((row) => [row.publicId, row])),
  )

  return {
    Query: {
      customer: (_parent, _args, { caller }) => (caller.kind === 'CUSTOMER' ? caller : null),
    },
    Customer: {
      id: ({ clientId, customerId }) => consents.subjectOf(clientId, customerId),
      accounts: (customer, { filter, ...page }, context) => {
        const accountRows = accounts.list(requireCustomer(context.caller, customer), context, filter)
        return chain(accountRows, (rows) => connectionFromArray(rows, page, idOf))
      },
      account: async (customer, { id }, context) =>
        (await accounts.list(requireCustomer(context.caller, customer), context)).find(
          ({ publicId }) => publicId === id,
        ) ?? null,
      banks: async (customer, _args, context) => {
        const rows = await accounts.list(requireCustomer(context.caller, customer), context)
        return banks.findBanks([...new Set(rows.map(({ account }) => account.bankId))])
      },
    },
    Alert: {
      account: async ({ publicAccountId }, _args, context) =>
        publicAccountId === null ? null : ((await loadAccountsById(context)).get(publicAccountId) ?? null),
    },
    Consent: {
      accounts: async ({ id }, page, context) => {
        const rows = await accounts.list(requireCustomer(context.caller), context)
        const covered = rows.filter(({ grants }) => grants.some(({ consentId }) => consentId === id))
        return connectionFromArray(covered, page, idOf)
      },
    },
  } satisfies Resolvers
}
