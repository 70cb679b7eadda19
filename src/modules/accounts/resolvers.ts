import DataLoader from 'dataloader'
import type { Resolvers } from '../../generated/graphql.ts'
import { SECOND_MS } from '../../kernel/clock.ts'
import { pageOf } from '../../kernel/connection.ts'
import { ERROR_CODES } from '../../kernel/errors.ts'
import { perRequest } from '../../kernel/request.ts'
import { windowOf, type Banks } from '../banks/index.ts'
import type { Consents } from '../consents/index.ts'
import { AMOUNT_WINDOW_MS, BAND_WINDOW_MS, type Budget } from './disclosure.ts'
import { grantFor, type OpenedAccount } from './model.ts'
import type { Accounts } from './service.ts'

const idOf = ({ publicId }: OpenedAccount): string => publicId

/** What accounts need of their neighbours. */
export interface AccountsResolversDependencies {
  accounts: Accounts
  banks: Banks
  consents: Consents
}

/** Customer, Account, the balances and what is left to be told of them. */
export function accountsResolvers({ accounts, banks, consents }: AccountsResolversDependencies) {
  // Not remembered within the request: a budget that is looked at after it was used must say so.
  const budgets = perRequest(() => new DataLoader((ids: readonly string[]) => accounts.budgets(ids), { cache: false }))

  const announced = (bankId: string) => {
    const window = banks.announcedNow(bankId)
    return window instanceof Promise ? window.then((one) => one && windowOf(one)) : window && windowOf(window)
  }

  return {
    Query: {
      customer: (_parent, _args, { caller }) => (caller.kind === 'CUSTOMER' ? caller : null),
    },
    Customer: {
      id: (caller) => consents.subjectOf(caller.clientId, caller.customerId),
      accounts: (caller, { filter, ...page }, context) => {
        const rows = accounts.list(caller, context, filter)
        return rows instanceof Promise ? rows.then((all) => pageOf(all, page, idOf)) : pageOf(rows, page, idOf)
      },
      banks: async (caller, _args, context) => {
        const rows = await accounts.list(caller, context)
        return banks.byId([...new Set(rows.map(({ account }) => account.bankId))])
      },
    },
    Account: {
      id: ({ publicId }) => publicId,
      bank: ({ account }) => banks.knownBank(account.bankId),
      displayName: ({ account }) => account.displayName,
      maskedNumber: ({ account }) => (account.numberEnd === null ? null : `•••• ${account.numberEnd}`),
      type: ({ account }) => account.type,
      usage: ({ account }) => account.usage,
      status: ({ account }) => account.status,
      currency: ({ account }) => account.currency,
      thresholdStep: (row) => accounts.stepOf(row),
      handoff: async ({ account }) => {
        const url = await banks.handoffOf(account.bankId)
        return url === null ? null : { url }
      },
      balances: (row, { type, maxAge }, context) => {
        const maxAgeMs = Math.min(Math.max(maxAge * SECOND_MS, AMOUNT_WINDOW_MS), BAND_WINDOW_MS)
        return accounts.exact({ row, type, maxAgeMs }, context)
      },
      balanceBand: (row, { type }, context) => accounts.band({ row, type }, context),
      balanceAtLeast: (row, { type, amount }, context) => accounts.atLeast({ row, type, amount }, context),
    },
    ExactBalance: {
      announced: ({ bankId }) => announced(bankId),
      budget: async ({ disclosureKey }, _args, context) =>
        written((await budgets(context).load(disclosureKey)).amounts),
    },
    BalanceBand: {
      announced: ({ bankId }) => announced(bankId),
      from: ({ band }) => band.from,
      to: ({ band }) => band.to,
      currency: ({ band }) => band.currency,
      asOf: ({ band }) => band.asOf,
    },
    BalanceAtLeast: {
      amount: ({ threshold }) => threshold.amount,
      currency: ({ threshold }) => threshold.currency,
      budget: async ({ disclosureKey }, _args, context) =>
        written((await budgets(context).load(disclosureKey)).questions),
    },
    BalanceUnavailable: {
      category: ({ reason }) => ERROR_CODES[reason].category,
      retryable: ({ reason }) => ERROR_CODES[reason].retryable,
      actor: ({ reason }) => ERROR_CODES[reason].actor,
      retryAt: ({ retryAt }) => retryAt?.toISOString() ?? null,
    },
    ExactBalanceAnswer: { __resolveType: typeOf },
    BalanceBandAnswer: { __resolveType: typeOf },
    BalanceAtLeastAnswer: { __resolveType: typeOf },
    Consent: {
      budgets: async (consent, _args, context) => {
        if (context.caller.kind !== 'CUSTOMER' || consent.status !== 'ACTIVE') return null
        const rows = (await accounts.list(context.caller, context)).filter(({ grants }) =>
          grants.some(({ consentId }) => consentId === consent.id),
        )
        const left = await accounts.budgets(rows.map(({ account }) => account.disclosureKey))
        return rows.map((row, index) => ({
          accountId: row.publicId,
          amounts: grantFor(row, 'balances:exact') ? written(left[index]!.amounts) : null,
          questions: grantFor(row, 'balances:threshold') ? written(left[index]!.questions) : null,
        }))
      },
    },
  } satisfies Resolvers
}

const written = ({ limit, remaining, resetsAt }: Budget) => ({ limit, remaining, resetsAt: resetsAt.toISOString() })

const TYPES = {
  EXACT: 'ExactBalance',
  BAND: 'BalanceBand',
  AT_LEAST: 'BalanceAtLeast',
  UNAVAILABLE: 'BalanceUnavailable',
} as const

const typeOf = <K extends keyof typeof TYPES>({ kind }: { readonly kind: K }): (typeof TYPES)[K] => TYPES[kind]
