import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { ERROR_CODES } from '../../kernel/errors.ts'
import { perRequest } from '../../kernel/request.ts'
import type { Alerts } from '../alerts/index.ts'
import type { Banks } from '../banks/index.ts'
import type { Consents } from '../consents/index.ts'
import type { BalanceUnavailable } from './model.ts'
import type { Accounts, BalanceQuestion } from './service.ts'

const keyOf = ({ row, type }: BalanceQuestion): string => `${row.account.id}/${type}`

/** Viewer, Account and the balances. */
export function accountsResolvers({
  accounts,
  alerts,
  banks,
  consents,
}: {
  accounts: Accounts
  alerts: Alerts
  banks: Banks
  consents: Consents
}) {
  const exact = perRequest(
    (context) =>
      new DataLoader((questions: readonly BalanceQuestion[]) => accounts.exact(questions, context), {
        cacheKeyFn: keyOf,
      }),
  )
  const bands = perRequest(
    (context) =>
      new DataLoader((questions: readonly BalanceQuestion[]) => accounts.bands(questions, context), {
        cacheKeyFn: keyOf,
      }),
  )
  const bankOf = perRequest(
    () =>
      new DataLoader(async (ids: readonly string[]) => {
        const found = new Map((await banks.byId(ids)).map((bank) => [bank.id, bank]))
        return ids.map((id) => found.get(id)!)
      }),
  )

  return {
    Query: {
      viewer: (_parent, _args, { caller }) => (caller.kind === 'CUSTOMER' ? caller : null),
    },
    Viewer: {
      id: (caller) => consents.subjectOf(caller.clientId, caller.customerId),
      accounts: (caller, _args, context) => accounts.list(caller, context),
      alerts: (caller, { first }, context) => alerts.newest(caller, context, Math.max(0, first)),
      consents: (caller) => consents.ofCustomer(caller.customerId, caller.clientId),
    },
    Account: {
      id: ({ publicId }) => publicId,
      bank: ({ account }, _args, context) => bankOf(context).load(account.bankId),
      displayName: ({ account }) => account.displayName,
      maskedNumber: ({ account }) => (account.numberEnd === null ? null : `•••• ${account.numberEnd}`),
      type: ({ account }) => account.type,
      usage: ({ account }) => account.usage,
      status: ({ account }) => account.status,
      currency: ({ account }) => account.currency,
      balances: async (row, { type }, context) => {
        const answer = await exact(context).load({ row, type })
        if (answer.kind === 'UNAVAILABLE') return unavailable(answer)
        return { ...answer, __typename: 'ExactBalance', asOf: answer.asOf.toISOString() }
      },
      balanceBand: async (row, { type }, context) => {
        const answer = await bands(context).load({ row, type })
        if (answer.kind === 'UNAVAILABLE') return unavailable(answer)
        return { ...answer.band, __typename: 'BalanceBand', type: answer.type }
      },
    },
    ExactBalanceAnswer: { __resolveType: (answer) => ('reason' in answer ? 'BalanceUnavailable' : 'ExactBalance') },
    BalanceBandAnswer: { __resolveType: (answer) => ('reason' in answer ? 'BalanceUnavailable' : 'BalanceBand') },
  } satisfies Resolvers
}

function unavailable({ reason, retryAt }: BalanceUnavailable) {
  const { category, retryable, actor } = ERROR_CODES[reason]
  return {
    __typename: 'BalanceUnavailable' as const,
    reason,
    category,
    retryable,
    actor,
    retryAt: retryAt === null ? null : retryAt.toISOString(),
  }
}
