import type { Token } from '../../src/entrypoints/cli/oauth-client.ts'
import type { TestGateway } from './gateway.ts'

/** Everything that can be asked about balances. */
export const BALANCE_SCOPES = ['accounts:read', 'balances:threshold', 'balances:band', 'balances:exact']

/** A balance as it was returned, in one currency. */
export interface ReturnedBalance {
  __typename: string
  amount?: string
  lowerBound?: string
  upperBound?: string
  reason?: string
  budget?: { remaining: number; nextAvailableAt: string | null }
  fallbackReason?: { code: string; retryAt: string | null } | null
}
interface BalanceResult {
  __typename: string
  value?: { amount: string }
  lowerBound?: { amount: string }
  upperBound?: { amount: string }
  reason?: { code: string }
  budget?: { remaining: number; nextAvailableAt: string | null }
  fallbackReason?: { code: string; retryAt: string | null } | null
}

const RESULT = `__typename
  ... on BalanceBand { lowerBound { amount } upperBound { amount } fallbackReason { code retryAt } }
  ... on BalanceUnavailable { reason { code retryAt } }
  ... on ExactBalance { value { amount } budget { remaining nextAvailableAt } }`

function toBalance({ value, lowerBound, upperBound, reason, ...rest }: BalanceResult): ReturnedBalance {
  return {
    ...rest,
    ...(value && { amount: value.amount }),
    ...(lowerBound && upperBound && { lowerBound: lowerBound.amount, upperBound: upperBound.amount }),
    ...(reason && { reason: reason.code }),
  }
}

/** The first balance of each account, with the account's main currency. */
function rowsOf(answer: Awaited<ReturnType<TestGateway['ask']>>) {
  if (!answer.data) throw new Error(JSON.stringify(answer.errors))
  const { accounts } = answer.data['customer'] as {
    accounts: { nodes: { currencies: string[]; balances: BalanceResult[] }[] }
  }
  return accounts.nodes.map(({ currencies, balances }) => ({
    currency: currencies[0],
    balance: toBalance(balances[0]!),
  }))
}

/** The exact balances of all of a customer's accounts, while the customer is present. */
export const amountsOf = async (gateway: TestGateway, token: Token, type = 'INTERIM_AVAILABLE') =>
  rowsOf(
    await gateway.ask(
      token,
      `{ customer { accounts { nodes { currencies balances(type: ${type}) { ${RESULT} } } } } }`,
    ),
  )

/** The exact balance of a customer's first account. */
export const amountOf = async (gateway: TestGateway, token: Token, type = 'INTERIM_AVAILABLE') =>
  (await amountsOf(gateway, token, type))[0]!.balance

/** The band of a customer's first account. */
export const rangeOf = async (gateway: TestGateway, token: Token, type = 'INTERIM_AVAILABLE') =>
  rowsOf(
    await gateway.askUnattended(
      token,
      `{ customer { accounts { nodes { currencies balances(type: ${type}, detail: BAND) { ${RESULT} } } } } }`,
    ),
  )[0]!.balance
