import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { ERROR_CODES } from '../../kernel/errors.ts'
import { perRequest } from '../../kernel/request-context.ts'
import type { Banks } from '../banks/index.ts'
import { EXACT_REUSE_MS, BAND_MAX_AGE_MS, type DisclosureBudget } from './disclosure.ts'
import { grantFor } from './model.ts'
import type { Accounts } from './service.ts'

/** What accounts need of their neighbours. */
export interface AccountsResolversDependencies {
  accounts: Accounts
  banks: Banks
}

/** Account, the balances and what is left to be told of them. */
export function accountsResolvers({ accounts, banks }: AccountsResolversDependencies) {
  // Not remembered within the request: a budget that is looked at after it was used must say so.
  const budgetLoader = perRequest(
    () => new DataLoader((ids: readonly string[]) => accounts.budgets(ids), { cache: false }),
  )

  const findCurrentOutage = (bankId: string) => {
    return banks.currentOutage(bankId)
  }

  return {
    Account: {
      id: ({ publicId }) => publicId,
      bank: ({ account }) => banks.requireBank(account.bankId),
      displayName: ({ account }) => account.displayName,
      maskedNumber: ({ account }) => (account.lastFourDigits === null ? null : `•••• ${account.lastFourDigits}`),
      type: ({ account }) => account.type,
      usage: ({ account }) => account.usage,
      status: ({ account }) => account.status,
      currency: ({ account }) => account.currency,
      thresholdStep: (row) => accounts.thresholdStepOf(row),
      handoff: async ({ account }) => {
        const url = await banks.bankAppUrlOf(account.bankId)
        return url === null ? null : { url }
      },
      balances: (row, { type, maxAge }, context) => {
        const maxAgeMs = Math.min(Math.max(maxAge * SECOND_MS, EXACT_REUSE_MS), BAND_MAX_AGE_MS)
        return accounts.exact({ row, type, maxAgeMs }, context)
      },
      balanceBand: (row, { type }, context) => accounts.readBand({ row, type }, context),
      balanceAtLeast: (row, { type, amount }, context) => accounts.atLeast({ row, type, threshold: amount }, context),
    },
    ExactBalance: {
      announced: ({ bankId }) => findCurrentOutage(bankId),
      budget: async ({ disclosureKey }, _args, context) =>
        toBudget((await budgetLoader(context).load(disclosureKey)).exact),
    },
    BalanceBand: {
      announced: ({ bankId }) => findCurrentOutage(bankId),
      from: ({ band }) => band.from,
      to: ({ band }) => band.to,
      currency: ({ band }) => band.currency,
      asOf: ({ band }) => band.asOf,
    },
    BalanceAtLeast: {
      amount: ({ threshold }) => threshold.amount,
      currency: ({ threshold }) => threshold.currency,
      budget: async ({ disclosureKey }, _args, context) =>
        toBudget((await budgetLoader(context).load(disclosureKey)).threshold),
    },
    BalanceUnavailable: {
      category: ({ reason }) => ERROR_CODES[reason].category,
      retryable: ({ reason }) => ERROR_CODES[reason].retryable,
      actor: ({ reason }) => ERROR_CODES[reason].resolvableBy,
      retryAt: ({ retryAt }) => retryAt?.toISOString() ?? null,
    },
    ExactBalanceAnswer: { __resolveType: typeNameOf },
    BalanceBandAnswer: { __resolveType: typeNameOf },
    BalanceAtLeastAnswer: { __resolveType: typeNameOf },
    Consent: {
      budgets: async (consent, _args, context) => {
        if (context.caller.kind !== 'CUSTOMER' || consent.status !== 'ACTIVE') return null
        const rows = (await accounts.list(context.caller, context)).filter(({ grants }) =>
          grants.some(({ consentId }) => consentId === consent.id),
        )
        const accountBudgets = await accounts.budgets(rows.map(({ account }) => account.disclosureKey))
        return rows.map((row, index) => ({
          accountId: row.publicId,
          amounts: grantFor(row, 'balances:exact') ? toBudget(accountBudgets[index]!.exact) : null,
          questions: grantFor(row, 'balances:threshold') ? toBudget(accountBudgets[index]!.threshold) : null,
        }))
      },
    },
  } satisfies Resolvers
}

const toBudget = ({ limit, remaining, nextAvailableAt }: DisclosureBudget) => ({
  limit,
  remaining,
  resetsAt: nextAvailableAt.toISOString(),
})

const TYPE_NAMES = {
  EXACT: 'ExactBalance',
  BAND: 'BalanceBand',
  AT_LEAST: 'BalanceAtLeast',
  UNAVAILABLE: 'BalanceUnavailable',
} as const

const typeNameOf = <K extends keyof typeof TYPE_NAMES>({ kind }: { readonly kind: K }): (typeof TYPE_NAMES)[K] =>
  TYPE_NAMES[kind]
