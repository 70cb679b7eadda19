import type { Resolvers } from '../../generated/graphql.ts'
import { createRequestLoader } from '../../kernel/batch.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { throwInvalidInput } from '../../kernel/input-faults.ts'
import type { RequestContext } from '../../kernel/request-context.ts'
import type { Banks } from '../banks/index.ts'
import { BAND_MAX_AGE_MS, MIN_EXACT_MAX_AGE_MS, type DisclosureBudget, type DisclosureBudgets } from './disclosure.ts'
import type { Accounts } from './service.ts'
import { thresholdStepsOf } from './thresholds.ts'

/** Dependencies of the resolvers. */
export interface AccountsResolversDependencies {
  accounts: Accounts
  banks: Banks
}

/** Resolvers of accounts, balances and disclosure budgets. */
export function accountsResolvers({ accounts, banks }: AccountsResolversDependencies) {
  // Not cached, so that a disclosure budget that is read after a balance includes that disclosure.
  const disclosureBudgetsOf: FindDisclosureBudgets = createRequestLoader((keys) => accounts.disclosureBudgets(keys), {
    isCached: false,
  })

  return {
    Account: {
      id: ({ publicId }) => publicId,
      bank: ({ account }) => banks.requireBank(account.bankId),
      displayName: ({ account }) => account.displayName,
      maskedNumber: ({ account }) => (account.lastFourDigits === null ? null : `•••• ${account.lastFourDigits}`),
      type: ({ account }) => account.type,
      usage: ({ account }) => account.usage,
      status: ({ account }) => account.status,
      currencies: ({ account }) => account.currencies,
      thresholdSteps: (row) => thresholdStepsOf(row),
      bankAppUrl: ({ account }) => banks.bankAppUrlOf(account.bankId),
      balances: (row, { type, currencies, detail, maxAgeSeconds }, context) => {
        const maxAgeMs = Math.min(Math.max(maxAgeSeconds * SECOND_MS, MIN_EXACT_MAX_AGE_MS), BAND_MAX_AGE_MS)
        return accounts.balances({ row, type, currencies: parseCurrencies(currencies), maxAgeMs }, detail, context)
      },
      balanceAtLeast: (row, query, context) => accounts.atLeast({ row, ...query }, context),
      disclosureBudgets: async (row, _args, context) => {
        const { exact, threshold } = await disclosureBudgetsOf(row.account.disclosureKey, context)
        return {
          exact: accounts.open(row, 'balances:exact') ? toDisclosureBudget(exact) : null,
          threshold: accounts.open(row, 'balances:threshold') ? toDisclosureBudget(threshold) : null,
        }
      },
    },
    ...balanceResolvers(banks, disclosureBudgetsOf),
  } satisfies Resolvers
}

type FindDisclosureBudgets = (disclosureKey: string, context: RequestContext) => Promise<DisclosureBudgets>

function balanceResolvers(banks: Banks, disclosureBudgetsOf: FindDisclosureBudgets) {
  const findCurrentOutage = (bankId: string) => banks.currentOutage(bankId)

  return {
    ExactBalance: {
      outage: ({ bankId }) => findCurrentOutage(bankId),
      budget: async ({ disclosureKey }, _args, context) =>
        toDisclosureBudget((await disclosureBudgetsOf(disclosureKey, context)).exact),
    },
    BalanceBand: {
      outage: ({ bankId }) => findCurrentOutage(bankId),
      lowerBound: ({ band }) => ({ amount: band.lowerBound, currency: band.currency }),
      upperBound: ({ band }) => ({ amount: band.upperBound, currency: band.currency }),
      asOf: ({ band }) => band.asOf,
    },
    BalanceAtLeast: {
      outage: ({ bankId }) => findCurrentOutage(bankId),
      budget: async ({ disclosureKey }, _args, context) =>
        toDisclosureBudget((await disclosureBudgetsOf(disclosureKey, context)).threshold),
    },
    BalanceUnavailable: {
      outage: ({ bankId }) => findCurrentOutage(bankId),
    },
    BalanceResult: { __resolveType: typeNameOf },
    BalanceAtLeastResult: { __resolveType: typeNameOf },
  } satisfies Resolvers
}

const MAX_CURRENCIES = 20

function parseCurrencies(currencies: readonly string[] | null | undefined): readonly string[] | null {
  if (!currencies) return null
  if (currencies.length === 0 || currencies.length > MAX_CURRENCIES)
    throwInvalidInput(['currencies'], `must have 1 to ${MAX_CURRENCIES} items`)
  return [...new Set(currencies)]
}

const toDisclosureBudget = ({ limit, remaining, nextAvailableAt }: DisclosureBudget) => ({
  limit,
  remaining,
  nextAvailableAt: nextAvailableAt?.toISOString() ?? null,
})

const TYPE_NAMES = {
  EXACT: 'ExactBalance',
  BAND: 'BalanceBand',
  AT_LEAST: 'BalanceAtLeast',
  UNAVAILABLE: 'BalanceUnavailable',
} as const

const typeNameOf = <K extends keyof typeof TYPE_NAMES>({ kind }: { readonly kind: K }): (typeof TYPE_NAMES)[K] =>
  TYPE_NAMES[kind]
